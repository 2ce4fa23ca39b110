#!lua name=bench
redis.register_function('empty', function() end)

redis.register_function('cas', function(keys, args)
  if redis.call('GET', keys[1]) == args[1] then
    redis.call('SET', keys[1], args[2])
    return 1
  end
  return 0
end)
