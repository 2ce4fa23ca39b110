local key = KEYS[1]
local field = ARGV[1]
local delta = tonumber(ARGV[2])
local min_val = tonumber(ARGV[3])
local max_val = tonumber(ARGV[4])

local current = tonumber(redis.call("HGET", key, field) or "0")
local new_val = current + delta

-- Apply bounds
if new_val < min_val then new_val = min_val end
if new_val > max_val then new_val = max_val end

redis.call("HSET", key, field, new_val)
return new_val
