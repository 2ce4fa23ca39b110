local n = 0
for i = 1, 4000 do
  if i % 3 == 0 then n = n + i else n = n - 1 end
end
return n
