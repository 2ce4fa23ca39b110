-- What Lua 5.1 has in its standard libraries and Luau has not. Gets our loadstring; returns one table per library, the base
-- functions beside them. The rows of src/script/sandbox.rs pick from it. Everything used is a local: no script can change it.
local loadstring = ...
local concat, error, fmod, log, pcall, type = table.concat, error, math.fmod, math.log, pcall, type

return {
  -- Luau cannot compile piece by piece: the pieces are put together first. Lua 5.1 wants a function; 5.2 takes text too.
  load = function(reader, name)
    if type(reader) == 'string' then
      return loadstring(reader, name or '=(load)')
    end
    local pieces, size = {}, 0
    -- Longer sources are refused anyway: a reader that never ends is not asked for ever.
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
    -- Luau's takes a base as second argument; that of Lua 5.1 ignores it.
    log = function(x)
      return log(x)
    end,
    -- Renamed to fmod in Lua 5.1, which keeps the old name.
    mod = fmod,
  },

  table = {
    -- Lua 5.1 keeps it to tell that it does nothing any more.
    setn = function()
      error("'setn' is obsolete", 2)
    end,
  },
}
