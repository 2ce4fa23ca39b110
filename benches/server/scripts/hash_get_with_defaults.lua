local key = KEYS[1]
local results = {}

for i = 1, #ARGV, 2 do
  local field = ARGV[i]
  local default_val = ARGV[i + 1]

  local value = redis.call("HGET", key, field)
  if value == false then
    table.insert(results, default_val)
  else
    table.insert(results, value)
  end
end

return results
