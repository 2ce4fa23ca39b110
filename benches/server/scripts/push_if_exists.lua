if redis.call('exists', KEYS[1]) == 1 then
  redis.call('lpush', KEYS[2], ARGV[1])
  return 1
else
  return 0
end
