local key = KEYS[1]
local value = ARGV[1]
local max_size = tonumber(ARGV[2])

-- Add to end
redis.call("RPUSH", key, value)

-- Trim from front if over size
local current_size = redis.call("LLEN", key)
if current_size > max_size then
  redis.call("LTRIM", key, current_size - max_size, -1)
end

return redis.call("LLEN", key)
