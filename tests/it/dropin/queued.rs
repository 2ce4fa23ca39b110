//! The flags of a script or function count when it is queued: the server refuses it then, and EXEC runs nothing.

use std::fs;

use super::{WHO, call, intercepting, ours, sha1, tells_clients};
use crate::support::{RealReplica, Server, Setup, Value, each_installed, each_server_with, eventually};

const WRITES: &str = "#!lua\nreturn redis.call('SET', 'b', '1')";
const UNDECLARED: &str = "return redis.call('SET', 'b', '1')";

/// Asserts that the server refuses these calls with this code when they are queued, and EXEC runs nothing; in drop-in mode and without.
#[track_caller]
fn expect_half_of_nothing(server: &Server, code: &str) {
    let mut client = server.connect();
    for intercept in ["no", "yes"] {
        assert_eq!(client.run(&format!("CONFIG SET atomic.intercept {intercept}")), Value::ok());
        for command in [call("EVAL", WRITES, "0"), call("EVALSHA", &sha1(WRITES), "0"), call("FCALL", "writes", "0")] {
            client.run("MULTI");
            assert_eq!(client.run("DEL a"), Value::Status("QUEUED".to_owned()));
            let name = String::from_utf8_lossy(&command[0]).into_owned();
            let refused = client.call(&command);
            assert!(matches!(&refused, Value::Error(text) if text.starts_with(code)), "{name}, intercept {intercept}: {refused}");
            assert!(client.run("EXEC").error().starts_with("EXECABORT "), "{name}, intercept {intercept}");
            assert_eq!(client.run("EXISTS a"), Value::Integer(1));
        }
        // Both engines refuse a script without flags at its first write.
        client.run("MULTI");
        assert_eq!(client.call(&call("EVAL", UNDECLARED, "0")), Value::Status("QUEUED".to_owned()));
        let replies = client.run("EXEC");
        assert!(replies.array()[0].error().starts_with(code), "intercept {intercept}: {replies}");
    }
}

fn prepare(server: &Server) {
    server.run("SET a 1");
    let code = "#!lua name=lib\nredis.register_function('writes', function() return redis.call('SET', 'b', '1') end)";
    assert_eq!(server.call(&["FUNCTION", "LOAD", "REPLACE", code]), Value::bulk("lib"));
    server.call(&["SCRIPT", "LOAD", WRITES]);
}

#[test]
fn above_maxmemory() {
    each_server_with(&intercepting(), |server| {
        prepare(server);
        assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
        // DEL is not a command that needs memory.
        if tells_clients(&server.binary) {
            expect_half_of_nothing(server, "OOM ");
        }
    });
}

#[test]
fn with_too_few_replicas() {
    each_server_with(&intercepting(), |server| {
        prepare(server);
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 1"), Value::ok());
        let mut client = server.connect();
        client.run("MULTI");
        assert_eq!(client.run("GET a"), Value::Status("QUEUED".to_owned()));
        let refused = client.call(&call("EVAL", WRITES, "0"));
        if tells_clients(&server.binary) {
            assert!(refused.error().starts_with("NOREPLICAS "), "{refused}");
            assert!(client.run("EXEC").error().starts_with("EXECABORT "));
            for command in [call("EVALSHA", &sha1(WRITES), "0"), call("FCALL", "writes", "0")] {
                client.run("MULTI");
                assert!(client.call(&command).error().starts_with("NOREPLICAS "));
                assert!(client.run("EXEC").error().starts_with("EXECABORT "));
            }
        } else {
            // Not known there: on 7.0 a command filter does not see the client.
            assert!(client.run("EXEC").array()[1].error().starts_with("NOREPLICAS "));
        }
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 0"), Value::ok());
        assert_eq!(server.call(&call("EVAL", WRITES, "0")), Value::ok());
    });
}

#[test]
fn with_a_failing_disk() {
    each_server_with(&intercepting().config("save 3600 1000000"), |server| {
        prepare(server);
        // A file cannot be renamed over a directory.
        fs::create_dir(server.dir().join("dump.rdb")).unwrap();
        server.run("BGSAVE");
        eventually("saving failed", || (server.info("rdb_last_bgsave_status") == "err").then_some(()));
        let mut client = server.connect();
        client.run("MULTI");
        let refused = client.call(&call("EVAL", WRITES, "0"));
        if tells_clients(&server.binary) {
            assert!(refused.error().starts_with("MISCONF "), "{refused}");
            assert!(client.run("EXEC").error().starts_with("EXECABORT "));
        } else {
            assert!(client.run("EXEC").array()[0].error().starts_with("MISCONF "));
        }
    });
}

#[test]
fn on_a_read_only_replica() {
    each_installed(|binary| {
        let primary = Server::start(binary, &Setup::with_module());
        prepare(&primary);
        let replica = RealReplica::with(&primary, &intercepting());
        replica.server.call(&["SCRIPT", "LOAD", WRITES]);
        let mut client = replica.server.connect();
        for command in [call("EVAL", WRITES, "0"), call("EVALSHA", &sha1(WRITES), "0"), call("FCALL", "writes", "0")] {
            client.run("MULTI");
            assert_eq!(client.run("GET a"), Value::Status("QUEUED".to_owned()));
            let refused = client.call(&command);
            assert!(matches!(&refused, Value::Error(text) if text.starts_with("READONLY ")), "{refused}");
            assert!(client.run("EXEC").error().starts_with("EXECABORT "));
        }
    });
}

/// The module knows a transaction that began before drop-in mode was switched on, and forgets one that ended.
#[test]
fn the_module_knows_which_clients_are_in_a_transaction() {
    each_server_with(&Setup::with_module(), |server| {
        if !tells_clients(&server.binary) {
            return;
        }
        prepare(server);
        let who = &format!("#!lua\n{WHO}");
        let mut early = server.connect();
        early.run("MULTI");
        assert_eq!(server.run("CONFIG SET atomic.intercept yes"), Value::ok());
        assert_eq!(server.run("CONFIG SET min-replicas-to-write 1"), Value::ok());
        assert!(early.call(&call("EVAL", who, "0")).error().starts_with("NOREPLICAS "));
        for end in ["EXEC", "DISCARD"] {
            early.run(end);
            assert_eq!(early.call(&call("EVAL", who, "0")), ours(), "after {end}");
            early.run("MULTI");
        }
        // More transactions than the module tracks.
        let mut many: Vec<_> = (0..1030).map(|_| server.connect()).collect();
        for client in &mut many {
            client.run("MULTI");
        }
        for at in [0, 1029] {
            let client = &mut many[at];
            assert!(client.call(&call("EVAL", who, "0")).error().starts_with("NOREPLICAS "));
        }
        assert_eq!(server.call(&call("EVAL", who, "0")), ours());
    });
}
