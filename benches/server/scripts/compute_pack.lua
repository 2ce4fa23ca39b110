local sum = 0
for i = 1, 25 do
  local p = cmsgpack.pack({i, 'name' .. i, {x = i, y = {1, 2, 3}}})
  sum = sum + #cmsgpack.unpack(p)
end
return sum
