local s = string.rep('alpha,beta,gamma,delta;', 40)
local words = {}
for w in string.gmatch(s, '[^,;]+') do words[w] = (words[w] or 0) + 1 end
local out = {}
for k, v in pairs(words) do out[#out + 1] = k .. '=' .. v end
return #out
