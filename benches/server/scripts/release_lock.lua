local lock_key = KEYS[1]
local lock_token = ARGV[1]

-- Only delete if we own the lock
if redis.call("GET", lock_key) == lock_token then
  return redis.call("DEL", lock_key)
end

return 0
