local key = KEYS[1]
local reset_threshold = tonumber(ARGV[1])
local reset_value = tonumber(ARGV[2])

local current = tonumber(redis.call("INCR", key))

if current >= reset_threshold then
  redis.call("SET", key, reset_value)
  return reset_value
end

return current
