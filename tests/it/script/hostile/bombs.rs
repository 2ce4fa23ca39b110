//! Memory bombs in libraries and codecs, beyond those of `limits`.

use super::{Answer, End, EndInMemory, Row, check_rows};

const BOMBS: &[Row] = &[
    ("strings that double", "local s = 'x' while true do s = s:rep(2) end", EndInMemory),
    (
        "strings that turn",
        "local t, s = {}, ('x'):rep(1e6) while true do s = s:reverse() .. #t t[#t + 1] = s:upper() end",
        EndInMemory,
    ),
    ("a replacement that doubles", "local s = 'xx' while true do s = s:gsub('x', 'xx') end", EndInMemory),
    ("a replacement from a table", "return (('x'):rep(1e5):gsub('x', {x = ('y'):rep(1e5)}))", EndInMemory),
    (
        "a replacement from a function",
        "local y = ('y'):rep(1e5) return (('x'):rep(1e5):gsub('x', function() return y end))",
        EndInMemory,
    ),
    ("a replacement of the whole match", "return (('x'):rep(5000):gsub('.*', ('%0'):rep(5000)))", EndInMemory),
    (
        "concat of the same string",
        "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1e5) end return table.concat(t)",
        EndInMemory,
    ),
    (
        "format of the same string",
        "local s = ('x'):rep(1e6) return ('%s'):rep(100):format(unpack((function() local t = {} for i = 1, 100 do t[i] = s \
         end return t end)()))",
        EndInMemory,
    ),
    ("a table of huge room", "local t = {} for i = 1, 2^26 do t[i] = true end", EndInMemory),
    ("keys of every kind", "local t = {} while true do t[{}] = function() end end", EndInMemory),
    ("userdata", "local t = {} while true do t[#t + 1] = newproxy(true) end", EndInMemory),
    (
        "coroutines that wait",
        "local t = {} while true do local f = coroutine.wrap(function(...) coroutine.yield(...) end) f(1, 2, 3) t[#t + 1] = f \
         end",
        EndInMemory,
    ),
    (
        "a deep stack that waits",
        "local function f(n) if n == 0 then coroutine.yield() end f(n - 1) return 1 end local t = {} while true do local c = \
         coroutine.wrap(f) c(10000) t[#t + 1] = c end",
        EndInMemory,
    ),
    (
        "functions loaded",
        "local t = {} while true do t[#t + 1] = loadstring('local a = ' .. #t .. ' return function() return a end') end",
        EndInMemory,
    ),
    ("errors that grow", "local m = 'x' while true do local _, e = pcall(error, m) m = e .. m end", EndInMemory),
    ("errors in errors", "local e = {} while true do local _, inner = pcall(error, {e, {}}) e = inner end", EndInMemory),
    ("KEYS that grow", "while true do KEYS[#KEYS + 1] = ARGV ARGV[#ARGV + 1] = {} end", EndInMemory),
    (
        "replies that are kept",
        "local t = {} while true do t[#t + 1] = redis.call('COMMAND', 'INFO', 'get', 'set') end",
        EndInMemory,
    ),
    (
        "a reply that is too large",
        "for i = 1, 500 do redis.call('RPUSH', 'l', unpack((function() local t = {} for n = 1, 1000 do t[n] = 'value ' .. i \
         .. ' of ' .. n end return t end)())) end return #redis.call('LRANGE', 'l', 0, -1)",
        EndInMemory,
    ),
    ("commands that answer much", "redis.call('SETRANGE', 'big', 30000000, 'x') return redis.call('GET', 'big')", EndInMemory),
    (
        "JSON of the same string",
        "local s, t = ('x'):rep(1e6), {} for i = 1, 1000 do t[i] = s end return #cjson.encode(t)",
        EndInMemory,
    ),
    ("CVE-2022-24834: JSON escapes", r"return #cjson.encode(('\1'):rep(5e6))", EndInMemory),
    ("JSON of a sparse array", "cjson.encode_sparse_array(false, 0) return #cjson.encode({[1e9] = 1})", End),
    ("JSON of very many", "return #cjson.decode('[' .. ('[],'):rep(1e6) .. '1]')", EndInMemory),
    (
        "MessagePack of the same string",
        "local s, t = ('x'):rep(1e6), {} for i = 1, 1000 do t[i] = s end return #cmsgpack.pack(t)",
        EndInMemory,
    ),
    (
        "MessagePack of many arguments",
        "local s, t = ('x'):rep(1e6), {} for i = 1, 1000 do t[i] = s end return #cmsgpack.pack(unpack(t))",
        EndInMemory,
    ),
    ("MessagePack of many tables", r"return #cmsgpack.unpack('\221\0\15\66\64' .. ('\144'):rep(1e6))", EndInMemory),
    (
        "struct of the same string",
        "local s, t = ('x'):rep(1e6), {} for i = 1, 1000 do t[i] = s end return #struct.pack(('s'):rep(1000), unpack(t))",
        EndInMemory,
    ),
    (
        "struct of padding",
        "return #struct.pack(('x'):rep(1e6) .. ('c1000000'):rep(20), unpack((function() local t = {} for i = 1, 20 do t[i] = \
         ('x'):rep(1e6) end return t end)()))",
        EndInMemory,
    ),
    (
        "pcall that holds on",
        "local t = {} while true do pcall(function() while true do t[#t + 1] = ('x'):rep(100) .. #t end end) end",
        EndInMemory,
    ),
    (
        "coroutines that hold on",
        "local t = {} while true do coroutine.wrap(function() while true do t[#t + 1] = {#t} end end)() end",
        EndInMemory,
    ),
    (
        "weak tables are freed",
        "local t = setmetatable({}, {__mode = 'v'}) for i = 1, 2e5 do t[i] = {i, i} end return 1",
        Answer("(integer) 1"),
    ),
];

/// Scripts that hold little memory at a time: no limit may end them.
const GARBAGE: &[Row] = &[
    ("garbage is freed", "for i = 1, 2000 do local s = ('x'):rep(1e5) .. i end return 1", Answer("(integer) 1")),
    ("large garbage is freed", "for i = 1, 100 do local s = ('x'):rep(2e6) .. i end return 1", Answer("(integer) 1")),
    (
        "garbage of a codec is freed",
        r"local s = '\220\39\16' .. ('\1'):rep(1e4) for i = 1, 1000 do cmsgpack.unpack(s) end return 1",
        Answer("(integer) 1"),
    ),
];

#[test]
fn garbage_is_freed_before_the_limit_is_reached() {
    check_rows(GARBAGE);
}

#[test]
fn bombs_in_libraries_end_and_their_memory_is_freed() {
    check_rows(BOMBS);
}
