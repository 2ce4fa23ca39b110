local key = KEYS[1]
local default_value = ARGV[1]
local ttl = tonumber(ARGV[2])

local value = redis.call("GET", key)

if value == false then
  redis.call("SET", key, default_value)
  if ttl > 0 then
    redis.call("EXPIRE", key, ttl)
  end
  return default_value
end

return value
