-- Add to a counter that is reset when it reaches a threshold.
-- Replaced by: ATOMIC.INCRBY key delta MAX threshold WRAP v
-- KEYS: counter. ARGV: increment, threshold, value after a reset. Returns {1 if it was reset, value}.

local value = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[1])
local reset = 0
if value >= tonumber(ARGV[2]) then
  value = tonumber(ARGV[3])
  reset = 1
end
redis.call('SET', KEYS[1], value)
return { reset, value }
