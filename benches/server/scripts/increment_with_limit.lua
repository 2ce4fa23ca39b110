local key = KEYS[1]
local increment = tonumber(ARGV[1])
local max_value = tonumber(ARGV[2])

local current = tonumber(redis.call("GET", key) or "0")
local new_value = current + increment

if new_value > max_value then
  new_value = max_value
end

redis.call("SET", key, new_value)
return new_value
