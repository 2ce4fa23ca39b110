local lock_key = KEYS[1]
local lock_token = ARGV[1]
local ttl_ms = tonumber(ARGV[2])

local result = redis.call("SET", lock_key, lock_token, "NX", "PX", ttl_ms)

if result then
  return {1, 0}  -- Acquired, 0 wait time
end

local remaining = redis.call("PTTL", lock_key)
return {0, remaining}  -- Not acquired, remaining TTL
