-- Functions of Lua 5.1's standard libraries that Luau lacks. Takes the engine's loadstring. Returns the base functions and one table per
-- library; the rows of src/lua/sandbox/mod.rs pick from them. Everything used here is a local, so no script can change it.
local loadstring = ...
local concat, error, fmod, log, pcall, type = table.concat, error, math.fmod, math.log, pcall, type

return {
  -- Luau cannot compile piece by piece, so the pieces are joined first. Lua 5.1 takes only a function; 5.2 also takes text.
  load = function(reader, name)
    if type(reader) == 'string' then
      return loadstring(reader, name or '=(load)')
    end
    local pieces, size = {}, 0
    -- Longer sources are refused anyway, so a reader that never ends is not called forever.
    while size <= 1048576 do
      local done, piece = pcall(reader)
      if not done then
        return nil, piece
      elseif piece == nil or piece == '' then
        break
      elseif type(piece) ~= 'string' then
        return nil, 'reader function must return a string'
      end
      pieces[#pieces + 1], size = piece, size + #piece
    end
    return loadstring(concat(pieces), name or '=(load)')
  end,

  math = {
    -- Luau's takes a base as second argument; Lua 5.1 ignores that argument.
    log = function(x)
      return log(x)
    end,
    -- Lua 5.1 renamed it to fmod and keeps the old name.
    mod = fmod,
  },

  table = {
    -- In Lua 5.1 it only raises this error.
    setn = function()
      error("'setn' is obsolete", 2)
    end,
  },
}
