local text = '{"id":1,"name":"example","tags":["a","b","c"],"nested":{"x":1.5,"y":[1,2,3]},"ok":true}'
local sum = 0
for i = 1, 15 do
  local value = cjson.decode(text)
  value.id = i
  sum = sum + #cjson.encode(value)
end
return sum
