//! Errors that are not strings, handlers that fail, and replies that would end early (CVE-2025-67733).

use super::{Answer, Fail, Items, Row, check_rows, each_limited_server};
use crate::script::{eval, expect_working};

const OBJECTS: &[Row] = &[
    ("nothing", "error()", Fail("ERR ")),
    ("a boolean", "error(true)", Fail("ERR ")),
    ("a number", "error(0/0)", Fail("ERR ")),
    ("a function", "error(error)", Fail("ERR ")),
    ("a coroutine", "error(coroutine.create(error))", Fail("ERR ")),
    ("a userdata", "error(newproxy(true))", Fail("ERR ")),
    ("null", "error(cjson.null)", Fail("ERR ")),
    ("a table", "error({})", Fail("ERR ")),
    ("a ring", "local t = {} t.err = t error(t)", Fail("ERR ")),
    ("a ring of metatables", "local t = {} error(setmetatable(t, t))", Fail("ERR ")),
    ("the globals", "error(_G)", Fail("ERR ")),
    ("a table that prints endlessly", "error(setmetatable({}, {__tostring = function() while true do end end}))", Fail("ERR ")),
    ("a table that fails to print", "error(setmetatable({}, {__tostring = error}))", Fail("ERR ")),
    (
        "a table that prints no text",
        "return tostring(setmetatable({}, {__tostring = function() return {} end}))",
        Fail("ERR user_script:1: '__tostring' must return a string"),
    ),
    ("a table that has any field", "error(setmetatable({}, {__index = function() error('again') end}))", Fail("ERR ")),
    ("a field of a field", "error({err = {err = {err = 'deep'}}})", Fail("ERR ")),
    ("a field that is a number", "error({err = 5})", Fail("ERR 5")),
    ("a long text", "error({err = 'LONG ' .. ('x'):rep(5e6)})", Fail("LONG xxx")),
    ("a long text that is no error", "error(('x'):rep(5e6))", Fail("ERR user_script:1: xxx")),
    ("a large table", "local t = {} for i = 1, 1e5 do t[i] = i end error(t)", Fail("ERR ")),
    (
        "a proxy that prints",
        "local p = newproxy(true) getmetatable(p).__tostring = function() return 'x' end error(p)",
        Fail("ERR "),
    ),
    (
        "as a value, through pcall",
        "local _, e = pcall(error, setmetatable({}, {__index = error})) return type(e)",
        Answer("\"table\""),
    ),
    (
        "a handler that fails",
        "return {xpcall(error, function() error('x') end)}",
        Answer("1) (nil)\n2) \"error in error handling\""),
    ),
    ("a handler that fails forever", "local function h() h() end return (xpcall(error, h))", Answer("(nil)")),
    ("a handler that is none", "return (pcall(xpcall, error, 5))", Answer("(nil)")),
    ("a handler that is the function", "return (xpcall(xpcall, xpcall))", Answer("(nil)")),
    ("an error in an error's text", "local ok, e = pcall(string.rep) return (pcall(error, e, 2))", Answer("(nil)")),
    ("a level from outside", "error('x', 2^53)", Fail("ERR x")),
    ("assert of a table", "assert(false, setmetatable({}, {__tostring = error}))", Fail("ERR user_script:1: ")),
    ("an error out of a coroutine", "coroutine.wrap(function() error({err = 'CODE inner'}) end)()", Fail("CODE inner")),
    (
        "an error in the stack's last frame",
        "local function f() local ok, e = pcall(f) if not ok then error(e, 0) end end f()",
        Fail("ERR C stack overflow"),
    ),
];

/// Each is one reply in both protocols, and the next reply belongs to the next command.
const REPLIES: &[Row] = &[
    ("CVE-2025-67733", r"return redis.error_reply('ERR x\r\n+OK\r\n:1\r\n')", Fail(r"ERR x\r\n+OK\r\n:1")),
    ("CVE-2025-67733", r"return redis.status_reply('x\r\n-ERR y\r\n')", Answer(r"x\r\n-ERR y\r\n")),
    ("CVE-2025-67733", r"return {err = '\r\n$5\r\nhello'}", Fail(r"ERR \r\n$5\r\nhello")),
    ("CVE-2025-67733", r"return {ok = '\n'}", Answer(r"\n")),
    (
        "CVE-2025-67733",
        r"return {{err = '\r\n'}, {ok = '\r\n'}, 'x\r\n'}",
        Answer("1) (error) ERR \\r\\n\n2) \\r\\n\n3) \"x\\r\\n\""),
    ),
    ("CVE-2025-67733", r"error('x\r\n+OK')", Fail(r"ERR user_script:1: x\r\n+OK")),
    ("CVE-2025-67733", r"error({err = 'ERR x\r\n+OK\r\n'})", Fail(r"ERR x\r\n+OK\r\n")),
    ("CVE-2025-67733", r"redis.call('x\r\n+OK')", Fail("ERR Unknown Redis command called from script")),
    ("CVE-2025-67733", r"return redis.pcall('OBJECT', 'x\r\n+OK\r\n')", Fail("ERR ")),
    ("CVE-2025-67733", r"return {big_number = '1\r\n+OK'}", Answer("\"1  +OK\"")),
    ("CVE-2025-67733", r"return {big_number = ''}", Answer("\"\"")),
    ("CVE-2025-67733", r"return {verbatim_string = {format = 'a\r\n', string = '\r\n'}}", Answer(r#""\r\n""#)),
    ("CVE-2025-67733", "return {verbatim_string = {format = 'longer than three', string = 'x'}}", Answer("\"x\"")),
    ("CVE-2025-67733", "return {verbatim_string = {format = '', string = 'x'}}", Answer("\"x\"")),
    ("CVE-2025-67733", "return {double = -1/0}", Answer("\"-inf\"")),
    ("CVE-2025-67733", r"return {map = {['a\r\n'] = {err = '\r\n'}}}", Answer("1) \"a\\r\\n\"\n2) (error) ERR \\r\\n")),
    ("CVE-2025-67733", "return {map = {[{err = 'x'}] = {map = {}}}}", Answer("1) (error) ERR x\n2) (empty array)")),
    ("CVE-2025-67733", "return {set = {[{ok = 'x'}] = true, }}", Answer("1) x")),
    ("many kinds at once", "return {ok = 'x', err = 'y', double = 1, map = {}, set = {}, big_number = '1', 1, 2}", Fail("ERR y")),
    ("a map that holds itself", "local t = {} t.map = {[1] = t} return t", Items(2)),
    ("a set that holds itself", "local t = {} t.set = {[t] = true} return t", Items(1)),
    ("a key of every kind", "return {map = {[true] = 1}}", Answer("1) (integer) 1\n2) (integer) 1")),
];

#[test]
fn errors_of_any_kind_are_one_error() {
    check_rows(OBJECTS);
}

#[test]
fn replies_of_any_bytes_are_one_reply() {
    check_rows(REPLIES);
}

#[test]
fn replies_of_any_bytes_are_one_reply_in_the_newer_protocol() {
    each_limited_server(|server| {
        let mut connection = server.connect().resp3();
        for &(trick, script, _) in REPLIES.iter().chain(OBJECTS) {
            connection.call(&eval(script, "0"));
            expect_working(&mut connection, &format!("{trick}: {script}"));
        }
    });
}
