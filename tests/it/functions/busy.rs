//! A long-running function: other clients get BUSY, FUNCTION STATS shows it, FUNCTION KILL ends it, SCRIPT KILL does not.

use std::time::Duration;

use super::{function, load};
use crate::support::{Connection, Server, Setup, Value, argv, each_server_with, eventually};

const BUSY: &str = "BUSY Redis is busy running a script. You can only call ATOMIC.FUNCTION KILL or SHUTDOWN NOSAVE.";
const NOTBUSY: &str = "NOTBUSY No scripts in execution right now.";

fn start(server: &Server, call: &str) -> Connection {
    let mut runner = server.connect();
    runner.send(&argv(call)).unwrap();
    let mut other = server.connect();
    eventually("others are refused", || {
        matches!(other.run("PING"), Value::Error(text) if text.starts_with("BUSY ")).then_some(())
    });
    runner
}

fn quick() -> Setup {
    Setup::with_module().config("busy-reply-threshold 50")
}

#[test]
fn a_long_function_is_shown_and_killed() {
    each_server_with(&quick(), |server| {
        load(server, "lib", &[function("endless", "while true do end"), function("good", "return 1")].join("\n"));
        assert_eq!(server.run("ATOMIC.FUNCTION STATS").field("running_script"), Some(Value::Null));
        let mut runner = start(server, "ATOMIC.FCALL endless 1 key arg");
        let mut other = server.connect();
        assert_eq!(crate::script::in_words_of_redis(other.run("GET k").error()), BUSY);
        assert_eq!(crate::script::in_words_of_redis(other.run("ATOMIC.SCRIPT KILL").error()), BUSY);
        let mut three = server.connect();
        for (stats, protocol) in [(other.run("ATOMIC.FUNCTION STATS"), "RESP2"), {
            three = three.resp3();
            (three.run("ATOMIC.FUNCTION STATS"), "RESP3")
        }] {
            let running = stats.field("running_script").unwrap();
            assert_eq!(running.field("name"), Some(Value::bulk("endless")), "{protocol}");
            let command = ["FCALL", "endless", "1", "key", "arg"].map(Value::bulk).to_vec();
            assert_eq!(running.field("command"), Some(Value::Array(command)), "{protocol}");
            assert!(running.field("duration_ms").unwrap().integer() < 60_000, "{protocol}");
            let engine = stats.field("engines").unwrap().field("LUA").unwrap();
            let counts = ["libraries_count", "functions_count"].map(|name| engine.field(name).unwrap().integer());
            assert_eq!(counts, [1, 2], "{protocol}");
        }
        let said = |line: &str| line.contains("slow script") && line.contains("The function is endless");
        eventually("the log says so", || server.log().lines().any(said).then_some(()));
        assert_eq!(other.run("ATOMIC.FUNCTION KILL"), Value::ok());
        let reply = runner.read().unwrap();
        assert_eq!(reply.error(), "ERR Script killed by user with FUNCTION KILL. script: endless, on @user_function:2.");
        assert_eq!(other.run("ATOMIC.FUNCTION KILL").error(), NOTBUSY);
        assert_eq!(other.run("ATOMIC.FUNCTION STATS").field("running_script"), Some(Value::Null));
        assert_eq!(runner.run("ATOMIC.FCALL good 0"), Value::Integer(1));
    });
}

#[test]
fn a_script_is_not_ended_by_function_kill() {
    each_server_with(&quick(), |server| {
        let mut runner = start(server, "ATOMIC.EVAL 'while true do end' 0");
        let mut other = server.connect();
        let busy = "BUSY Redis is busy running a script. You can only call ATOMIC.SCRIPT KILL or SHUTDOWN NOSAVE.";
        for line in ["ATOMIC.FUNCTION KILL", "ATOMIC.FUNCTION STATS"] {
            assert_eq!(crate::script::in_words_of_redis(other.run(line).error()), busy, "{line}");
        }
        assert_eq!(other.run("ATOMIC.SCRIPT KILL"), Value::ok());
        assert!(runner.read().unwrap().error().contains("killed by user with SCRIPT KILL"));
    });
}

#[test]
fn a_function_that_has_written_is_not_killed() {
    let setup = quick().module_args(&["script-budget-ms", "1500"]);
    each_server_with(&setup, |server| {
        load(server, "lib", &function("writes", "redis.call('SET', keys[1], 1) while true do end"));
        let mut killer = server.connect();
        // Repeat until the kill comes before the limit, and the write before the kill.
        let error = eventually("it is not killed", || {
            let mut runner = server.connect();
            runner.send(&argv("ATOMIC.FCALL writes 1 k")).unwrap();
            let mut refused = false;
            while !runner.has_input(Duration::from_millis(1)) {
                refused |= matches!(killer.run("ATOMIC.FUNCTION KILL"), Value::Error(text) if text.starts_with("UNKILLABLE "));
            }
            let error = runner.read().unwrap();
            refused.then_some(error)
        });
        assert!(error.error().contains("(1 writes were applied)"), "{error:?}");
        assert_eq!(server.run("GET k"), Value::bulk("1"));
    });
}
