local key = KEYS[1]
local field = ARGV[1]
local new_value = tonumber(ARGV[2])

local current = tonumber(redis.call("HGET", key, field) or "0")

if new_value > current then
  redis.call("HSET", key, field, new_value)
  return 1
end

return 0
