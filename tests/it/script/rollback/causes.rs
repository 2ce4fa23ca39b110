//! Each way in which a run can fail undoes it; a caught error does not.

use super::{data, expect_undone, whole};
use crate::script::{eval, sha1};
use crate::support::{Server, Setup, Value, argv, each_server, each_server_with, eventually};

const WRITES: &str = "redis.call('SET', KEYS[1], 'new') redis.call('RPUSH', KEYS[2], 'x') redis.call('DEL', KEYS[3]) ";

#[track_caller]
fn prepare(server: &Server) {
    for command in ["SET a old PX 100000000", "SADD c 1 2 3"] {
        assert!(!matches!(server.run(command), Value::Error(_)), "{command}");
    }
}

#[test]
fn every_error_that_leaves_the_script_undoes_it() {
    each_server(|server| {
        prepare(server);
        let three = "(rolled back 3 keys)";
        for fails in [
            "error('late')",
            "error({err = 'MINE of its own'})",
            "redis.call('INCR', KEYS[1])",
            "redis.call('NOSUCH')",
            "return redis.error_reply('MINE returned')",
            "return {err = 'MINE returned'}",
            "return redis.pcall('INCR', KEYS[1])",
            "local f = coroutine.wrap(function() redis.call('SET', KEYS[2] .. 'x', 1) error('inside') end) f()",
            "undefined_global()",
        ] {
            let four = if fails.contains("coroutine") { "(rolled back 4 keys)" } else { three };
            expect_undone(server, &format!("{WRITES}{fails}"), "3 a b c", four);
        }
        let script = whole(&format!("{WRITES}error('late')"));
        let place = format!("ERR user_script:2: late script: {}, on @user_script:2. {three}", sha1(&script));
        assert_eq!(server.call(&eval(&script, "3 a b c")).error(), place);
        let one = whole("redis.call('SET', KEYS[1], 1) return {err = 'MINE is kept'}");
        assert_eq!(server.call(&eval(one, "1 d")).error(), "MINE is kept (rolled back 1 key)");
        assert_eq!(server.info("atomic_scripts_rollback_failures"), "0");
        assert_eq!(server.info("atomic_scripts_rollbacks"), "11");
    });
}

#[test]
fn a_run_without_an_error_keeps_its_writes() {
    each_server(|server| {
        prepare(server);
        let caught =
            format!("{WRITES} pcall(redis.call, 'INCR', KEYS[1]) redis.pcall('INCR', KEYS[2]) return {{1, {{err = 'ERR x'}}}}");
        let reply = server.call(&eval(whole(&caught), "3 a b c"));
        assert_eq!(reply, Value::Array(vec![Value::Integer(1), Value::Error("ERR x".to_owned())]));
        assert_eq!(server.run("GET a"), Value::bulk("new"));
        assert_eq!(server.run("PTTL a"), Value::Integer(-1));
        assert_eq!(server.run("EXISTS b c"), Value::Integer(1));
        let fails = "redis.call('SET', KEYS[1], 'half') error('x')";
        assert!(!server.call(&eval(fails, "1 a")).error().contains("rolled back"), "not asked for");
        assert_eq!(server.run("GET a"), Value::bulk("half"));
        assert_eq!(server.call(&eval(whole("error('nothing written')"), "0")).error().matches("rolled back").count(), 0);
        assert_eq!(server.info("atomic_scripts_rollbacks"), "0");
    });
}

#[test]
fn a_key_that_the_run_did_not_change_is_not_restored() {
    each_server(|server| {
        server.run("SET k v");
        server.run("RPUSH l 1 2 3");
        let script = whole(
            "redis.call('SET', KEYS[1], 'w', 'NX') redis.call('LREM', KEYS[2], 0, 'none') redis.call('DEL', KEYS[3]) error('x')",
        );
        let dirty = || server.info("rdb_changes_since_last_save");
        let before = dirty();
        assert!(!server.call(&eval(&script, "3 k l m")).error().contains("rolled back"));
        assert_eq!(dirty(), before);
    });
}

#[test]
fn the_setting_asks_for_it_in_every_script() {
    each_server_with(&Setup::with_module().module_args(&["script-rollback", "yes"]), |server| {
        let fails = "redis.call('SET', KEYS[1], 1) error('x')";
        assert!(server.call(&eval(fails, "1 k")).error().ends_with("(rolled back 1 key)"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        assert_eq!(server.run("CONFIG SET atomic.script-rollback no"), Value::ok());
        server.call(&eval(fails, "1 k"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(1));
    });
}

#[test]
fn every_limit_undoes_the_run() {
    each_server(|server| {
        prepare(server);
        for (setting, value, default, fails, error) in [
            ("script-argument-limit", "2048", "512mb", "redis.call('SET', KEYS[1], ('x'):rep(4096))", "the argument limit"),
            ("script-reply-limit", "2048", "512mb", "return ('x'):rep(4096)", "the reply limit"),
            (
                "script-run-memory-limit",
                "2mb",
                "0",
                "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end",
                "the memory limit",
            ),
            ("script-memory-limit", "8mb", "auto", "local s = 'x' while true do s = s .. s end", "the memory limit"),
            ("script-budget-ms", "20", "0", "while true do end", "the time limit"),
            // Without rollback this limit ends with the first write.
            ("script-timeout-ms", "20", "0", "while true do end", "the time limit"),
        ] {
            assert_eq!(server.run(&format!("CONFIG SET atomic.{setting} {value}")), Value::ok());
            // A short limit may also stop the run before its first write.
            eventually("the run is stopped after its writes", || {
                let before = data(server);
                let reply = server.call(&eval(whole(&format!("{WRITES}{fails}")), "3 a b c"));
                assert!(reply.error().contains(error), "{setting}: {reply}");
                assert_eq!(data(server), before, "{setting}");
                reply
                    .error()
                    .ends_with("(0 writes were applied) (rolled back 3 keys)")
                    .then_some(())
                    .or_else(|| reply.error().ends_with(". (rolled back 3 keys)").then_some(()))
            });
            assert_eq!(server.run(&format!("CONFIG SET atomic.{setting} {default}")), Value::ok());
            assert_eq!(server.call(&eval("return 1", "0")), Value::Integer(1));
        }
    });
}

#[test]
fn a_run_that_has_written_can_be_killed() {
    let setup = Setup::with_module().config("busy-reply-threshold 50");
    each_server_with(&setup, |server| {
        prepare(server);
        let before = data(server);
        let mut runner = server.connect();
        let script = whole(&format!("{WRITES}while true do end"));
        runner.send(&eval(&script, "3 a b c")).unwrap();
        let mut other = server.connect();
        eventually("the script is killed", || (other.run("ATOMIC.SCRIPT KILL") == Value::ok()).then_some(()));
        let reply = runner.read().unwrap();
        let killed = "ERR Script killed by user with SCRIPT KILL.";
        assert!(reply.error().starts_with(killed) && reply.error().ends_with(". (rolled back 3 keys)"), "{reply}");
        assert_eq!(data(server), before);
        // Without rollback it cannot be killed any more.
        let mut runner = server.connect();
        runner.send(&argv("ATOMIC.EVAL \"redis.call('SET', 'a', 1) while redis.call('TIME')[1] do end\" 0")).unwrap();
        eventually("the script runs", || matches!(other.run("PING"), Value::Error(_)).then_some(()));
        assert!(other.run("ATOMIC.SCRIPT KILL").error().starts_with("UNKILLABLE "));
        other.send(&argv("SHUTDOWN NOSAVE")).unwrap();
        eventually("the server is down", || (!server.is_alive()).then_some(()));
    });
}
