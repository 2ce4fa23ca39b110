local key = KEYS[1]
local window_ms = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local now = tonumber(ARGV[3])

local window_start = now - window_ms

-- Remove old entries
redis.call("ZREMRANGEBYSCORE", key, 0, window_start)

-- Count current window
local count = redis.call("ZCARD", key)

if count < limit then
  -- Add new request
  redis.call("ZADD", key, now, now .. "-" .. math.random(1000000))
  redis.call("PEXPIRE", key, window_ms)
  return {1, limit - count - 1}  -- allowed, remaining
end

return {0, 0}  -- denied, no remaining
