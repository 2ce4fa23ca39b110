//! Keys that a script uses and that the client did not declare, and the check of memory at every write.

use super::{eval, sha1};
use crate::support::{Server, Setup, Value, each_server, each_server_with};

fn set(server: &Server, policy: &str) {
    assert_eq!(server.run(&format!("CONFIG SET atomic.script-undeclared-keys {policy}")), Value::ok());
}

fn counted(server: &Server, script: &str) -> Value {
    server.run(&format!("ATOMIC.SCRIPT STATS {}", sha1(script))).field("undeclared").unwrap()
}

/// A body and its undeclared uses with the declared key `k`; `None` if it uses only declared keys.
const USES: &[(&str, i64, Option<&str>)] = &[
    ("redis.call('SET', KEYS[1], 1)", 0, None),
    ("redis.call('SET', 'k', 1)", 0, None),
    ("redis.call('PING') redis.call('TIME') redis.call('PUBLISH', 'c', 1)", 0, None),
    ("redis.call('SET', 'other', 1)", 1, Some("uses the key 'other', which KEYS does not have")),
    ("redis.call('GET', 'other') redis.call('MGET', 'a', KEYS[1], 'b')", 3, Some("uses the key 'other'")),
    ("redis.pcall('SORT', KEYS[1], 'BY', 'w_*', 'GET', '#', 'GET', 'o_*')", 2, Some("uses the key 'w_*'")),
    ("redis.pcall('SORT', KEYS[1], 'BY', 'nosort')", 0, None),
    ("redis.call('KEYS', '*')", 1, Some("calls 'KEYS', which uses keys that KEYS does not have")),
    ("redis.call('SCAN', 0)", 1, Some("calls 'SCAN'")),
    ("redis.call('RANDOMKEY')", 1, Some("calls 'RANDOMKEY'")),
    ("redis.call('DBSIZE')", 1, Some("calls 'DBSIZE'")),
    ("redis.call('ZUNIONSTORE', KEYS[1], 2, 'a', 'b')", 2, Some("uses the key 'a'")),
    ("atomic.incrby('counter', 1)", 1, Some("uses the key 'counter'")),
    ("redis.call('ATOMIC.IDEM', KEYS[1], 1000, 'GET', 'inner')", 1, Some("uses the key 'inner'")),
];

#[test]
fn undeclared_keys_are_allowed_counted_or_refused() {
    each_server(|server| {
        for (body, uses, refusal) in USES {
            server.run("FLUSHALL");
            set(server, "allow");
            assert!(!server.call(&eval(body, "1 k")).to_string().contains("KEYS does not have"), "{body}");
            assert_eq!(counted(server, body), Value::Integer(0), "{body}");
            set(server, "log");
            server.run("FLUSHALL");
            server.call(&eval(body, "1 k"));
            assert_eq!(counted(server, body), Value::Integer(*uses), "{body}");
            set(server, "deny");
            server.run("FLUSHALL");
            let reply = server.call(&eval(format!("redis.setresp(2) {}", body.replace("redis.pcall", "redis.call")), "1 k"));
            match refusal {
                None => assert!(!reply.to_string().contains("KEYS does not have"), "{body}: {reply}"),
                Some(text) => {
                    let expected = format!("ERR the script {text}");
                    assert!(reply.error().starts_with(&expected), "{body}: {reply}");
                    assert_eq!(server.run("DBSIZE"), Value::Integer(0), "{body}");
                }
            }
        }
        assert!(matches!(server.run("CONFIG SET atomic.script-undeclared-keys some"), Value::Error(_)));
        assert_eq!(server.run("CONFIG GET atomic.script-undeclared-keys").array()[1], Value::bulk("deny"));
    });
}

#[test]
fn a_script_with_undeclared_keys_is_logged_once() {
    each_server_with(&Setup::with_module().module_args(&["script-undeclared-keys", "log"]), |server| {
        let script = "return redis.call('GET', ARGV[1])";
        for key in ["a", "b", "a"] {
            server.call(&eval(script, &format!("0 {key}")));
        }
        let lines =
            || server.log().lines().filter(|line| line.contains("undeclared keys") && line.contains(&sha1(script))).count();
        assert_eq!(lines(), 1, "{}", server.log());
        assert_eq!(counted(server, script), Value::Integer(3));
        server.call(&[
            "ATOMIC.FUNCTION",
            "LOAD",
            "#!lua name=l\nredis.register_function('f', function() redis.call('GET', 'x') end)",
        ]);
        server.run("ATOMIC.FCALL f 0");
        server.run("ATOMIC.FCALL f 0");
        let of_function =
            server.log().lines().filter(|line| line.contains("undeclared keys") && line.contains("The function is f")).count();
        assert_eq!(of_function, 1);
    });
}

#[test]
fn memory_can_be_checked_at_every_write() {
    each_server(|server| {
        server.run("SET k v");
        let grow =
            "redis.call('SET', KEYS[1], 1) for i = 1, 3000 do redis.call('SET', KEYS[1] .. i, ('x'):rep(1000)) end return 'all'";
        let native = "redis.call('SET', KEYS[1], 1) for i = 1, 30000 do atomic.incrby(KEYS[1] .. i, 1) end return 'all'";
        let limiter = "redis.call('SETRANGE', KEYS[1], 3000000, 'x') return atomic.ratelimit(KEYS[1] .. 'r', 'FIXED', 10, 1000)";
        let free = "redis.call('SETRANGE', KEYS[1], 3000000, 'x') return redis.call('DEL', KEYS[1])";
        for (script, refused) in [(grow, true), (native, true), (limiter, true), (free, false)] {
            for (setting, stops) in [("no", false), ("yes", refused)] {
                assert_eq!(server.run(&format!("CONFIG SET maxmemory 0 atomic.script-oom-every-write {setting}")), Value::ok());
                server.run("FLUSHALL SYNC");
                let used: u64 = server.info("used_memory").parse().unwrap();
                assert_eq!(server.run(&format!("CONFIG SET maxmemory {}", used + (1 << 20))), Value::ok());
                let reply = server.call(&eval(script, "1 k"));
                let is_refusal = matches!(&reply, Value::Error(text) if text.starts_with("OOM "));
                assert_eq!(is_refusal, stops, "{setting}: {script}: {reply}");
                let exempt = server.call(&eval(format!("#!lua flags=allow-oom\n{script}"), "1 k"));
                assert!(!matches!(exempt, Value::Error(_)), "{script}: {exempt}");
            }
        }
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
    });
}
