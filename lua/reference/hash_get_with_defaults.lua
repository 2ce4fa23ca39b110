-- Read fields, with defaults for missing ones.
-- Replaced by: ATOMIC.HMGETOR key field default [field default ...]
-- KEYS: hash. ARGV: field, default, ... Returns the values.

local values = {}
for i = 1, #ARGV, 2 do
  values[#values + 1] = redis.call('HGET', KEYS[1], ARGV[i]) or ARGV[i + 1]
end
return values
