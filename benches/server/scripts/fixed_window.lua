local key = KEYS[1]
local limit = tonumber(ARGV[1])
local window = tonumber(ARGV[2])

local current = redis.call('GET', key)
if current == nil then
    redis.call('SET', key, 1)
    redis.call('EXPIRE', key, window)
    return 1
elseif tonumber(current) < limit then
    redis.call('INCR', key)
    return tonumber(redis.call('GET', key))
else
    return -1  -- Rate limited
end
