local key = KEYS[1]
local capacity = tonumber(ARGV[1])
local leak_rate = tonumber(ARGV[2])
local now = tonumber(ARGV[3])

local bucket = redis.call('HGETALL', key)
if #bucket == 0 then
    redis.call('HSET', key, 'tokens', capacity, 'last_refill', now)
    return 1
end

local tokens = tonumber(bucket[2])
local last_refill = tonumber(bucket[4])
local elapsed = now - last_refill

tokens = math.min(capacity, tokens + (elapsed * leak_rate))

if tokens >= 1 then
    redis.call('HSET', key, 'tokens', tokens - 1, 'last_refill', now)
    return 1
else
    return 0
end
