local key = KEYS[1]
local threshold = tonumber(ARGV[1])
local increment = tonumber(ARGV[2])

local current = tonumber(redis.call('GET', key) or 0)
local new_value = current + increment

if new_value >= threshold then
    redis.call('SET', key, 0)  -- Reset on threshold
    return 'THRESHOLD_REACHED'
else
    redis.call('SET', key, new_value)
    return tostring(new_value)
end
