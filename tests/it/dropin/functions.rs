//! FUNCTION and FCALL in drop-in mode: functions run in this engine if they can, otherwise in the server's engine.

use super::{WHO, call, intercepting, library, natives, ours, tells_clients, user};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with, eventually};

#[track_caller]
fn load(server: &Server, code: &str) {
    let reply = server.call(&["FUNCTION", "LOAD", "REPLACE", code]);
    assert!(matches!(reply, Value::Bulk(_)), "{reply}");
}

#[test]
fn functions_run_here_including_those_loaded_before() {
    each_server(|server| {
        load(server, &library("before", "f", WHO));
        assert_eq!(server.run("FCALL f 0"), natives());
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        assert_eq!(server.run("FCALL f 0"), ours());
        load(server, &library("after", "g", WHO));
        load(
            server,
            "#!lua name=ro\nredis.register_function{function_name = 'h', callback = function() return type(string.dump) end, flags = {'no-writes'}}",
        );
        for command in ["FCALL g 0", "FCALL h 0", "FCALL_RO h 0", "fcall G 0"] {
            assert_eq!(server.run(command), ours(), "{command}");
        }
        assert!(matches!(server.run("FCALL_RO g 0"), Value::Error(_)));
        assert_eq!(server.run("FUNCTION DELETE after"), Value::ok());
        assert_eq!(server.run("FCALL g 0").error(), "ERR Function not found");
        let dump = server.run("FUNCTION DUMP").bytes().to_vec();
        assert_eq!(server.run("FUNCTION FLUSH"), Value::ok());
        assert_eq!(server.run("FCALL f 0").error(), "ERR Function not found");
        assert_eq!(server.call(&[b"FUNCTION".as_slice(), b"RESTORE", &dump]), Value::ok());
        assert_eq!(server.run("FCALL f 0"), ours());
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(server.run("FCALL f 0"), natives());
    });
}

#[test]
fn a_library_that_cannot_run_here_runs_in_the_servers_engine() {
    each_server_with(&intercepting(), |server| {
        load(server, &format!("{} --{}", library("long", "f", WHO), "x".repeat(1 << 20)));
        assert_eq!(server.run("FCALL f 0"), natives());
        assert!(matches!(server.run("FCALL_RO f 0"), Value::Error(_)));
    });
}

#[test]
fn refusals_have_the_servers_errors() {
    const REFUSED: &[&str] = &[
        "no shebang",
        "#!lua\nreturn 1",
        "#!nosuch name=x\nreturn 1",
        "#!lua name=x\nnonsense(",
        "#!lua name=x\nerror('raised')",
        "#!lua name=x\nreturn 1",
        "#!lua name=x\nredis.register_function('f')",
        "#!lua name=x\nredis.register_function('bad name', function() end)",
        "#!lua name=mine\nredis.register_function('other', function() end)",
        "#!lua name=x\nredis.register_function('f', function() end)",
    ];
    each_server(|server| {
        load(server, &library("mine", "f", WHO));
        let answers = || {
            let calls = REFUSED.iter().map(|code| server.call(&["FUNCTION", "LOAD", code]));
            let others = [
                "FUNCTION DELETE none",
                "FUNCTION RESTORE x",
                "FUNCTION",
                "FUNCTION LOAD",
                "FUNCTION FLUSH maybe",
                "FUNCTION nosuch",
                "FUNCTION HELP",
                "FUNCTION LIST",
                "FUNCTION STATS",
                "FUNCTION KILL",
                "FCALL none 0",
                "FCALL f x",
                "FCALL f -1",
                "FCALL f 2 a",
                "FCALL",
            ];
            calls.chain(others.iter().map(|command| server.run(command))).collect::<Vec<_>>()
        };
        let theirs = answers();
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        for (at, (theirs, ours)) in theirs.iter().zip(answers()).enumerate() {
            assert_eq!(*theirs, ours, "answer {at}");
        }
    });
}

#[test]
fn changes_replicate_as_the_servers_commands() {
    each_server_with(&intercepting(), |server| {
        let mut replica = FakeReplica::attach(server);
        let code =
            "#!lua name=lib\nredis.register_function('set', function(keys, args) return redis.call('SET', keys[1], args[1]) end)";
        load(server, code);
        assert_eq!(server.run("FCALL set 1 k v"), Value::ok());
        assert_eq!(server.run("FUNCTION DELETE lib"), Value::ok());
        let stream = replica.stream();
        assert!(stream[0].starts_with("FUNCTION LOAD REPLACE "), "{stream:?}");
        assert_eq!(stream[1..], ["SET k v", "FUNCTION DELETE lib"]);
    });
}

#[test]
fn each_command_has_its_own_right() {
    each_server_with(&intercepting(), |server| {
        load(server, &library("lib", "f", WHO));
        assert_eq!(user(server, "both", "+fcall +atomic.fcall ~*").call(&call("FCALL", "f", "0")), ours());
        let refused = user(server, "theirs", "+atomic.fcall +atomic.function ~*").call(&call("FCALL", "f", "0"));
        assert!(refused.error().contains("'fcall' command"), "{refused}");
        let refused = user(server, "loads", "+atomic.function").call(&["FUNCTION", "LOAD", "x"]);
        assert!(refused.error().starts_with("NOPERM ") && refused.error().contains("'function|load' command"), "{refused}");
        if tells_clients(&server.binary) {
            assert_eq!(user(server, "native", "+fcall ~*").call(&call("FCALL", "f", "0")), natives());
        }
    });
}

#[test]
fn a_long_function_is_shown_and_killed() {
    each_server_with(&intercepting().config("busy-reply-threshold 50"), |server| {
        load(server, &library("lib", "endless", "while true do end"));
        let mut runner = server.connect();
        runner.send(&call("FCALL", "endless", "0")).unwrap();
        let mut other = server.connect();
        let told = eventually("others are refused", || match other.run("PING") {
            Value::Error(text) => Some(text),
            _ => None,
        });
        assert!(told.ends_with("You can only call FUNCTION KILL or SHUTDOWN NOSAVE."), "{told}");
        assert!(other.run("SCRIPT KILL").error().starts_with("BUSY "));
        let stats = other.run("FUNCTION STATS").to_string();
        assert!(stats.contains("endless") && stats.contains("FCALL"), "{stats}");
        assert_eq!(other.run("FUNCTION KILL"), Value::ok());
        assert!(runner.read().unwrap().error().contains("Script killed by user with FUNCTION KILL"));
        assert!(other.run("FUNCTION KILL").error().starts_with("NOTBUSY "));
    });
}

#[test]
fn a_function_that_declares_no_writes_runs_while_writes_are_paused() {
    each_server_with(&intercepting(), |server| {
        load(
            server,
            "#!lua name=ro\nredis.register_function{function_name = 'f', callback = function() return type(string.dump) end, flags = {'no-writes'}}",
        );
        assert_eq!(server.run("FCALL f 0"), ours());
        if tells_clients(&server.binary) {
            assert_eq!(server.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
            assert_eq!(server.run("FCALL f 0"), ours());
            assert_eq!(server.run("FCALL_RO f 0"), ours());
            assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        }
    });
}

#[test]
fn replicas_follow_the_functions_of_their_primary() {
    each_server_with(&intercepting(), |primary| {
        for setup in [intercepting(), Setup::with_module(), Setup::without_module()] {
            let replica = crate::support::RealReplica::with(primary, &setup);
            for round in ["one", "two"] {
                load(primary, "#!lua name=lib\nredis.register_function{function_name = 'f', callback = function() return 'ROUND' end, flags = {'no-writes'}}".replace("ROUND", round).as_str());
                replica.await_sync();
                for server in [primary, &replica.server] {
                    assert_eq!(server.run("FCALL f 0"), Value::bulk(round));
                }
            }
        }
    });
}
