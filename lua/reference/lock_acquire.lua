-- Acquire a lock if it is free.
-- Replaced by: ATOMIC.LOCK key owner lease-ms
-- KEYS: lock. ARGV: token, ttl in ms. Returns {1, 0} or {0, remaining ttl in ms}.

if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return { 1, 0 }
end
return { 0, redis.call('PTTL', KEYS[1]) }
