local from_key = KEYS[1]
local to_key = KEYS[2]
local amount = tonumber(ARGV[1])

local from_balance = tonumber(redis.call('GET', from_key) or 0)
local to_balance = tonumber(redis.call('GET', to_key) or 0)

if from_balance < amount then
    return {0, 'INSUFFICIENT_BALANCE'}
end

redis.call('DECRBY', from_key, amount)
redis.call('INCRBY', to_key, amount)

return {1, from_balance - amount, to_balance + amount}
