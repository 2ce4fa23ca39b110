//! `redis.call` with calls that no client would send, and with commands that no script may run.

use super::{Answer, Fail, Row, check_rows};

const ARGUMENTS: &str = "ERR Lua redis lib command arguments must be strings or integers";
const NOT_ALLOWED: &str = "ERR This Redis command is not allowed from script";

const CALLS: &[Row] = &[
    ("7989 arguments", "local t = {} for i = 1, 7989 do t[i] = i end return redis.call('DEL', unpack(t))", Answer("(integer) 0")),
    (
        "100000 arguments",
        "local t = {} for i = 1, 1e5 do t[i] = i end return redis.call('DEL', unpack(t))",
        Answer("(integer) 0"),
    ),
    ("numbers of every kind", "return redis.call('DEL', 0/0, 1/0, -1/0, 2^63, -2^63, 1e308, 5e-324, -0)", Answer("(integer) 0")),
    ("a function", "redis.call('SET', 'k', function() end)", Fail(ARGUMENTS)),
    (
        "a table that prints",
        "redis.call('SET', 'k', setmetatable({}, {__tostring = function() return 'x' end}))",
        Fail(ARGUMENTS),
    ),
    ("a table in the middle", "redis.call('SET', {}, 'v')", Fail(ARGUMENTS)),
    ("null", "redis.call('SET', 'k', cjson.null)", Fail(ARGUMENTS)),
    ("a table as the name", "redis.call({'SET', 'k', 'v'})", Fail(ARGUMENTS)),
    ("no name", "redis.call('')", Fail("ERR Unknown Redis command called from script")),
    ("a name of bytes", r"redis.call('\0\255\r\n', 1)", Fail("ERR Unknown Redis command called from script")),
    ("a name that goes on behind a NUL", r"redis.call('GET\0', 'k')", Fail("ERR Unknown Redis command called from script")),
    ("a long name", "redis.call(('x'):rep(1e6))", Fail("ERR Unknown Redis command called from script")),
    ("very many names", "for i = 1, 5000 do redis.pcall('name' .. i) end return 1", Answer("(integer) 1")),
    ("a long key", "redis.call('SET', ('k'):rep(2e6), 'v') return redis.call('DEL', ('k'):rep(2e6))", Answer("(integer) 1")),
    ("a number of bytes that is refused", "return redis.pcall('SETRANGE', 'k', 2^53, 'x')", Fail("ERR ")),
    (
        "an expiry that overflows",
        "return redis.pcall('SET', 'k', 'v', 'EX', 2^62)",
        Fail("ERR invalid expire time in 'set' command"),
    ),
    ("a count that overflows", "return redis.pcall('LPOP', 'none', -2^63)", Fail("ERR ")),
    ("a command in a coroutine", "return coroutine.wrap(function() return redis.call('PING') end)()", Answer("PONG")),
    (
        "a command in every coroutine",
        "local n = 0 for i = 1, 2000 do coroutine.wrap(function() redis.call('INCR', 'c') end)() end return redis.call('DEL', \
         'c')",
        Answer("(integer) 1"),
    ),
    (
        "a command in a comparator",
        "table.sort({3, 2, 1}, function(a, b) redis.call('SET', 'k', a) return a < b end) return redis.call('DEL', 'k')",
        Answer("(integer) 1"),
    ),
    ("a command in a metamethod", "return setmetatable({}, {__index = redis.call})[{}]", Fail(ARGUMENTS)),
    (
        "a command in an error handler",
        "xpcall(error, function() redis.call('SET', 'k', 1) end) return redis.call('DEL', 'k')",
        Answer("(integer) 1"),
    ),
    ("a command as an error handler", "return select('#', xpcall(redis.call, redis.call, 'x'))", Answer("(integer) 2")),
    (
        "a command as a callback",
        "return (('PING'):gsub('%w+', redis.call))",
        Fail("ERR user_script:1: invalid replacement value"),
    ),
    ("a command that loads", "return load(function() return redis.call('GET', 'none') or nil end) == nil", Answer("(nil)")),
    ("a digest of much", "return #redis.sha1hex(('x'):rep(8e6))", Answer("(integer) 40")),
    ("a digest of a table", "return redis.sha1hex({})", Answer("\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"")),
    (
        "a line of the log with line ends",
        r"redis.log(redis.LOG_WARNING, 'x\r\n1:M 01 Jan 2026 00:00:00.000 # forged\0') return 1",
        Answer("(integer) 1"),
    ),
    ("a long line of the log", "redis.log(redis.LOG_WARNING, ('x'):rep(5e6)) return 1", Answer("(integer) 1")),
    ("a level of the log that is none", "redis.log(2^53, 'x')", Fail("ERR Invalid debug level.")),
    ("a level of the log that is no number", "redis.log(0/0, 'x')", Fail("ERR ")),
    (
        "bits that are far away",
        "return redis.pcall('SETBIT', 'k', 2^53, 1)",
        Fail("ERR bit offset is not an integer or out of range"),
    ),
    (
        "arguments of 100 MB",
        "local s, t = ('x'):rep(1e6), {} for i = 1, 100 do t[i] = s end return redis.call('DEL', unpack(t))",
        Fail("ERR script exceeded the argument limit of 16777216 bytes (0 writes were applied)"),
    ),
];

/// Calls whose data the server must not keep after the script.
const FORGOTTEN: &[Row] =
    &[("names that are none", "for i = 1, 50 do redis.pcall(('x'):rep(1e6) .. i) end return 1", Answer("(integer) 1"))];

/// Calls that would harm the server, its clients or the module.
const REFUSED: &[Row] = &[
    ("DEBUG", "redis.call('DEBUG', 'SEGFAULT')", Fail(NOT_ALLOWED)),
    ("SHUTDOWN", "redis.call('SHUTDOWN', 'NOSAVE')", Fail(NOT_ALLOWED)),
    ("MODULE UNLOAD", "redis.call('MODULE', 'UNLOAD', 'atomic')", Fail(NOT_ALLOWED)),
    ("CONFIG SET", "redis.call('CONFIG', 'SET', 'atomic.script-memory-limit', '1tb')", Fail(NOT_ALLOWED)),
    ("SCRIPT FLUSH", "redis.call('SCRIPT', 'FLUSH')", Fail(NOT_ALLOWED)),
    ("ATOMIC.SCRIPT FLUSH", "redis.call('ATOMIC.SCRIPT', 'FLUSH')", Fail("ERR ")),
    ("ATOMIC.EVAL", "redis.call('ATOMIC.EVAL', 'return 1', 0)", Fail("ERR ")),
    ("EVAL", "redis.call('EVAL', 'return 1', 0)", Fail(NOT_ALLOWED)),
    ("FUNCTION", "redis.call('FUNCTION', 'FLUSH')", Fail(NOT_ALLOWED)),
    ("CLIENT PAUSE", "redis.call('CLIENT', 'PAUSE', 100000)", Fail(NOT_ALLOWED)),
    ("CLIENT KILL", "redis.call('CLIENT', 'KILL', 'SKIPME', 'no')", Fail(NOT_ALLOWED)),
    ("CLIENT REPLY", "redis.call('CLIENT', 'REPLY', 'OFF')", Fail(NOT_ALLOWED)),
    ("MULTI", "redis.call('MULTI')", Fail(NOT_ALLOWED)),
    ("SUBSCRIBE", "redis.call('SUBSCRIBE', 'c')", Fail(NOT_ALLOWED)),
    ("MONITOR", "redis.call('MONITOR')", Fail(NOT_ALLOWED)),
    ("HELLO", "redis.call('HELLO', 3)", Fail(NOT_ALLOWED)),
    ("RESET", "redis.call('RESET')", Fail(NOT_ALLOWED)),
    ("AUTH", "redis.call('AUTH', 'default', '')", Fail(NOT_ALLOWED)),
    ("ACL", "redis.call('ACL', 'SETUSER', 'mallory', 'on', 'nopass', '+@all')", Fail(NOT_ALLOWED)),
    ("REPLICAOF", "redis.call('REPLICAOF', '127.0.0.1', '1')", Fail(NOT_ALLOWED)),
    ("FAILOVER", "redis.call('FAILOVER')", Fail(NOT_ALLOWED)),
    ("SYNC", "redis.call('SYNC')", Fail(NOT_ALLOWED)),
    ("REPLCONF", "redis.call('REPLCONF', 'capa', 'eof')", Fail(NOT_ALLOWED)),
    ("SAVE", "redis.call('SAVE')", Fail(NOT_ALLOWED)),
    ("BGREWRITEAOF", "redis.call('BGREWRITEAOF')", Fail(NOT_ALLOWED)),
    ("ASKING", "redis.call('ASKING')", Fail("ERR ")),
    ("QUIT", "redis.call('QUIT')", Fail("ERR ")),
];

#[test]
fn calls_of_any_shape_get_a_reply() {
    check_rows(CALLS);
}

#[test]
fn names_of_commands_are_not_kept() {
    check_rows(FORGOTTEN);
}

#[test]
fn calls_that_would_harm_are_refused() {
    check_rows(REFUSED);
}
