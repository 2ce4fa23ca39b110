#!lua name=top_scores
-- Increments the counters of the members with the highest scores.

local MOST = 1000

-- Parses an integer of up to 15 characters, which Lua holds exactly; nil for anything else.
local function integer(text)
  if #text <= 15 and text:match('^-?%d+$') then
    return tonumber(text)
  end
end

local function increment(keys, args)
  local scores, counters = keys[1], keys[2]
  local count, by = integer(args[1]), integer(args[2] or '1')
  if not count or count < 1 or count > MOST then
    return redis.error_reply('ERR count must be an integer between 1 and 1000')
  end
  if not by or #args > 2 then
    return redis.error_reply('ERR increment must be one integer of at most 15 characters')
  end
  local members = redis.call('ZRANGE', scores, 0, count - 1, 'REV')
  if #members == 0 then
    return {}
  end
  for _, value in ipairs(redis.call('HMGET', counters, unpack(members))) do
    if value and not integer(value) then
      return redis.error_reply('ERR not every counter is an integer of at most 15 characters')
    end
  end
  -- All checks come before the first write, so the script cannot fail halfway.
  local reply = {}
  for _, member in ipairs(members) do
    reply[#reply + 1] = member
    reply[#reply + 1] = redis.call('HINCRBY', counters, member, by)
  end
  return reply
end

redis.register_command{
  name = 'TOP.INCR',
  summary = 'Adds to the counters of the members with the highest scores.',
  complexity = 'O(log(M)+N) in the size of the sorted set and the number of members',
  since = '1.0.0',
  keys = { 1, 2, 1 },
  arity = -4,
  flags = { 'write', 'deny-oom' },
  callback = increment,
}
