-- Set a field only to a greater value; a missing field counts as 0.
-- Replaced by: ATOMIC.HSET key field value GT
-- KEYS: hash. ARGV: field, value. Returns 1 or 0.

local current = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '0')
if tonumber(ARGV[2]) > current then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  return 1
end
return 0
