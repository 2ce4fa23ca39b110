-- Delete a key only if it holds the expected value.
-- Replaced by: ATOMIC.CAD key expected
-- KEYS: key. ARGV: expected. Returns 1 or 0.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
  return 1
end
return 0
