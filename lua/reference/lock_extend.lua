-- Extend a lock if its token matches.
-- Replaced by: ATOMIC.LOCKRENEW key owner lease-ms
-- KEYS: lock. ARGV: token, ttl in ms. Returns 1 or 0.

if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
