-- Release a lock only by its token.
-- Replaced by: ATOMIC.UNLOCK key owner
-- KEYS: lock. ARGV: token. Returns 1 or 0.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
