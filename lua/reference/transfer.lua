-- Move an amount from one balance to another, if there is enough.
-- Replaced by: ATOMIC.TRANSFER source destination amount
-- KEYS: source, destination. ARGV: amount. Returns {1 or 0, source balance, destination balance}.

local amount = tonumber(ARGV[1])
local source = tonumber(redis.call('GET', KEYS[1]) or 0)
local destination = tonumber(redis.call('GET', KEYS[2]) or 0)
if source < amount then
  return { 0, source, destination }
end
redis.call('DECRBY', KEYS[1], amount)
redis.call('INCRBY', KEYS[2], amount)
return { 1, source - amount, destination + amount }
