//! ATOMIC.SCRIPT CHECK: what it finds in a source, and that what it finds is so.

use super::eval;
use crate::support::{Server, Value, each_server};

/// Each finding as `line kind`.
#[track_caller]
fn kinds(server: &Server, script: &str) -> Vec<String> {
    let reply = server.call(&["ATOMIC.SCRIPT", "CHECK", script]);
    let field = |finding: &Value, name: &str| finding.field(name).unwrap();
    reply.array().iter().map(|it| format!("{} {}", field(it, "line").integer(), field(it, "kind").text())).collect()
}

/// A script, and what is found in it.
const ROWS: &[(&str, &[&str])] = &[
    ("return 1", &[]),
    ("return redis.call('GET', KEYS[1])", &[]),
    ("local x = 1\nreturn x +", &["2 error"]),
    ("#!lua colour=red\nreturn 1", &["1 error"]),
    ("return '\\x41'", &["1 differs"]),
    ("local x = 1\nx += 1 return x", &["1 differs"]),
    ("x = 1", &["1 global"]),
    ("return redis.call('GET', 'k')", &["1 key"]),
    ("return redis.call('MGET', KEYS[1], 'a', 'b')", &["1 key", "1 key"]),
    ("return redis.call('SORT', KEYS[1], 'STORE', 'b')", &["1 key", "1 replica"]),
    ("redis.call('GET', KEYS[1])\nredis.call('SET', KEYS[1], 'v')\nredis.call('DEL', KEYS[1])", &["2 replica"]),
    ("return redis.call('NOSUCH', KEYS[1])", &["1 command"]),
    ("return redis.call('SUBSCRIBE', 'c')", &["1 command"]),
    ("return redis.call('CONFIG', 'GET', 'x')", &["1 command", "1 rollback"]),
    ("return redis.call('KEYS', '*')", &["1 cluster"]),
    ("return redis.pcall('FLUSHALL')", &["1 replica", "1 cluster", "1 rollback"]),
    ("return redis.call(ARGV[1], 'k')", &[]),
    (
        "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) return 1 end return 0",
        &["1 replica", "1 native"],
    ),
];

#[test]
fn findings_have_their_line_and_kind() {
    each_server(|server| {
        for (script, expected) in ROWS {
            assert_eq!(kinds(server, script), *expected, "{script}");
        }
        assert_eq!(server.run("ATOMIC.SCRIPT LIST"), Value::Array(vec![]), "CHECK cached a script");
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        let long = " ".repeat((1 << 20) + 1);
        for refused in [long.as_str(), "return '\0'"] {
            assert_eq!(kinds(server, refused), ["1 error"]);
        }
        let reply = server.connect().resp3().call(&["ATOMIC.SCRIPT", "CHECK", "return redis.call('GET', 'k')"]);
        let text = "'k' is a key that KEYS does not declare";
        let finding = [("line", Value::Integer(1)), ("kind", Value::bulk("key")), ("text", Value::bulk(text))];
        let finding = finding.into_iter().map(|(name, value)| (Value::bulk(name), value)).collect();
        assert_eq!(reply, Value::Array(vec![Value::Map(finding)]));
    });
}

#[test]
fn every_global_that_is_not_reported_exists() {
    // Some servers hide these.
    const HIDDEN: [&str; 3] = ["getfenv", "newproxy", "setfenv"];
    // A function with `...` or a method declares them.
    const IMPLICIT: [&str; 2] = ["arg", "self"];
    each_server(|server| {
        let walk = "local names = {} for name in pairs(_G) do names[#names + 1] = name end return names";
        let exist = server.call(&eval(walk, "0"));
        for name in exist.array().iter().map(Value::text).filter(|name| !name.starts_with("__")) {
            assert_eq!(kinds(server, &format!("return {name}")), [] as [&str; 0], "{name}");
        }
        for name in ["print", "io", "debug", "require", "dofile", "module", "utf8", "buffer", "vector", "Redis", "keys"] {
            assert_eq!(kinds(server, &format!("return {name}")), ["1 global"], "{name}");
            assert!(server.call(&eval(format!("return {name}"), "0")).error().contains("nonexistent global variable"), "{name}");
        }
        for name in HIDDEN.iter().chain(&IMPLICIT) {
            assert_eq!(kinds(server, &format!("return {name}")), [] as [&str; 0], "{name}");
        }
    });
}
