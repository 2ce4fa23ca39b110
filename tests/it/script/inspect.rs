//! Traces and dry runs: what they report, and that a dry run changes nothing.

use super::eval;
use crate::support::{FakeReplica, RealReplica, Value, each_server};

fn inspect(command: &str, script: &str, rest: &str) -> Vec<Vec<u8>> {
    let mut call = eval(script, rest);
    call[0] = command.as_bytes().to_vec();
    call
}

#[track_caller]
fn field(report: &Value, name: &str) -> Value {
    report.field(name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

/// The calls of a report: line, words, and the reply or error.
#[track_caller]
fn calls(report: &Value) -> Vec<(i64, String, String)> {
    let call = |call: &Value| {
        let words: Vec<_> = field(call, "command").array().iter().map(Value::text).collect();
        assert!(field(call, "us").integer() > 0);
        let result = call.field("reply").or_else(|| call.field("error")).unwrap();
        (field(call, "line").integer(), words.join(" "), result.text())
    };
    field(report, "calls").array().iter().map(call).collect()
}

#[track_caller]
fn texts(report: &Value, name: &str) -> Vec<String> {
    field(report, name).array().iter().map(Value::text).collect()
}

#[test]
fn a_trace_shows_what_a_script_does() {
    each_server(|server| {
        server.run("RPUSH list 1 2");
        let script = "local v = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], 'new')
pcall(redis.call, 'INCR', 'list')

redis.pcall('NOSUCH')
atomic.incrby('counter', 5)
local f = coroutine.wrap(function()
  redis.call('LRANGE', 'list', 0, -1) end) f()
return {1, 'two'}";
        let report = server.call(&inspect("ATOMIC.EVALTRACE", script, "1 k"));
        assert_eq!(field(&report, "reply"), Value::Array(vec![Value::Integer(1), Value::bulk("two")]));
        let rows = calls(&report);
        let expected = [
            (1, "GET k", "nil"),
            (2, "SET k new", "OK"),
            (3, "INCR list", "WRONGTYPE Operation against a key holding the wrong kind of value"),
            (5, "NOSUCH", ""),
            (6, "atomic.incrby counter 5", "5"),
            (8, "LRANGE list 0 -1", "[\"1\", \"2\"]"),
        ];
        assert_eq!(rows.len(), expected.len(), "{rows:?}");
        for (row, expected) in rows.iter().zip(expected) {
            assert_eq!((row.0, row.1.as_str()), (expected.0, expected.1));
            assert!(row.2.contains(expected.2), "{row:?}");
        }
        assert!(rows[3].2.contains("nknown"), "{rows:?}");
        assert!(rows[4].2.contains('5'), "{rows:?}");
        assert_eq!(texts(&report, "written"), ["k", "counter"]);
        assert_eq!(texts(&report, "undeclared"), ["list", "counter"]);
        assert!(field(&report, "us").integer() > 0 && field(&report, "memory").integer() >= 0);
        assert_eq!(field(&report, "more-calls"), Value::Integer(0));
        assert_eq!(server.run("GET k"), Value::bulk("new"), "a trace is a real run");
    });
}

#[test]
fn a_trace_shows_the_error_of_a_script() {
    each_server(|server| {
        let report = server.call(&inspect("ATOMIC.EVALTRACE", "redis.call('SET', KEYS[1], 1)\nerror('late')", "1 k"));
        assert!(field(&report, "error").text().contains("user_script:2: late"), "{report}");
        assert_eq!(server.run("GET k"), Value::bulk("1"));
        let whole = "#!lua flags=rollback\nredis.call('SET', KEYS[1], 2) return {err = 'MINE too'}";
        let report = server.call(&inspect("ATOMIC.EVALTRACE", whole, "1 k"));
        assert_eq!(field(&report, "error").text(), "MINE too (rolled back 1 key)");
        assert_eq!(server.run("GET k"), Value::bulk("1"));
        let report = server.call(&inspect("ATOMIC.EVALTRACE", "return redis.error_reply('MINE')", "0"));
        assert_eq!(field(&report, "error").text(), "ERR MINE");
        // What does not start is an error.
        for (command, script, error) in [
            ("ATOMIC.EVALTRACE", "return (", "ERR Error compiling script"),
            ("ATOMIC.EVALDRYRUN", "return (", "ERR Error compiling script"),
            ("ATOMIC.FCALLTRACE", "nosuch", "ERR Function not found"),
            ("ATOMIC.FCALLDRYRUN", "nosuch", "ERR Function not found"),
        ] {
            assert!(server.call(&inspect(command, script, "0")).error().starts_with(error), "{command}");
        }
        assert!(server.run("ATOMIC.EVALTRACE x").error().starts_with("ERR wrong number of arguments"));
        assert!(server.run("ATOMIC.EVALTRACE x y").error().contains("not an integer"));
    });
}

#[test]
fn a_report_is_bounded() {
    each_server(|server| {
        let script = "for i = 1, 1500 do redis.call('SET', 'key' .. i, ('x'):rep(10000)) end return redis.call('PING')";
        let report = server.call(&inspect("ATOMIC.EVALDRYRUN", script, "0"));
        let rows = calls(&report);
        assert_eq!((rows.len(), field(&report, "more-calls")), (1000, Value::Integer(501)));
        assert_eq!(rows[0].1, format!("SET key1 {}...", "x".repeat(64)));
        assert_eq!(texts(&report, "written").len(), 1000);
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn reports_are_maps_in_resp3() {
    each_server(|server| {
        let mut connection = server.connect().resp3();
        let report = connection.call(&inspect("ATOMIC.EVALTRACE", "redis.call('PING') return 1.5", "0"));
        let Value::Map(fields) = &report else { panic!("{report}") };
        assert_eq!(fields.len(), 7);
        assert_eq!(fields[0], (Value::bulk("reply"), Value::Integer(1)));
        assert_eq!(calls(&report), [(1, "PING".to_owned(), "PONG".to_owned())]);
    });
}

#[test]
fn functions_are_traced_too() {
    each_server(|server| {
        let code =
            "#!lua name=lib\nredis.register_function('f', function(keys, args)\nreturn redis.call('SET', keys[1], args[1]) end)";
        server.call(&["ATOMIC.FUNCTION", "LOAD", code]);
        let report = server.run("ATOMIC.FCALLDRYRUN f 1 k v");
        assert_eq!(calls(&report), [(3, "SET k v".to_owned(), "OK".to_owned())]);
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        let report = server.run("ATOMIC.FCALLTRACE f 1 k v");
        assert_eq!(field(&report, "reply"), Value::ok());
        assert_eq!(server.run("GET k"), Value::bulk("v"));
    });
}

#[test]
fn a_dry_run_changes_nothing() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut subscriber = server.connect();
        subscriber.run("SUBSCRIBE c");
        server.run("SET k old PXAT 4102444800000");
        server.run("RPUSH l 1 2");
        replica.stream();
        let script = "redis.call('SET', KEYS[1], 'new') redis.call('DEL', 'l') redis.call('PUBLISH', 'c', 'm')
redis.call('XADD', 'x', '*', 'f', 'v') atomic.lock('lock', 'me', 1000) return redis.call('GET', KEYS[1])";
        let digest = server.run("DEBUG DIGEST");
        let report = server.call(&inspect("ATOMIC.EVALDRYRUN", script, "1 k"));
        assert_eq!(field(&report, "reply"), Value::bulk("new"));
        assert_eq!(texts(&report, "written"), ["k", "l", "x", "lock"]);
        assert_eq!(server.run("DEBUG DIGEST"), digest);
        assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(4_102_444_800_000));
        replica.expect_stream(&[]);
        server.run("PUBLISH c end");
        assert_eq!(subscriber.read().unwrap().array()[2], Value::bulk("end"));
        let report = server.call(&inspect("ATOMIC.EVALDRYRUN", "redis.call('DEL', 'l') redis.call('FLUSHALL')", "0"));
        assert!(field(&report, "error").text().contains("'flushall' cannot be undone"), "{report}");
        assert_eq!(server.run("DEBUG DIGEST"), digest);
    });
}

#[test]
fn an_inspection_has_the_rights_and_keys_of_eval() {
    each_server(|server| {
        server.run("ACL SETUSER narrow reset on nopass ~a +atomic.evaldryrun +set +get");
        let mut narrow = server.connect();
        narrow.run("AUTH narrow x");
        assert!(narrow.call(&inspect("ATOMIC.EVALDRYRUN", "return 1", "1 b")).error().starts_with("NOPERM"));
        assert!(narrow.call(&inspect("ATOMIC.EVALTRACE", "return 1", "0")).error().starts_with("NOPERM"));
        let report =
            narrow.call(&inspect("ATOMIC.EVALDRYRUN", "redis.call('SET', 'a', 1) return redis.call('SET', 'b', 1)", "1 a"));
        assert!(field(&report, "error").text().contains("access"), "{report}");
        assert_eq!(server.run("EXISTS a"), Value::Integer(0));
        let keys = server.run("COMMAND GETKEYS ATOMIC.EVALTRACE x 2 a b c");
        assert_eq!(keys, Value::Array(["a", "b"].map(Value::bulk).to_vec()));
        let recursive = server.call(&eval("return redis.call('ATOMIC.EVALTRACE', 'return 1', 0)", "0"));
        assert!(super::in_words_of_redis(recursive.error()).contains("not allowed from script"));
    });
}

#[test]
fn on_a_replica_a_write_is_refused() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let report = replica.server.call(&inspect("ATOMIC.EVALDRYRUN", "return redis.call('SET', KEYS[1], 1)", "1 k"));
        assert!(field(&report, "error").text().starts_with("READONLY "), "{report}");
        let report = replica.server.call(&inspect("ATOMIC.EVALDRYRUN", "return redis.call('GET', KEYS[1])", "1 k"));
        assert_eq!(field(&report, "reply"), Value::Null);
    });
}
