local parts = {}
for i = 1, 200 do
  parts[#parts + 1] = 'item:' .. i .. ';'
end
return #table.concat(parts)
