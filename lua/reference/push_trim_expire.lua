-- Push, trim, expire, and read the list.
-- Replaced by: ATOMIC.PUSH key LEFT maxlen PX ms RANGE VALUES v
-- KEYS: list. ARGV: value, maximum, ttl in seconds. Returns the list.

redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[2]) - 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return redis.call('LRANGE', KEYS[1], 0, -1)
