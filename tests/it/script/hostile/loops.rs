//! Loops in library functions, metamethods and handlers, beyond those of `limits`.

use super::{Answer, End, EndInTime, Fail, Row, Soon, check_rows};

const LOOPS: &[Row] = &[
    ("a count that cannot grow", "for i = 2^53, 2^53 + 2 do end", EndInTime),
    ("a step of nothing", "for i = 1, 2, 0 do end", Answer("(nil)")),
    ("a step that is no number", "for i = 1, 2, 0/0 do end return 1", Answer("(integer) 1")),
    ("__index", "return setmetatable({}, {__index = function() while true do end end}).x", EndInTime),
    ("__newindex", "setmetatable({}, {__newindex = function() while true do end end}).x = 1", EndInTime),
    ("__eq", "local m = {__eq = function() while true do end end} return setmetatable({}, m) == setmetatable({}, m)", EndInTime),
    (
        "__lt in sort",
        "local m, t = {__lt = function() while true do end end}, {} for i = 1, 9 do t[i] = setmetatable({}, m) end table.sort(t)",
        EndInTime,
    ),
    ("__concat", "return setmetatable({}, {__concat = function() while true do end end}) .. 'x'", EndInTime),
    ("__len", "return #setmetatable({}, {__len = function() while true do end end})", EndInTime),
    ("__call", "return setmetatable({}, {__call = function() while true do end end})()", EndInTime),
    ("__unm", "return -setmetatable({}, {__unm = function() while true do end end})", EndInTime),
    ("__tostring", "return tostring(setmetatable({}, {__tostring = function() while true do end end}))", EndInTime),
    (
        "__tostring in format",
        "return ('%s'):format(setmetatable({}, {__tostring = function() while true do end end}))",
        Fail("ERR user_script:1: invalid argument #2 to 'format'"),
    ),
    ("__iter", "for _ in setmetatable({}, {__iter = function() return function() return 1 end end}) do end", EndInTime),
    (
        "__gc is never called",
        "getmetatable(newproxy(true)).__gc = function() while true do end end collectgarbage() return 1",
        Answer("(integer) 1"),
    ),
    ("__mode with everything dead", "local t = setmetatable({}, {__mode = 'kv'}) while true do t[#t + 1] = {} end", End),
    (
        "__index that counts on",
        "local t = setmetatable({}, {__index = function(_, i) return i end}) for _ in ipairs(t) do end",
        Answer("(nil)"),
    ),
    ("foreach", "table.foreach({1}, function() while true do end end)", EndInTime),
    ("foreachi", "table.foreachi({1}, function() while true do end end)", EndInTime),
    ("gsub", "return ('x'):gsub('x', function() while true do end end)", EndInTime),
    ("the reader of load", "load(function() while true do end end)", EndInTime),
    ("a reader that never ends", "load(function() return ' ' end)", End),
    ("the handler of xpcall", "xpcall(error, function() while true do end end)", EndInTime),
    ("the handler of the handler", "xpcall(error, function() xpcall(error, function() while true do end end) end)", EndInTime),
    (
        "a handler behind a loop",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        EndInTime,
    ),
    (
        "pcall that swallows, in a coroutine",
        "local f = coroutine.wrap(function() while true do pcall(function() while true do end end) end end) while true do \
         pcall(f) end",
        EndInTime,
    ),
    (
        "errors that swallow errors",
        "local function f() return pcall(f) or pcall(f) or f() end while true do pcall(f) end",
        EndInTime,
    ),
    (
        "coroutines that pass the work on",
        "local function f() while true do coroutine.yield(coroutine.wrap(f)()) end end while true do pcall(coroutine.wrap(f)) \
         end",
        EndInTime,
    ),
    ("next over a table that is changed", "local t = {1, 2, 3} while true do for k in next, t do t[k] = k end end", EndInTime),
    ("sort of many", "local t = {} for i = 1, 4e5 do t[i] = (i * 7919) % 400009 end while true do table.sort(t) end", EndInTime),
    ("commands", "while true do pcall(redis.call) redis.pcall('PING') end", EndInTime),
    ("errors of commands", "while true do pcall(redis.call, 'LPUSH', 'works', 1) end", EndInTime),
    ("random", "while true do math.random() end", EndInTime),
    ("bit", "while true do bit.bxor(1, 2) end", EndInTime),
    ("clock", "while os.clock() do end", EndInTime),
    ("log", "while true do redis.log(redis.LOG_DEBUG, 'x') end", EndInTime),
    ("wide JSON", "local t = {} for i = 1, 30 do t = {t, t} end return cjson.encode(t)", End),
    ("wide MessagePack", "local t = {} for i = 1, 30 do t = {t, t, t, t, t, t, t, t, t, t} end return cmsgpack.pack(t)", End),
    (
        "JSON again and again",
        "local s = ('[1,2,3],'):rep(1e4) while true do pcall(cjson.decode, '[' .. s .. '1]') end",
        EndInTime,
    ),
    ("MessagePack again and again", r"local s = '\220\39\16' .. ('\1'):rep(1e4) while true do cmsgpack.unpack(s) end", End),
    ("struct again and again", "local f = ('I4'):rep(1000) while true do pcall(struct.pack, f) struct.size(f) end", EndInTime),
    (
        "loadstring of deep sources",
        "local s = 'return ' .. ('{'):rep(100) .. ('}'):rep(100) while true do loadstring(s) end",
        EndInTime,
    ),
    (
        "an environment that computes",
        "setfenv(1, setmetatable({}, {__index = function(_, k) while true do end end})) return x",
        EndInTime,
    ),
];

/// Single calls into a library that take long and never call back.
const CALLS: &[Row] = &[
    (
        "sort of what compares slowly",
        "local a, b, t = ('x'):rep(2e6) .. 'a', ('x'):rep(2e6) .. 'b', {} for i = 1, 2e4 do t[i] = i % 3 == 0 and a or b end \
         table.sort(t)",
        EndInTime,
    ),
    ("a plain search, quadratic", "return ('a'):rep(8e5):find(('a'):rep(4e5) .. 'b', 1, true)", Soon),
    ("a search without magic, quadratic", "return ('a'):rep(8e5):find(('a'):rep(4e5) .. 'b')", Soon),
    (
        "a long set, repeated",
        "return ('b'):rep(7e4):find('[^' .. ('a'):rep(7e4) .. ']*x')",
        Fail("ERR user_script:1: pattern too complex"),
    ),
];

#[test]
fn single_calls_into_a_library_end_in_time() {
    check_rows(CALLS);
}

#[test]
fn hidden_loops_end_in_time() {
    check_rows(LOOPS);
}
