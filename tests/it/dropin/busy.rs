//! Long-running scripts and paused clients.

use super::{WHO, call, intercepting, natives, ours, tells_clients, user};
use crate::support::{Connection, Server, Setup, Value, each_server_with, eventually};

const ENDLESS: &str = "while true do end";
const KILLABLE: &str = "is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";

fn quick() -> Setup {
    intercepting().config("busy-reply-threshold 50")
}

/// Sends the call, and returns when the server refuses other clients, with their error.
#[track_caller]
fn start(server: &Server, mut connection: Connection, call: &[Vec<u8>]) -> (Connection, String) {
    connection.send(call).unwrap();
    let mut other = server.connect();
    let told = eventually("others are refused", || match other.run("PING") {
        Value::Error(text) => Some(text),
        _ => None,
    });
    (connection, told)
}

#[test]
fn other_clients_get_busy_and_script_kill_ends_the_script() {
    each_server_with(&quick(), |server| {
        assert_eq!(server.run("SCRIPT KILL").error(), "NOTBUSY No scripts in execution right now.");
        for command in ["EVAL", "EVAL_RO", "ATOMIC.EVAL"] {
            let (mut runner, told) = start(server, server.connect(), &call(command, ENDLESS, "0"));
            assert!(told.starts_with("BUSY ") && told.ends_with(KILLABLE), "{told}");
            assert_eq!(server.connect().call(&call("EVAL", WHO, "0")).error(), told);
            assert_eq!(server.run("SCRIPT KILL"), Value::ok(), "{command}");
            assert!(runner.read().unwrap().error().starts_with("ERR Script killed by user with SCRIPT KILL."), "{command}");
            assert_eq!(runner.call(&call("EVAL", WHO, "0")), ours());
        }
        assert_eq!(server.run("SCRIPT KILL").error(), "NOTBUSY No scripts in execution right now.");
    });
}

#[test]
fn a_script_that_has_written_is_not_killed() {
    each_server_with(&quick(), |server| {
        let (_runner, _) = start(server, server.connect(), &call("EVAL", "redis.call('SET', 'k', 1) while true do end", "0"));
        assert!(server.run("SCRIPT KILL").error().starts_with("UNKILLABLE "));
        server.shut_down("NOSAVE");
    });
}

/// For users that the server's engine serves, and for scripts that only the server knows.
#[test]
fn script_kill_ends_the_servers_own_scripts_too() {
    each_server_with(&Setup::with_module().config("busy-reply-threshold 50"), |server| {
        let digest = server.call(&["SCRIPT", "LOAD", ENDLESS]).text();
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        let mut runners = vec![(server.connect(), call("EVALSHA", &digest, "0"))];
        if tells_clients(&server.binary) {
            runners.push((user(server, "guest", "+eval ~*"), call("EVAL", ENDLESS, "0")));
        }
        for (connection, script) in runners {
            let (mut runner, told) = start(server, connection, &script);
            assert!(told.ends_with(KILLABLE), "{told}");
            assert_eq!(server.run("SCRIPT KILL"), Value::ok());
            let reply = runner.read().unwrap();
            assert!(reply.error().contains("Script killed by user with SCRIPT KILL"), "{reply}");
            assert_eq!(server.call(&call("EVAL", WHO, "0")), ours());
        }
    });
}

#[test]
fn while_writes_are_paused_no_writes_scripts_run_and_others_are_held_back() {
    each_server_with(&intercepting(), |server| {
        let declared = format!("#!lua flags=no-writes\n{WHO}");
        let digest = server.call(&["SCRIPT", "LOAD", &declared]).text();
        let (mut held, mut held_too) = (server.connect(), server.connect());
        let mut narrow = user(server, "narrow", "+eval +atomic.eval ~*");
        assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
        assert_eq!(server.call(&call("EVAL_RO", WHO, "0")), ours());
        if tells_clients(&server.binary) {
            assert_eq!(server.call(&call("EVAL", &declared, "0")), ours());
            assert_eq!(server.call(&call("EVALSHA", &digest, "0")), ours());
        }
        held.send(&call("EVAL", WHO, "0")).unwrap();
        held_too.send(&call("EVAL", "#!lua\nreturn 1", "0")).unwrap();
        narrow.send(&call("EVAL", &declared, "0")).unwrap();
        eventually("three are held", || (server.info("blocked_clients") == "3").then_some(()));
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(held.read().unwrap(), ours());
        assert_eq!(held_too.read().unwrap(), Value::Integer(1));
        assert_eq!(narrow.read().unwrap(), ours(), "without the right to the read-only form it waits");
    });
}

#[test]
fn script_kill_without_our_right_gets_notbusy() {
    each_server_with(&quick(), |server| {
        if !tells_clients(&server.binary) {
            return;
        }
        let mut guest = user(server, "guest", "+script +eval ~*");
        assert_eq!(guest.call(&call("EVAL", WHO, "0")), natives());
        let (mut runner, _) = start(server, server.connect(), &call("EVAL", ENDLESS, "0"));
        assert!(guest.run("SCRIPT KILL").error().starts_with("NOTBUSY "));
        assert_eq!(server.run("SCRIPT KILL"), Value::ok());
        assert!(runner.read().unwrap().error().contains("killed by user"));
    });
}
