local key = KEYS[1]
local min_size = tonumber(ARGV[1])

local current_size = redis.call("LLEN", key)

if current_size > min_size then
  return redis.call("LPOP", key)
end

return nil
