-- Pop from a list, but leave a minimum.
-- Replaced by: ATOMIC.POP key LEFT KEEP n
-- KEYS: list. ARGV: minimum. Returns the element or nil.

if redis.call('LLEN', KEYS[1]) > tonumber(ARGV[1]) then
  return redis.call('LPOP', KEYS[1])
end
return nil
