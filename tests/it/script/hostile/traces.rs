//! One script leaves nothing for the next.

use super::each_limited_server;
use crate::script::{eval, expect_working};

/// The trick, a script that leaves something, a script that looks for it, and its required reply, as redis-cli prints it.
///
/// The suite of the cache covers globals, fields of libraries and string methods.
const TRACES: &[(&str, &str, &str, &str)] = &[
    ("depth of JSON", "cjson.encode_max_depth(1)", "return cjson.encode({{{1}}})", "\"[[[1]]]\""),
    ("precision of JSON", "cjson.encode_number_precision(2)", "return cjson.encode({3.14159})", "\"[3.14159]\""),
    ("sparse arrays of JSON", "cjson.encode_sparse_array(true)", "return (pcall(cjson.encode, {[1000] = 1}))", "(nil)"),
    ("invalid numbers of JSON", "cjson.encode_invalid_numbers(true)", "return (pcall(cjson.encode, {0/0}))", "(nil)"),
    ("invalid numbers read", "cjson.decode_invalid_numbers(false)", "return (pcall(cjson.decode, '[nan]'))", "(integer) 1"),
    ("arrays of JSON", "cjson.decode_array_with_array_mt(true)", "return getmetatable(cjson.decode('[]')) == nil", "(integer) 1"),
    (
        "the buffer of JSON",
        "cjson.encode_keep_buffer(true) cjson.encode({('secret'):rep(1e5)})",
        "return cjson.encode({})",
        "\"{}\"",
    ),
    (
        "the metatable of arrays",
        "cjson.decode_array_with_array_mt(true) local m = getmetatable(cjson.decode('[]')) m.left = 1",
        "cjson.decode_array_with_array_mt(true) return getmetatable(cjson.decode('[]')).left == nil",
        "(integer) 1",
    ),
    ("a codec of its own", "local c = cjson.new() c.encode_max_depth(1)", "return cjson.new().encode({{1}})", "\"[[1]]\""),
    (
        "the seed",
        "math.randomseed(5) math.random()",
        "math.randomseed(5) local a = math.random() math.randomseed(5) return a == math.random()",
        "(integer) 1",
    ),
    (
        "the environment of the thread",
        "setfenv(0, setmetatable({}, {__index = function() return 'left' end}))",
        "return type(redis) .. type(rawget(_G, 'x'))",
        "\"tablenil\"",
    ),
    (
        "the environment of a coroutine",
        "coroutine.wrap(function() setfenv(0, {}) setfenv(1, {}) coroutine.yield() end)()",
        "return coroutine.wrap(function() return type(redis) end)()",
        "\"table\"",
    ),
    (
        "the environment of loaded code",
        "setfenv(0, {left = 1}) loadstring('left = 2')()",
        "return loadstring('return rawget(_G, \"left\") == nil')()",
        "(integer) 1",
    ),
    (
        "a coroutine that waits in a command",
        "coroutine.wrap(function() redis.call('PING') coroutine.yield() redis.call('SET', 'left', 1) end)()",
        "return redis.call('EXISTS', 'left')",
        "(integer) 0",
    ),
    (
        "a finalizer",
        "getmetatable(newproxy(true)).__gc = function() redis.call('SET', 'left', 1) end",
        "for i = 1, 200 do local _ = ('x'):rep(1e5) .. i end return redis.call('EXISTS', 'left')",
        "(integer) 0",
    ),
    (
        "the selected database",
        "redis.call('SELECT', 3)",
        "redis.call('SET', 'here', 1) redis.call('SELECT', 3) return redis.call('EXISTS', 'here')",
        "(integer) 0",
    ),
    (
        "the selected database, after an error",
        "redis.call('SELECT', 3) error('x')",
        "redis.call('SELECT', 3) return redis.call('EXISTS', 'here')",
        "(integer) 0",
    ),
    (
        "the selected database, after a limit",
        "redis.call('SELECT', 3) return ('x'):rep(2^31)",
        "redis.call('SELECT', 3) return redis.call('EXISTS', 'here')",
        "(integer) 0",
    ),
    (
        "KEYS and ARGV",
        "KEYS.left, ARGV[5] = 1, 'left' setmetatable(ARGV, {__index = function() return 'left' end})",
        "return {KEYS.left, ARGV[5], getmetatable(ARGV)}",
        "(empty array)",
    ),
    (
        "KEYS in a function that waits",
        "local keys = KEYS coroutine.wrap(function() coroutine.yield() keys[1] = 'left' end)()",
        "return #KEYS",
        "(integer) 0",
    ),
    (
        "an error in a handler",
        "xpcall(error, function() xpcall(error, error) error('left') end) error('left')",
        "return select(2, pcall(error, 'mine', 0))",
        "\"mine\"",
    ),
    (
        "a stack that was full",
        "local function f() return 1 + f() end f()",
        "local function f(n) return n == 0 and 0 or 1 + f(n - 1) end return f(15000)",
        "(integer) 15000",
    ),
    (
        "a memory that was full",
        "local t = {} while true do t[#t + 1] = ('x'):rep(1e4) .. #t end",
        "return #(('x'):rep(8e6) .. 'y')",
        "(integer) 8000001",
    ),
    (
        "strings as keys of weak tables",
        "local t = setmetatable({}, {__mode = 'k'}) t.left = 1",
        "return next(setmetatable({}, {__mode = 'k'})) == nil",
        "(integer) 1",
    ),
];

#[test]
fn nothing_of_a_script_is_left_for_the_next() {
    each_limited_server(|server| {
        let (mut one, mut other) = (server.connect(), server.connect());
        let mut wrong = Vec::new();
        for &(trick, leaving, looking, expected) in TRACES {
            for script in [leaving.to_owned(), format!("pcall(function() {leaving} end) return 1")] {
                one.call(&eval(script, "0"));
                for connection in [&mut other, &mut one] {
                    let seen = connection.call(&eval(looking, "0")).to_string();
                    if seen != expected {
                        wrong.push(format!("{trick}: {leaving}\n    {looking}: {seen}"));
                    }
                    expect_working(connection, trick);
                }
            }
        }
        assert!(wrong.is_empty(), "left behind:\n{}", wrong.join("\n"));
    });
}
