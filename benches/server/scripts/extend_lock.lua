local lock_key = KEYS[1]
local lock_token = ARGV[1]
local new_ttl_ms = tonumber(ARGV[2])

if redis.call("GET", lock_key) == lock_token then
  return redis.call("PEXPIRE", lock_key, new_ttl_ms)
end

return 0
