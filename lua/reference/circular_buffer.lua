-- Append to a list and drop its oldest elements beyond a maximum length.
-- Replaced by: ATOMIC.PUSH key RIGHT maxlen VALUES v
-- KEYS: list. ARGV: value, maximum. Returns the length.

redis.call('RPUSH', KEYS[1], ARGV[1])
local length = redis.call('LLEN', KEYS[1])
if length > tonumber(ARGV[2]) then
  redis.call('LTRIM', KEYS[1], length - ARGV[2], -1)
end
return redis.call('LLEN', KEYS[1])
