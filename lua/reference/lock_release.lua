-- Release a lock if its token matches.
-- Replaced by: ATOMIC.UNLOCK key owner
-- KEYS: lock. ARGV: token. Returns 1 or 0.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
