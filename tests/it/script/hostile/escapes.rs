//! Ways out of the sandbox: bytecode, environments, metatables, and what other engines left reachable.

use super::{Answer, Fail, Row, check_rows};

const READ_ONLY: &str = "ERR user_script:1: Attempt to modify a readonly table";
const READ_ONLY_IN_C: &str = "ERR Attempt to modify a readonly table";

/// Returns the path of every writable table that a script can reach. Only the run's own tables may be writable.
const WALK: &str = "
local seen, writable = {}, {}
local function walk(value, path)
  local kind = type(value)
  if seen[value] or (kind ~= 'table' and kind ~= 'function' and kind ~= 'userdata' and kind ~= 'thread') then return end
  seen[value] = true
  local meta = getmetatable(value)
  if type(meta) == 'table' then walk(meta, path .. '<metatable>') end
  if kind == 'function' then
    local ok, env = pcall(getfenv, value)
    if ok then walk(env, path .. '<environment>') end
  elseif kind == 'table' then
    if pcall(rawset, value, 'written', 1) then writable[#writable + 1] = path rawset(value, 'written', nil) end
    for k, v in next, value do walk(k, path) walk(v, path .. '.' .. tostring(k)) end
  end
end
local arrays = cjson.new() arrays.decode_array_with_array_mt(true)
walk(_G, '_G') walk(getmetatable(''), 'string') walk(cjson.null, 'null') walk(getmetatable(arrays.decode('[]')), 'array')
walk(getmetatable(arrays), 'codec') walk(getfenv(0), 'thread') walk(getfenv(1), 'script') walk(coroutine.running(), 'running')
table.sort(writable) return writable";

const BYTECODE: &[Row] = &[
    (
        "CVE-2015-4335: Lua's bytecode",
        r"return {loadstring('\27Lua\81\0\1\4\8\4\8\0') == nil, loadstring('\27LuaQ') == nil}",
        Answer("1) (integer) 1\n2) (integer) 1"),
    ),
    (
        "CVE-2015-4335: through load",
        r"local done = false return (load(function() if not done then done = true return '\27Lua\81\0\1\4\8\4\8\0' end end))",
        Answer("(nil)"),
    ),
    ("CVE-2015-4335: LuaJIT's bytecode", r"return (loadstring('\27LJ\2\0'))", Answer("(nil)")),
    (
        "CVE-2015-4335: Luau's bytecode, any version",
        "for v = 0, 255 do for t = 0, 8 do assert(not loadstring(string.char(v, t, 0, 1, 2, 3, 0, 0, 1, 0))) end end return 1",
        Answer("(integer) 1"),
    ),
    ("CVE-2015-4335: no dump", "return string.dump(function() end)", Fail("ERR user_script:1: attempt to call a nil value")),
    ("CVE-2015-4335: a mode of load", r"return (load('\27Lua', 'x', 'b', {}))", Answer("(nil)")),
    (
        "CVE-2025-49844: a name that is collected",
        "for i = 1, 200 do load(function() collectgarbage() return nil end, ('name'):rep(1e4) .. i) end return 1",
        Answer("(integer) 1"),
    ),
    (
        "CVE-2025-49844: a reader that collects",
        "local n = 0 return load(function() n = n + 1 collectgarbage('collect') local _ = ('x'):rep(1e5) return n < 50 and ' \
         ' or nil end)() == nil",
        Answer("(integer) 1"),
    ),
    ("CVE-2025-46819: long brackets", "return loadstring('return [' .. ('='):rep(1e6 - 100)) == nil", Answer("(integer) 1")),
    (
        "CVE-2025-46819: long brackets that close otherwise",
        "return loadstring('return [' .. ('='):rep(1000) .. '[ x ]' .. ('='):rep(999) .. ']') == nil",
        Answer("(integer) 1"),
    ),
    ("a reader of the wrong type", "return (load(function() return {} end))", Answer("(nil)")),
    ("a reader that fails", "return (load(function() error('x', 0) end))", Answer("(nil)")),
];

const METATABLES: &[Row] = &[
    ("all that can be reached and written", WALK, Answer("1) \"_G.ARGV\"\n2) \"_G.KEYS\"")),
    ("CVE-2025-46818: methods of strings", "getmetatable('').__index = function() return 'mine' end", Fail(READ_ONLY)),
    ("CVE-2025-46818: methods of strings, raw", "rawset(getmetatable(''), '__index', {})", Fail(READ_ONLY_IN_C)),
    ("CVE-2025-46818: operators of strings", "getmetatable('').__add = function() return 1 end", Fail(READ_ONLY)),
    (
        "CVE-2025-46818: another metatable of strings",
        "setmetatable('', {})",
        Fail("ERR user_script:1: invalid argument #1 to 'setmetatable'"),
    ),
    (
        "CVE-2025-46818: a metatable of the metatable",
        "setmetatable(getmetatable(''), {__newindex = rawset})",
        Fail(READ_ONLY_IN_C),
    ),
    (
        "CVE-2025-46818: other types have none",
        "return {getmetatable(1), getmetatable(true), getmetatable(nil), getmetatable(print_ == 1)}",
        Fail("ERR user_script:1: Script attempted to access"),
    ),
    ("CVE-2022-24735: code in globals", "function pcall() end", Fail(READ_ONLY)),
    ("CVE-2022-24735: code in a library", "redis.call = function() end", Fail(READ_ONLY)),
    ("CVE-2022-24735: code in a library, inserted", "table.insert(string, function() end)", Fail(READ_ONLY_IN_C)),
    ("CVE-2022-24735: code out of a library", "table.remove(cjson)", Answer("(nil)")),
    ("CVE-2022-24735: a library sorted", "table.sort(redis)", Fail(READ_ONLY_IN_C)),
    ("CVE-2022-24735: a constant", "math.huge = 0", Fail(READ_ONLY)),
    ("CVE-2022-24736: the globals' metatable", "setmetatable(_G, nil)", Fail(READ_ONLY_IN_C)),
    ("CVE-2022-24736: the globals' metatable, its fields", "getmetatable(_G).__newindex = nil", Fail(READ_ONLY)),
    (
        "CVE-2022-24736: a protected metatable",
        "setmetatable(setmetatable({}, {__metatable = 1}), {})",
        Fail("ERR user_script:1: cannot change a protected metatable"),
    ),
    (
        "CVE-2024-46981: a finalizer",
        "local p = newproxy(true) getmetatable(p).__gc = function() redis.call('SET', 'freed', 1) end p = nil for i = 1, 100 \
         do local _ = ('x'):rep(1e5) .. i end return redis.call('EXISTS', 'freed')",
        Answer("(integer) 0"),
    ),
    (
        "CVE-2024-46981: a finalizer of a table",
        "setmetatable({}, {__gc = function() redis.call('SET', 'freed', 1) end}) for i = 1, 100 do local _ = ('x'):rep(1e5) \
         .. i end return redis.call('EXISTS', 'freed')",
        Answer("(integer) 0"),
    ),
    (
        "a proxy of another's metatable",
        "local p = newproxy(true) return {getmetatable(newproxy(false)) == nil, type(getmetatable(newproxy(true)))}",
        Answer("1) (integer) 1\n2) \"table\""),
    ),
    ("a metatable that hides", "return getmetatable(setmetatable({}, {__metatable = 'hidden'}))", Answer("\"hidden\"")),
    (
        "a type that lies",
        "return type(setmetatable({}, {__type = 'string'})) .. type(newproxy(true))",
        Answer("\"tableuserdata\""),
    ),
    (
        "KEYS with a metatable is the run's own",
        "setmetatable(KEYS, {__index = function() return 'x' end}) return KEYS[1]",
        Answer("\"x\""),
    ),
];

const ENVIRONMENTS: &[Row] = &[
    (
        "CVE-2022-0543: package",
        "return package.loadlib('libc.so.6', 'system')",
        Fail("ERR user_script:1: Script attempted to access nonexistent global variable 'package'"),
    ),
    (
        "what other engines have left",
        "local found = {} for name in ('debug io package require module dofile loadfile print arg ffi jit bit32 utf8 buffer \
         vector integer task \
         typeof rawlen getgenv _ENV lua_getinfo gethook shared script plugin game newmt'):gmatch('%S+') do if rawget(_G, \
          name) ~= nil then \
         found[#found + 1] = name end end return found",
        Answer("(empty array)"),
    ),
    (
        "what Luau's libraries would add",
        "local found = {} for _, at in ipairs({'table.freeze', 'table.isfrozen', 'table.clear', 'table.clone', \
         'table.create', 'table.move', \
         'string.dump', 'string.pack', 'string.unpack', 'string.packsize', 'coroutine.close', 'os.execute', 'os.exit', \
          'os.getenv', 'os.remove', \
         'os.rename', 'os.tmpname', 'os.time', 'os.date', 'os.setlocale'}) do local lib, name = at:match('(%w+)%.(%w+)') \
         if _G[lib][name] ~= nil then found[#found + 1] = at end end return found",
        Answer("(empty array)"),
    ),
    (
        "the environment of a library function",
        "setfenv(string.gfind, {})",
        Fail("ERR user_script:1: 'setfenv' cannot change environment of given object"),
    ),
    (
        "the environment of redis.call",
        "setfenv(redis.call, {})",
        Fail("ERR user_script:1: 'setfenv' cannot change environment of given object"),
    ),
    ("the environment of the thread, written", "getfenv(0).x = 1", Fail(READ_ONLY)),
    ("the environment of a library function, written", "getfenv(math.mod).x = 1", Fail(READ_ONLY)),
    (
        "the environments of all levels",
        "for level = 0, 10 do local ok, env = pcall(getfenv, level) if ok and env ~= _G then return 'another' end end return 1",
        Answer("(integer) 1"),
    ),
    (
        "the environment of the caller",
        "local ok, e = pcall(function() setfenv(2, {}) end) return e",
        Answer("\"user_script:1: 'setfenv' cannot change environment of given object\""),
    ),
    ("an environment without anything", "setfenv(1, {}) return redis", Answer("(nil)")),
    ("an environment that others load in", "setfenv(0, {x = 5}) return loadstring('return x')()", Answer("(integer) 5")),
    ("the prelude is not in errors", "string.gfind(nil)", Fail("ERR user_script:1: ")),
    ("yield out of the run", "coroutine.yield(1)", Fail("ERR attempt to yield across metamethod/C-call boundary")),
    (
        "yield through library functions",
        "return coroutine.wrap(function() return ('x'):gsub('x', coroutine.yield) end)()",
        Fail("ERR user_script:1: attempt to yield across metamethod/C-call boundary"),
    ),
    (
        "yield through a comparator",
        "coroutine.wrap(function() table.sort({2, 1}, coroutine.yield) end)()",
        Fail("ERR user_script:1: attempt to yield across metamethod/C-call boundary"),
    ),
    (
        "yield through pcall",
        "local f = coroutine.wrap(function() return pcall(coroutine.yield, 1) end) f() return {f('x')}",
        Answer("1) (integer) 1\n2) \"x\""),
    ),
    (
        "yield through xpcall",
        "local f = coroutine.wrap(function() return xpcall(coroutine.yield, error) end) f() return {f('x')}",
        Answer("1) (integer) 1\n2) \"x\""),
    ),
    (
        "yield out of a handler",
        "return coroutine.wrap(function() return select('#', xpcall(error, coroutine.yield)) end)()",
        Answer("(integer) 2"),
    ),
    (
        "a dead coroutine",
        "local c = coroutine.create(function() end) coroutine.resume(c) return {coroutine.resume(c)}",
        Answer("1) (nil)\n2) \"cannot resume dead coroutine\""),
    ),
    ("the thread of the run", "return coroutine.running() == nil", Answer("(integer) 1")),
    (
        "a comparator that changes the table",
        "local t = {} for i = 1, 100 do t[i] = i % 7 end table.sort(t, function(a, b) t[#t + 1] = 1 t[1] = nil return a < b end)",
        Fail("ERR user_script:1: "),
    ),
    (
        "a comparator that contradicts itself",
        "local t = {} for i = 1, 1000 do t[i] = i end return (pcall(table.sort, t, function() return true end))",
        Answer("(nil)"),
    ),
    (
        "a callback that empties the table",
        "local t = {1, 2, 3, 4} table.foreachi(t, function(i) for k in pairs(t) do t[k] = nil end end) return #t",
        Answer("(integer) 0"),
    ),
    ("next after a key that was never there", "return next({}, 'x')", Fail("ERR invalid key to 'next'")),
    (
        "addresses are not shown",
        "return {tostring({}):match('^table: 0x%x+$') ~= nil, ('%p'):len()}",
        Answer("1) (integer) 1\n2) (integer) 2"),
    ),
    (
        "the collector is not run",
        "local n = collectgarbage('count') collectgarbage('stop') collectgarbage('setpause', 0) return collectgarbage('step', \
         2^31)",
        Answer("(integer) 0"),
    ),
];

#[test]
fn bytecode_is_refused() {
    check_rows(BYTECODE);
}

#[test]
fn tables_that_outlive_a_run_are_read_only() {
    check_rows(METATABLES);
}

#[test]
fn no_environment_leads_out() {
    check_rows(ENVIRONMENTS);
}
