#!lua name=sum_keys
-- Returns the sum of the integers at several keys. It does not declare 'write', so it also runs on replicas.

local EXACT = 2 ^ 53

local function sum(keys, args)
  if #args > 0 then
    return redis.error_reply('ERR numkeys must count all keys')
  end
  local total = 0
  for _, key in ipairs(keys) do
    -- Missing keys count as 0.
    local value = redis.call('GET', key) or '0'
    if #value > 15 or not value:match('^-?%d+$') then
      return redis.error_reply('ERR not every key holds an integer of at most 15 characters')
    end
    total = total + tonumber(value)
    if total >= EXACT or total <= -EXACT then
      return redis.error_reply('ERR the sum is too large to be exact')
    end
  end
  return total
end

redis.register_command{
  name = 'SUM.KEYS',
  summary = 'Returns the sum of the integers at several keys.',
  complexity = 'O(N) in the number of keys',
  since = '1.0.0',
  numkeys = 1,
  arity = -3,
  callback = sum,
}
