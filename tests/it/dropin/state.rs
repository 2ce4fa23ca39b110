//! Drop-in mode in each state of the server: transactions, replicas, memory, files, clusters.

use super::{WHO, call, intercepting, natives, ours, tells_clients};
use crate::slots::has_tables;
use crate::support::cluster::{Cluster, slot};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_installed, each_server_with};

const SET: &str = "return redis.call('SET', KEYS[1], ARGV[1])";

#[test]
fn in_a_transaction_scripts_see_earlier_writes() {
    each_server_with(&intercepting(), |server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.run("SET k 1");
        connection.call(&call("EVAL", "return redis.call('INCR', KEYS[1])", "1 k"));
        connection.call(&call("EVAL", "error('no')", "0"));
        connection.run("GET k");
        let replies = connection.run("EXEC");
        assert_eq!(replies.array()[1], Value::Integer(2));
        assert!(matches!(replies.array()[2], Value::Error(_)));
        assert_eq!(replies.array()[3], Value::bulk("2"));
        replica.expect_stream(&["MULTI", "SET k 1", "INCR k", "EXEC"]);
    });
}

#[test]
fn the_writes_of_a_script_touch_watched_keys() {
    each_server_with(&intercepting(), |server| {
        let mut watcher = server.connect();
        for (script, expected) in
            [(SET, Value::Null), ("return redis.call('GET', KEYS[1])", Value::Array(vec![Value::bulk("v")]))]
        {
            watcher.run("WATCH k");
            server.call(&call("EVAL", script, "1 k v"));
            watcher.run("MULTI");
            watcher.run("GET k");
            assert_eq!(watcher.run("EXEC"), expected, "{script}");
        }
    });
}

#[test]
fn replicas_get_effects_with_drop_in_mode_on_or_off() {
    each_installed(|binary| {
        let primary = Server::start(binary, &intercepting());
        let digest = primary.call(&["SCRIPT", "LOAD", SET]).text();
        for setup in [intercepting(), Setup::with_module(), Setup::without_module()] {
            let replica = RealReplica::with(&primary, &setup);
            assert_eq!(primary.call(&call("EVAL", SET, "1 a 1")), Value::ok());
            assert_eq!(primary.call(&call("EVALSHA", &digest, "1 b 2")), Value::ok());
            primary.run("MULTI");
            primary.call(&call("EVALSHA", &digest, "1 c 3"));
            primary.run("EXEC");
            let library = "#!lua name=mine\nredis.register_function('f', function() return 1 end)";
            assert_eq!(primary.call(&["FUNCTION", "LOAD", "REPLACE", library]), Value::bulk("mine"));
            replica.expect_same_data();
            assert!(replica.server.run("FUNCTION LIST").to_string().contains("mine"));
        }
    });
}

#[test]
fn a_read_only_replica_replies_as_the_server_does() {
    each_server_with(&intercepting(), |primary| {
        let replica = RealReplica::with(primary, &intercepting());
        primary.run("SET k v");
        replica.expect_same_data();
        let server = &replica.server;
        assert_eq!(server.call(&call("EVAL", WHO, "0")), ours());
        assert_eq!(server.call(&call("EVAL", "return redis.call('GET', KEYS[1])", "1 k")), Value::bulk("v"));
        assert!(server.call(&call("EVAL", SET, "1 k w")).error().starts_with("READONLY "));
        let digest = server.call(&["SCRIPT", "LOAD", WHO]).text();
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), ours());
        assert_eq!(server.run("CONFIG SET atomic.intercept no"), Value::ok());
        assert_eq!(server.call(&call("EVALSHA", &digest, "0")), natives());
    });
}

#[test]
fn above_maxmemory_replies_are_those_of_the_server() {
    each_server_with(&intercepting(), |server| {
        server.run("SET k v");
        let scripts = [
            SET,
            "return redis.call('GET', KEYS[1])",
            "redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'v')",
            "#!lua\nreturn 1",
            "#!lua flags=allow-oom\nreturn redis.call('SET', KEYS[1], 'v')",
            "#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])",
        ];
        let answers = |intercept: &str| {
            assert_eq!(server.run(&format!("CONFIG SET atomic.intercept {intercept}")), Value::ok());
            assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
            let answers = scripts.map(|script| match server.call(&call("EVAL", script, "1 k v")) {
                Value::Error(text) => text.split(" script: ").next().unwrap().to_owned(),
                reply => reply.to_string(),
            });
            assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
            answers
        };
        let (theirs, ours) = (answers("no"), answers("yes"));
        assert_eq!(theirs, ours);
        assert!(ours[0].starts_with("OOM "), "{ours:?}");
    });
}

#[test]
fn an_aof_of_effects_loads_in_drop_in_mode() {
    each_server_with(&intercepting().appendonly("always"), |server| {
        server.call(&call("EVAL", SET, "1 a 1"));
        server.call(&["SCRIPT", "LOAD", WHO]);
        server.run("MULTI");
        server.call(&call("EVAL", "redis.call('SET', KEYS[1], 2) return redis.call('INCR', KEYS[1])", "1 b"));
        server.run("EXEC");
        server.kill_9();
        server.start_again();
        assert_eq!(server.run("MGET a b"), Value::Array(vec![Value::bulk("1"), Value::bulk("3")]));
        assert_eq!(server.call(&call("EVALSHA", &super::sha1(WHO), "0")), ours());
    });
}

/// A file of an old server with scripts in it: commands of a file do not pass the filter.
#[test]
fn an_aof_with_scripts_loads_in_the_servers_engine() {
    each_server_with(&intercepting().appendonly("always"), |server| {
        server.run("SET before 1");
        server.kill_9();
        let script = "redis.call('SET', 'who', type(string.dump))";
        let text = format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{script}\r\n$1\r\n0\r\n", script.len());
        let folder = server.dir().join("appendonlydir");
        let file = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let file = file.filter(|path| path.to_string_lossy().ends_with(".incr.aof")).max().unwrap();
        use std::io::Write as _;
        std::fs::OpenOptions::new().append(true).open(file).unwrap().write_all(text.as_bytes()).unwrap();
        server.start_again();
        assert_eq!(server.run("GET who"), natives());
        assert_eq!(server.call(&call("EVAL", WHO, "0")), ours());
    });
}

#[test]
fn in_a_cluster_calls_are_redirected_by_their_keys() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 3);
        for node in &cluster.nodes {
            assert_eq!(node.run("CONFIG SET atomic.intercept yes"), Value::ok());
        }
        let at = usize::try_from(slot(&cluster.nodes[0], "{a}")).unwrap() * 3 / 16_384;
        let (home, away) = (&cluster.nodes[at], &cluster.nodes[(at + 1) % 3]);
        assert_eq!(home.call(&call("EVAL", SET, "1 {a}k v")), Value::ok());
        // Without a `#!lua` line a script may use any slot; where each slot has a table only the server's engine can do that.
        let any_slot = if has_tables(binary) { natives() } else { ours() };
        assert_eq!(home.call(&call("EVAL", WHO, "1 {a}k")), any_slot);
        assert_eq!(home.call(&call("EVAL", &format!("#!lua\n{WHO}"), "1 {a}k")), ours());
        assert!(away.call(&call("EVAL", WHO, "1 {a}k")).error().starts_with("MOVED "));
        assert!(home.call(&call("EVAL", WHO, "2 {a}k {b}k")).error().starts_with("CROSSSLOT "));
        assert_eq!(away.call(&call("EVAL", WHO, "0")), ours());
        // Without a key it runs on the node that received it, as natively.
        assert!(tells_clients(binary) || home.call(&call("EVAL_RO", WHO, "1 {a}k")) == ours());
    });
}
