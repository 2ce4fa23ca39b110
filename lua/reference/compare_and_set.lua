-- Set a key only if it holds the expected value.
-- Replaced by: ATOMIC.CAS key expected new
-- KEYS: key. ARGV: expected, new. Returns 1 or 0.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
return 0
