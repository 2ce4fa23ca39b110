-- A limit per window, which starts with the first hit.
-- Replaced by: ATOMIC.RATELIMIT key FIXED limit window-ms
-- KEYS: counter. ARGV: limit, window in seconds. Returns the count, or -1 when limited.

local key = KEYS[1]
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local current = redis.call('GET', key)
if current == false then
  redis.call('SET', key, 1)
  redis.call('EXPIRE', key, window)
  return 1
end
if tonumber(current) < limit then
  return redis.call('INCR', key)
end
return -1
