-- A bucket with continuous refill, in floating point and by the client's clock.
-- Replaced by: ATOMIC.RATELIMIT key BUCKET capacity refill period-ms COST n
-- KEYS: bucket. ARGV: capacity, tokens per second, tokens needed, now in ms. Returns {1, tokens left} or {0, ms to wait}.

local key = KEYS[1]
local capacity = tonumber(ARGV[1])
local rate = tonumber(ARGV[2])
local needed = tonumber(ARGV[3])
local now = tonumber(ARGV[4])

local data = redis.call('HMGET', key, 'tokens', 'last_refill')
local tokens = tonumber(data[1]) or capacity
local last_refill = tonumber(data[2]) or now

tokens = math.min(capacity, tokens + (now - last_refill) / 1000 * rate)
local granted = tokens >= needed
if granted then
  tokens = tokens - needed
end
redis.call('HSET', key, 'tokens', tokens, 'last_refill', now)
redis.call('EXPIRE', key, 3600)
if granted then
  return { 1, math.floor(tokens) }
end
return { 0, math.floor((needed - tokens) / rate * 1000) }
