-- Add to a counter, but not beyond a limit.
-- Replaced by: ATOMIC.INCRBY key delta MAX m SATURATE
-- KEYS: counter. ARGV: increment, limit. Returns the new value.

local value = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[1])
if value > tonumber(ARGV[2]) then
  value = tonumber(ARGV[2])
end
redis.call('SET', KEYS[1], value)
return value
