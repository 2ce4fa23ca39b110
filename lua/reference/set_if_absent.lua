-- Set a key with a TTL only if it does not exist.
-- Replaced by: ATOMIC.SET key value NX EX s
-- KEYS: key. ARGV: value, ttl in seconds. Returns 1 or 0.

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], ARGV[1])
  redis.call('EXPIRE', KEYS[1], ARGV[2])
  return 1
end
return 0
