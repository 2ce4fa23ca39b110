-- Get a value, or set a default.
-- Replaced by: ATOMIC.GETORSET key default
-- KEYS: key. ARGV: default, ttl in seconds or 0. Returns the value.

local value = redis.call('GET', KEYS[1])
if value == false then
  redis.call('SET', KEYS[1], ARGV[1])
  if tonumber(ARGV[2]) > 0 then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
  end
  return ARGV[1]
end
return value
