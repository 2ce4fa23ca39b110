//! The module as the server sees it: load, unload, load again, refuse bad arguments, survive a panic.

use std::fs;

use redis_atomic::module::tested;

use crate::support::docs::command_names;
use crate::support::installed::root;
use crate::support::server::is_crash;
use crate::support::{
    Server, Setup, Value, each_installed, each_server, each_server_that_unloads, each_server_with, module_path,
};

fn is_loaded(server: &Server) -> bool {
    let modules = server.run("MODULE LIST");
    modules.array().iter().any(|module| module.field("name") == Some(Value::bulk("atomic")))
}

fn load(server: &Server, arguments: &[&str]) -> Value {
    let path = module_path();
    let command = ["MODULE", "LOAD", path.to_str().unwrap()];
    server.call(&[&command[..], arguments].concat())
}

#[test]
fn the_module_is_listed_under_its_name() {
    each_server(|server| {
        assert!(is_loaded(server));
        assert!(command_names(server).contains(&"atomic.cas".to_owned()));
    });
}

/// On an untested server the module logs one warning.
#[test]
fn only_an_untested_server_gets_a_warning() {
    each_server(|server| {
        let tested = tested::SERVERS.iter().any(|name| server.binary.is_of(name));
        let log = server.log();
        assert_eq!(log.matches("not tested on ").count(), usize::from(!tested), "{log}");
    });
}

/// The module's list of tested servers must match the list that the tests require.
#[test]
fn the_tested_servers_are_those_that_the_tests_require() {
    let source = |path| fs::read_to_string(root().join(path)).unwrap();
    let (ci, script) = (source(".ci/run"), source("scripts/servers.sh"));
    let required = ci.lines().find_map(|line| line.strip_prefix("export ATOMIC_REQUIRE=\"")?.strip_suffix('"')).unwrap();
    assert_eq!(required.split(' ').collect::<Vec<_>>(), tested::SERVERS);
    // The system's own server comes first.
    let table = script.split_once("table='\n").and_then(|(_, rest)| rest.split_once("\n'")).unwrap().0;
    let installed: Vec<&str> = table.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(installed, tested::SERVERS[1..]);
}

#[test]
fn the_module_unloads_and_loads_again_three_times() {
    each_server_that_unloads(|server| {
        server.run("SET k a");
        for round in 0..3 {
            assert_eq!(server.run("ATOMIC.CAS k a a"), Value::Integer(1), "round {round}");
            server.run("ATOMIC.LOCK lock me 60000");
            assert_eq!(server.run("ATOMIC.EVAL 'return 1' 0"), Value::Integer(1), "round {round}");
            assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok(), "round {round}");
            assert!(!is_loaded(server));
            assert!(server.run("ATOMIC.CAS k a a").error().starts_with("ERR unknown command"));
            assert_eq!(load(server, &[]), Value::ok(), "round {round}: {}", server.log());
        }
        assert_eq!(server.run("ATOMIC.UNLOCK lock me ALL"), Value::Integer(0), "the lock did not survive the unload");
    });
}

#[test]
fn a_server_that_would_crash_keeps_the_module_and_logs_why() {
    each_server(|server| {
        if !server.unloads() {
            assert!(matches!(server.run("MODULE UNLOAD atomic"), Value::Error(_)));
            assert!(server.log().contains("not unloaded: Valkey before 8.1.5 crashes when it unloads"));
            assert!(is_loaded(server));
            assert_eq!(server.run("ATOMIC.EVAL 'return 1' 0"), Value::Integer(1));
        }
    });
}

#[test]
fn a_second_load_is_refused_without_effect() {
    each_server(|server| {
        server.run("SET k a");
        assert!(matches!(load(server, &[]), Value::Error(_)));
        assert_eq!(server.run("ATOMIC.CAS k a b"), Value::Integer(1));
    });
}

#[test]
fn a_bad_argument_fails_the_load_and_the_server_keeps_running() {
    each_server_with(&Setup::without_module(), |server| {
        let bad = [&["no-such-setting", "1"][..], &["\u{4e00}"], &["no-such-setting"], &[""], &["\r\n", "\0"]];
        for arguments in bad {
            assert!(matches!(load(server, arguments), Value::Error(_)), "{arguments:?} was accepted");
            assert!(!is_loaded(server));
            assert!(
                server.run("ATOMIC.CAS k a b").error().starts_with("ERR unknown command"),
                "{arguments:?} left a command behind"
            );
        }
        assert_eq!(load(server, &[]), Value::ok(), "{}", server.log());
        assert_eq!(server.run("ATOMIC.CAS k a b"), Value::Integer(-1));
    });
}

#[test]
fn a_bad_argument_in_the_configuration_stops_the_start_and_logs_why() {
    each_installed(|binary| {
        let log = Server::try_start(binary, &Setup::with_module().module_args(&["no-such-setting", "1"])).err();
        let log = log.expect("the server started");
        assert!(log.contains("no-such-setting"), "the log does not name the argument:\n{log}");
        assert!(!is_crash(&log), "{log}");
    });
}

#[test]
fn a_panic_in_a_handler_is_an_error_reply_and_the_connection_stays_open() {
    each_server(|server| {
        let mut connection = server.connect();
        for message in ["boom", "'\u{4e00} \u{e9}'", r#""\x00\r\n""#, "''"] {
            let reply = connection.run(&format!("ATOMIC.DEBUG PANIC {message}"));
            let text = reply.error();
            assert!(text.starts_with("ERR internal error"), "{text}");
            assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{text:?}");
        }
        assert_eq!(connection.run("PING"), Value::Status("PONG".to_owned()));
        assert_eq!(connection.run("ATOMIC.CAS k a b"), Value::Integer(-1));
        connection.run("MULTI");
        connection.run("SET k v");
        connection.run("ATOMIC.DEBUG PANIC boom");
        let replies = connection.run("EXEC");
        assert!(replies.array()[1].error().starts_with("ERR internal error"), "{replies}");
        assert_eq!(connection.run("GET k"), Value::bulk("v"));
    });
}
