//! Where a run can be all or nothing, and the refusals of the server that an undo must pass.

use std::fs;

use super::{data, expect_undone, whole};
use crate::script::eval;
use crate::support::{Server, Setup, Value, argv, each_server, each_server_with};

const BODY: &str = "redis.call('SET', KEYS[1], 'new') redis.call('DEL', KEYS[2]) error('x')";

#[test]
fn a_function_asks_for_it_when_it_is_registered() {
    each_server(|server| {
        let code = "#!lua name=lib
redis.register_function{function_name = 'whole', flags = {'no-cluster', rollback = true},
    callback = function(keys) redis.call('SET', keys[1], 1) error('x') end}
redis.register_function('half', function(keys) redis.call('SET', keys[1], 1) error('x') end)";
        assert_eq!(server.call(&["ATOMIC.FUNCTION", "LOAD", code]), Value::bulk("lib"));
        assert!(server.run("ATOMIC.FCALL whole 1 k").error().ends_with("(rolled back 1 key)"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        assert!(!server.run("ATOMIC.FCALL half 1 k").error().contains("rolled back"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(1));
        let element = code.replace("rollback = true", "'rollback'").replace("=lib", "=other");
        assert!(
            server.call(&["ATOMIC.FUNCTION", "LOAD", &element]).error().contains("unknown flag"),
            "the server's engine loads it too"
        );
        assert!(server.run("FCALL whole 1 l").error().contains('x'));
        assert_eq!(server.run("EXISTS l"), Value::Integer(1));
    });
}

#[test]
fn a_command_from_a_file_asks_for_it_in_its_flags() {
    let directory = std::env::temp_dir().join(format!("atomic-rollback-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let code = "#!lua name=files
for name, flags in pairs({['t.whole'] = {'write', 'rollback'}, ['t.half'] = {'write'}}) do
  redis.register_command{name = name, keys = {1, 1, 1}, flags = flags, callback = function(keys, args)
    redis.call('SET', keys[1], 1) redis.call(args[1], keys[1]) end}
end";
    fs::write(directory.join("files.lua"), code).unwrap();
    let setup = Setup::with_module().module_args(&["commands-dir", directory.to_str().unwrap()]);
    each_server_with(&setup, |server| {
        assert!(server.run("T.WHOLE k LLEN").error().ends_with("(rolled back 1 key)"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        assert_eq!(server.run("T.WHOLE k GET"), Value::Null);
        assert_eq!(server.run("GETDEL k"), Value::bulk("1"));
        server.run("T.HALF k LLEN");
        assert_eq!(server.run("EXISTS k"), Value::Integer(1));
    });
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn drop_in_mode_serves_it() {
    let setup = Setup::with_module().module_args(&["intercept", "yes", "script-rollback", "yes"]);
    each_server_with(&setup, |server| {
        server.run("SET b old");
        let before = data(server);
        for call in ["EVAL", "ATOMIC.EVAL"] {
            let reply = server.call(&[vec![call.into(), BODY.into()], argv("2 a b")].concat());
            assert!(reply.error().ends_with("(rolled back 2 keys)"), "{reply}");
            assert_eq!(data(server), before);
        }
        let sha = server.call(&["SCRIPT", "LOAD", BODY]).text();
        assert!(server.run(&format!("EVALSHA {sha} 2 a b")).error().ends_with("(rolled back 2 keys)"));
        assert_eq!(data(server), before);
    });
}

#[test]
fn an_undo_runs_as_the_server() {
    each_server(|server| {
        server.run("SET b old PX 100000000");
        server.run("RPUSH l 1");
        // The user may not use the commands of an undo.
        let rules = "reset on nopass ~a ~b ~l +atomic.eval +set +del +rpush";
        server.run(&format!("ACL SETUSER narrow {rules}"));
        let mut narrow = server.connect();
        narrow.run("AUTH narrow x");
        let before = data(server);
        let body = "redis.call('SET', 'a', 1) redis.call('RPUSH', 'l', 2) redis.call('DEL', 'b') redis.call('FLUSHALL')";
        let reply = narrow.call(&eval(whole(body), "3 a b l"));
        assert!(reply.error().contains("rolled back 3 keys"), "{reply}");
        assert_eq!(data(server), before);
    });
}

#[test]
fn an_undo_passes_limits_that_a_write_does_not() {
    each_server(|server| {
        server.run("RPUSH l 1");
        server.run("SET b old");
        let before = data(server);
        // Memory runs out in the middle of the run, which the server does not notice before its end.
        let fill = "for i = 1, 2000 do redis.call('SET', 'fill' .. i, ('x'):rep(1000)) end ";
        let used: u64 = server.info("used_memory").parse().unwrap();
        assert_eq!(server.run(&format!("CONFIG SET maxmemory {}", used + (1 << 20))), Value::ok());
        let body = format!("redis.call('DEL', 'l', 'b') {fill} error('x')");
        let reply = server.call(&eval(whole(&body), "0"));
        assert!(reply.error().ends_with("(rolled back 2002 keys)"), "{reply}");
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
        assert_eq!(data(server), before);
        // Too few replicas: the first write is refused, so nothing is undone.
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 1"), Value::ok());
        expect_refused(server, "NOREPLICAS ");
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 0"), Value::ok());
        assert_eq!(data(server), before);
        expect_undone(server, BODY, "2 l b", "(rolled back 2 keys)");
    });
}

#[track_caller]
fn expect_refused(server: &Server, code: &str) {
    let reply = server.call(&eval(whole(BODY), "2 l b"));
    assert!(reply.error().starts_with(code) && !reply.error().contains("rolled back"), "{reply}");
}

#[test]
fn idempotent_calls_of_an_undone_script_run_again() {
    each_server(|server| {
        let script = whole("redis.call('INCR', KEYS[1]) if redis.call('EXISTS', KEYS[2]) == 0 then error('x') end return 'done'");
        let call = |key: &str| {
            let words = [vec!["ATOMIC.IDEM", key, "100000", "ATOMIC.EVAL", &script], vec!["2", "n", "go"]].concat();
            server.call(&words)
        };
        assert!(call("i").error().contains("rolled back 1 key"));
        assert_eq!(server.run("EXISTS n i"), Value::Integer(0));
        server.run("SET go 1");
        assert_eq!(call("i"), Value::Array(vec![Value::Integer(0), Value::bulk("done")]));
        assert_eq!(call("i"), Value::Array(vec![Value::Integer(1), Value::bulk("done")]));
        assert_eq!(server.run("GET n"), Value::bulk("1"));
    });
}
