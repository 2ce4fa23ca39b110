-- An exact sliding window: the times of all hits in a sorted set, by the client's clock.
-- Replaced by: ATOMIC.RATELIMIT key LOG limit window-ms
-- KEYS: hits. ARGV: window in ms, limit, now in ms, a unique member. Returns {1, left} or {0, 0}.

local key = KEYS[1]
local window = tonumber(ARGV[1])
local limit = tonumber(ARGV[2])
local now = tonumber(ARGV[3])

redis.call('ZREMRANGEBYSCORE', key, 0, now - window)
local count = redis.call('ZCARD', key)
if count < limit then
  redis.call('ZADD', key, now, ARGV[4])
  redis.call('PEXPIRE', key, window)
  return { 1, limit - count - 1 }
end
return { 0, 0 }
