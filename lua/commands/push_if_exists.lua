#!lua name=push_if_exists
-- Pushes to a list only if another key exists.

local function push(keys, args)
  local condition, list = keys[1], keys[2]
  if redis.call('EXISTS', condition) == 0 then
    return 0
  end
  return redis.call('LPUSH', list, unpack(args))
end

redis.register_command{
  name = 'PUSH.IFEXISTS',
  summary = 'Pushes values to the head of a list, if another key exists.',
  complexity = 'O(N) in the number of values',
  since = '1.0.0',
  keys = { 1, 2, 1 },
  arity = -4,
  flags = { 'write', 'deny-oom' },
  callback = push,
}
