#!lua name=inventory
-- Reserves units of a product and counts the order, or replies that there are not enough.

-- Parses a whole number of up to 15 digits, which Lua holds exactly; nil for anything else.
local function whole(text)
  if #text <= 15 and text:match('^%d+$') then
    return tonumber(text)
  end
end

local function reserve(keys, args)
  local product, orders = keys[1], keys[2]
  local quantity = whole(args[1])
  if not quantity or quantity == 0 then
    return redis.error_reply('ERR quantity must be an integer between 1 and 999999999999999')
  end
  local stock = whole(redis.call('GET', product) or '0')
  local count = whole(redis.call('GET', orders) or '0')
  if not stock or not count then
    return redis.error_reply('ERR stock and order counter must be whole numbers')
  end
  -- All checks come before the first write, so the script cannot fail halfway.
  if stock < quantity then
    return { 0, stock, count }
  end
  return { 1, redis.call('DECRBY', product, quantity), redis.call('INCR', orders) }
end

redis.register_command{
  name = 'INVENTORY.RESERVE',
  summary = 'Reserves units of a product and counts the order, if there are enough.',
  complexity = 'O(1)',
  since = '1.0.0',
  keys = { 1, 2, 1 },
  arity = 4,
  flags = { 'write', 'deny-oom', 'fast' },
  callback = reserve,
}
