-- An atomic counter.
-- Replaced by: ATOMIC.INCRBY key 1
-- KEYS: counter. Returns the new value.

local current = redis.call('GET', KEYS[1])
if not current then
  redis.call('SET', KEYS[1], 1)
  return 1
end
local value = tonumber(current) + 1
redis.call('SET', KEYS[1], value)
return value
