local value = redis.call('GET', KEYS[1])
if value == false then
    return {0, 'KEY_NOT_FOUND'}
end
return {1, tonumber(value) + 1}
