-- What Lua 5.1 has in its standard libraries and Luau has not. Gets our loadstring; returns one table per library, the base
-- functions beside them. The rows of src/script/sandbox.rs pick from it. Everything used is a local: no script can change it.
local loadstring = ...
local concat, error, fmod, gmatch, log, type = table.concat, error, math.fmod, string.gmatch, math.log, type

return {
  -- Luau cannot compile piece by piece: the pieces are put together first. Lua 5.1 wants a function; 5.2 takes text too.
  load = function(reader, name)
    if type(reader) == 'string' then
      return loadstring(reader, name or '=(load)')
    end
    local pieces = {}
    while true do
      local piece = reader()
      if piece == nil or piece == '' then
        break
      elseif type(piece) ~= 'string' then
        return nil, 'reader function must return a string'
      end
      pieces[#pieces + 1] = piece
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

  string = {
    -- Renamed to gmatch in Lua 5.1, which keeps the old name.
    gfind = gmatch,
  },

  table = {
    -- Lua 5.1 keeps it to tell that it does nothing any more.
    setn = function()
      error("'setn' is obsolete", 2)
    end,
  },
}
