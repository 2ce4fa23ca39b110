local product_key = KEYS[1]
local order_key = KEYS[2]
local quantity = tonumber(ARGV[1])
local order_id = ARGV[2]

local available = tonumber(redis.call('GET', product_key) or 0)

if available >= quantity then
    redis.call('DECRBY', product_key, quantity)
    redis.call('INCR', order_key)
    return 'RESERVED'
else
    return 'OUT_OF_STOCK'
end
