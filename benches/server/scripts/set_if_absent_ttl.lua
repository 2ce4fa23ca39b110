local key = KEYS[1]
local value = ARGV[1]
local ttl = tonumber(ARGV[2])

if redis.call("EXISTS", key) == 0 then
  redis.call("SET", key, value)
  redis.call("EXPIRE", key, ttl)
  return 1
end

return 0
