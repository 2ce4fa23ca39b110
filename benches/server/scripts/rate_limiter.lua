local current = tonumber(redis.call("GET", KEYS[1]) or "0")
if current >= tonumber(ARGV[1]) then
    return 0 -- limit reached
else
    redis.call("INCR", KEYS[1])
    redis.call("EXPIRE", KEYS[1], ARGV[2])
    return 1
end
