//! Sources that Luau refuses, or reads differently than Lua 5.1: in drop-in mode they reply as without the module, by every command.

use std::fmt::Write as _;

use super::{WHO, call, intercepting, library, natives, ours, sha1};
use crate::script::in_common_words;
use crate::support::{Server, Setup, Value, each_installed, each_server_with};

/// `first`, then `part` `count` times, then `last`.
fn long(first: &str, part: impl Fn(usize) -> String, count: usize, last: &str) -> String {
    let middle = (1..=count).fold(String::new(), |mut text, number| {
        text.push_str(&part(number));
        text
    });
    format!("{first}{middle}{last}")
}

/// Sources with more code than Luau compiles, with escapes that it refuses, or with another meaning there; and which engine runs each.
fn sources() -> Vec<(String, Value)> {
    let who = "type(string.dump)";
    let variables = long("local v = 0 ", |n| format!("local function f{n}() return v end "), 100, "");
    vec![
        // This engine understands them.
        (format!("local function f(...) return arg[1] end return f({who})"), ours()),
        (format!("local function f(...) return unpack(arg) end return f({who})"), ours()),
        (format!(r"local s = '\u00e9\x\q\xZZ\u{{110000}}' return {who}"), ours()),
        (format!("{variables} return {who}"), ours()),
        // This engine does not compile them.
        (
            long("local x = 0 if x == 1 then ", |n| format!("elseif x == {n} then x = 1 "), 1200, &format!("end return {who}")),
            natives(),
        ),
        (long("local x = ''", |n| format!(" or '{n}'"), 1200, &format!(" return {who}")), natives()),
        (long("local t = {} t.f = t local x = t", |_| ".f".to_owned(), 1500, &format!(" return {who}")), natives()),
        (format!("local x = 0x1p4 return {who}"), natives()),
        (format!("local x = '{}' return {who}", "x".repeat(1 << 20)), natives()),
        // This engine would compile them to something else.
        (format!(r"local s = '\x41' return {who}"), natives()),
        (format!("local a = 0 a, a = 1, 2 return {who}"), natives()),
        (format!("local t = {{'b', [1] = 'a'}} return {who}"), natives()),
        (format!("local function f(n) if n == 0 then return {who} end return f(n - 1) end return f(30000)"), natives()),
        // Always this engine's.
        (format!("local a = 0 a, a = 1, atomic return {who}"), ours()),
    ]
}

#[test]
fn every_command_has_the_same_rule() {
    each_server_with(&intercepting(), |server| {
        for (source, expected) in sources() {
            let shown = &source[..source.len().min(200)];
            let sha = sha1(&source);
            for (command, what) in
                [("EVAL", &source), ("EVAL", &source), ("EVAL_RO", &source), ("EVALSHA", &sha), ("EVALSHA_RO", &sha)]
            {
                assert_eq!(server.call(&call(command, what, "0")), expected, "{command} {shown}");
            }
            server.run("SCRIPT FLUSH");
            assert_eq!(server.call(&["SCRIPT", "LOAD", &source]), Value::bulk(&sha), "{shown}");
            assert_eq!(server.call(&["SCRIPT", "EXISTS", &sha]), Value::integers(&[1]), "{shown}");
            assert_eq!(server.call(&call("EVALSHA", &sha, "0")), expected, "LOAD, then EVALSHA {shown}");
            // Features of this engine only are not functions of the server.
            assert_eq!(server.call(&["FUNCTION", "LOAD", "REPLACE", &library("l", "f", &source)]), Value::bulk("l"), "{shown}");
            assert_eq!(server.run("FCALL f 0"), expected, "FCALL {shown}");
        }
        assert_eq!(server.call(&call("EVAL", WHO, "0")), ours());
    });
}

/// A script for the server's engine is compiled here once, until SCRIPT FLUSH; a syntax error is the server's.
#[test]
fn a_source_that_does_not_compile_is_remembered_and_gets_the_servers_error() {
    each_installed(|binary| {
        let [plain, dropped] = [Setup::without_module(), intercepting()].map(|setup| Server::start(binary, &setup));
        for source in ["return (", "x = = 1", "return 'a\nb'", "local x <const> = 1", "goto x", "return 'a\0b', ("] {
            for command in ["EVAL", "EVAL_RO"] {
                for _ in 0..2 {
                    let replies = [&plain, &dropped].map(|server| server.call(&call(command, source, "0")));
                    assert_eq!(replies[0], replies[1], "{command} {source:?}");
                    assert!(replies[0].error().starts_with("ERR Error compiling script"), "{}", replies[0]);
                }
            }
            let replies = [&plain, &dropped].map(|server| server.call(&["SCRIPT", "LOAD", source]));
            assert_eq!(replies[0], replies[1], "LOAD {source:?}");
        }
    });
}

/// Scripts whose replies depend on the server, beside a server without the module.
const SCRIPTS: &[&str] = &[
    "local function f(...) return redis.call(unpack(arg)) end return f('SET', KEYS[1], 'v')",
    "local f = function(a, ...) return {a, arg.n, arg[1], #arg} end return f(1, 2, 3)",
    "local function f(...) return {arg, ...} end return f(1, 2)",
    "local function f(arg, ...) return {arg, type(arg)} end return f(1, 2)",
    "return arg",
    "return {...}",
    "local from = tostring(9e16) .. '-0' if #redis.call('XRANGE', KEYS[1], from, '+') == 0 then redis.call('XTRIM', KEYS[1], 'MAXLEN', 0) end",
    "redis.call('ZADD', KEYS[1], 1, 1700000000123456 .. ':' .. 1) return redis.call('ZRANGE', KEYS[1], 0, -1)",
    "local t = redis.call('TIME') return (0.1 + 0.2) .. '|' .. tostring(1 / 3) .. '|' .. table.concat({2^53, 1e15, 1e14, -0.5}, ',')",
    "return string.format('%s %s', 123456789012345678, 0.1 + 0.2) .. tostring(0/0) .. -1e300",
    "return redis.call('ECHO', 0/0)",
    "error(0.1 + 0.2)",
    "error({err = 'ERR ' .. 1e15})",
    "local t = {} t[1e15 .. ''] = 1 for k in pairs(t) do return k end",
    r"return '\u00e9\q\x4\065\
'",
    r"return '\x41\u{48}\z  x'",
    "local function s(n, a) if n == 0 then return a end return s(n - 1, a + n) end return s(30000, 0)",
    "local o = {} function o:step(n) if n == 0 then return 'done' end return self:step(n - 1) end return o:step(30000)",
    "local a = 0 a, a = 1, 2 return a",
    "local t = {'b', [1] = 'a'} return t[1]",
    "return {1, 2, [2] = 5, 3}",
    "return string.gsub('x-y', '-', '%-')",
    "return {string.gsub('abc', '%w', '%%%0%.%')}",
    "return select('#', pcall(error, {}))",
    "return select('#', pcall(error))",
    "return select('#', pcall(error, {err = 'x'}))",
];

#[test]
fn real_scripts_reply_as_without_the_module() {
    each_installed(|binary| {
        let [plain, dropped] = [Setup::without_module(), intercepting()].map(|setup| Server::start(binary, &setup));
        let mut differing = String::new();
        for script in SCRIPTS {
            let [theirs, ours] = [&plain, &dropped].map(|server| {
                server.run("FLUSHALL");
                server.run("XADD s 1-1 a 1");
                let replies = [("EVAL", (*script).to_owned()), ("EVALSHA", sha1(script))]
                    .map(|(command, script)| in_common_words(&server.call(&call(command, &script, "1 s"))));
                let function = server.call(&["FUNCTION", "LOAD", "REPLACE", &library("l", "f", script)]);
                let called = in_common_words(&server.call(&["FCALL", "f", "1", "s"]));
                let is_error = matches!(function, Value::Error(_));
                (replies, is_error, called, server.run("TYPE s"), server.run("XLEN s"))
            });
            // Luau's wording for nil and for values that are not tables.
            let same = theirs == ours || script.contains("return {...}") && theirs.0 == ours.0;
            if !same {
                let _ = writeln!(differing, "{script}\n    without: {theirs:?}\n    in drop-in mode: {ours:?}");
            }
        }
        assert!(differing.is_empty(), "{differing}");
    });
}
