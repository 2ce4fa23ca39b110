-- Add to a field, within bounds.
-- Replaced by: ATOMIC.HINCRBY key field delta MIN m MAX m SATURATE
-- KEYS: hash. ARGV: field, delta, min, max. Returns the new value.

local value = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0') + tonumber(ARGV[2])
value = math.max(value, tonumber(ARGV[3]))
value = math.min(value, tonumber(ARGV[4]))
redis.call('HSET', KEYS[1], ARGV[1], value)
return value
