//! Recursion through every way from C to Lua, and endless chains.

use super::{Answer, Fail, Items, Row, check_rows};

const OVERFLOW: &str = "ERR user_script:1: stack overflow";

const RECURSION: &[Row] = &[
    ("a function", "local function f(n) return 1 + f(n + 1) end return f(1)", Fail(OVERFLOW)),
    (
        "a function of many locals",
        "local function f(a, b, c, d, e, g, h) local x, y, z = a, b, c return 1 + f(x, y, z, d, e, g, h) end return f()",
        Fail(OVERFLOW),
    ),
    ("mutual", "local g local function f() return 1 + g() end g = function() return 1 + f() end return f()", Fail(OVERFLOW)),
    (
        "a tail call is a frame in Luau",
        "local function f(n) if n == 0 then return 'done' end return f(n - 1) end return f(1e6)",
        Fail(OVERFLOW),
    ),
    ("pcall", "local function f() local ok, e = pcall(f) error(e, 0) end f()", Fail("ERR C stack overflow")),
    (
        "xpcall",
        "local function f() return select(2, xpcall(f, function(e) return e end)) .. 'x' end return type(f())",
        Answer("\"string\""),
    ),
    ("handlers", "local function h(e) error(e, 0) end xpcall(error, h) return xpcall(h, h) == false", Answer("(integer) 1")),
    ("coroutines in coroutines", "local function f() return 1 + coroutine.wrap(f)() end return f()", Fail("ERR user_script:1: ")),
    (
        "coroutines that resume coroutines",
        "local function f() local ok, e = coroutine.resume(coroutine.create(f)) return ok, e end local ok, e = f() return \
         type(ok)",
        Answer("\"boolean\""),
    ),
    (
        "a coroutine that resumes itself",
        "local c c = coroutine.create(function() return coroutine.resume(c) end) return select(3, coroutine.resume(c))",
        Answer("\"cannot resume running coroutine\""),
    ),
    (
        "a coroutine that wraps its caller",
        "local c c = coroutine.wrap(function() return c() end) return c()",
        Fail("ERR user_script:1: user_script:1: cannot resume running coroutine"),
    ),
    (
        "comparators that sort",
        "local function f(a, b) table.sort({3, 2, 1}, f) return a < b end table.sort({2, 1}, f)",
        Fail("ERR "),
    ),
    ("callbacks that replace", "local function f(s) return (('x'):gsub('x', f)) end return f('x')", Fail("ERR C stack overflow")),
    ("callbacks of foreach", "local function f() table.foreach({1}, f) end f()", Fail("ERR C stack overflow")),
    ("readers that load", "local function f() load(f) return nil end f()", Answer("(nil)")),
    ("chunks that load", "local s s = 'local s = ... return 1 + loadstring(s)(s)' return loadstring(s)(s)", Fail("ERR ")),
    (
        "__index",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(t, k) return t[k] end return t.x",
        Fail("ERR "),
    ),
    (
        "__index, a chain",
        "local t = {} for i = 1, 1e5 do t = setmetatable({}, {__index = t}) end return t.x",
        Fail("ERR user_script:1: '__index' chain too long"),
    ),
    (
        "__newindex, a chain",
        "local t = {} for i = 1, 1e5 do t = setmetatable({}, {__newindex = t}) end t.x = 1",
        Fail("ERR user_script:1: '__newindex' chain too long"),
    ),
    (
        "__index, a ring",
        "local a, b = {}, {} setmetatable(a, {__index = b}) setmetatable(b, {__index = a}) return a.x",
        Fail("ERR user_script:1: '__index' chain too long"),
    ),
    (
        "__call, a chain",
        "local t = function() return 1 end for i = 1, 1e5 do t = setmetatable({}, {__call = t}) end return t()",
        Fail("ERR "),
    ),
    ("__call, a ring", "local t = setmetatable({}, {}) getmetatable(t).__call = t return t()", Fail("ERR user_script:1: ")),
    (
        "__eq",
        "local m = {} m.__eq = function(a, b) return a == b end return setmetatable({}, m) == setmetatable({}, m)",
        Fail("ERR "),
    ),
    (
        "__lt",
        "local m = {} m.__lt = function(a, b) return a < b end return setmetatable({}, m) < setmetatable({}, m)",
        Fail("ERR "),
    ),
    (
        "__le",
        "local m = {} m.__le = function(a, b) return a <= b end return setmetatable({}, m) <= setmetatable({}, m)",
        Fail("ERR "),
    ),
    ("__unm", "local m = {} m.__unm = function(a) return -a end return -setmetatable({}, m)", Fail("ERR ")),
    ("__add", "local m = {} m.__add = function(a, b) return a + b end return setmetatable({}, m) + 1", Fail("ERR ")),
    ("__len", "local m = {} m.__len = function(a) return #a end return #setmetatable({}, m)", Fail("ERR ")),
    (
        "__tostring",
        "local m = {} m.__tostring = function(a) return tostring(a) end return tostring(setmetatable({}, m))",
        Fail("ERR "),
    ),
    ("__iter", "local m = {} m.__iter = function(a) for _ in a do end end for _ in setmetatable({}, m) do end", Fail("ERR ")),
    ("a table in itself, returned", "local t = {} t[1] = t return t", Items(1)),
    (
        "a ring of two, in JSON",
        "local a, b = {}, {} a[1] = b b[1] = a return cjson.encode(a)",
        Fail("ERR user_script:1: Cannot serialise, excessive nesting"),
    ),
    (
        "a ring of fields, in JSON",
        "local t = {} t.t = t return cjson.encode(t)",
        Fail("ERR user_script:1: Cannot serialise, excessive nesting"),
    ),
    ("a ring in MessagePack", "local t = {} t[1] = t return #cmsgpack.pack(t)", Answer("(integer) 17")),
    (
        "deep JSON to read",
        "return cjson.decode(('['):rep(1e6))",
        Fail("ERR user_script:1: Found too many nested data structures (1001) at character 1001"),
    ),
    (
        "deep objects to read",
        "return cjson.decode(('{\"a\":'):rep(1e5))",
        Fail("ERR user_script:1: Found too many nested data structures (1001)"),
    ),
    ("deep MessagePack to read", r"return cmsgpack.unpack(('\145'):rep(1e6))", Fail("ERR user_script:1: stack overflow")),
    ("deep maps to read", r"return cmsgpack.unpack(('\129\1'):rep(1e6))", Fail("ERR user_script:1: stack overflow")),
];

#[test]
fn every_recursion_ends_in_an_error() {
    check_rows(RECURSION);
}
