//! Scripts replicate the commands that they executed, as the server itself does, and never the script.

use std::fs;

use super::{Stream, eval, expect_streams};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_server, each_server_with};

/// Setup commands, the script and its arguments, its stream.
const STREAMS: &[Stream] = &[
    ("", "return redis.call('SET', KEYS[1], ARGV[1])", "1 k v", &["SET k v"]),
    ("", "redis.call('SET', KEYS[1], 1) return redis.call('INCR', KEYS[1])", "1 k", &["MULTI", "SET k 1", "INCR k", "EXEC"]),
    ("SET k v", "return redis.call('GET', KEYS[1])", "1 k", &[]),
    ("", "return 1", "0", &[]),
    ("SET k v", "return redis.call('SET', KEYS[1], 'w', 'NX')", "1 k", &[]),
    ("", "return redis.call('DEL', KEYS[1])", "1 none", &[]),
    ("SET k v", "redis.call('GET', KEYS[1]) redis.call('DEL', KEYS[1]) redis.call('GET', KEYS[1])", "1 k", &["DEL k"]),
    ("", "redis.call('SET', KEYS[1], 'v') error('after it')", "1 k", &["SET k v"]),
    (
        "",
        "redis.call('SET', KEYS[1], 'v') redis.call('SET', KEYS[2], 'v') redis.call('INCR', KEYS[1])",
        "2 k l",
        &["MULTI", "SET k v", "SET l v", "EXEC"],
    ),
    ("SET k v", "redis.pcall('INCR', KEYS[1]) redis.call('SET', KEYS[2], 5)", "2 k l", &["SET l 5"]),
    ("", "local f = coroutine.wrap(function() redis.call('SET', KEYS[1], 'v') end) f()", "1 k", &["SET k v"]),
    ("SET k v", "return redis.call('EXPIRE', KEYS[1], 100)", "1 k", &["PEXPIREAT k <deadline>"]),
    ("", "return redis.call('SET', KEYS[1], 'v', 'EX', 100)", "1 k", &["SET k v PXAT <deadline>"]),
    ("SADD s only", "return redis.call('SPOP', KEYS[1])", "1 s", &["SREM s only"]),
    ("SET n 1", "return redis.call('INCRBYFLOAT', KEYS[1], 0.5)", "1 n", &["SET n 1.5 KEEPTTL"]),
    ("SET k v", "return redis.call('GETDEL', KEYS[1])", "1 k", &["DEL k"]),
    ("SET k a", "return redis.call('ATOMIC.CAS', KEYS[1], 'a', 'b')", "1 k", &["SET k b"]),
    ("SET k a", "return redis.call('ATOMIC.CAS', KEYS[1], 'other', 'b')", "1 k", &[]),
    ("", "return redis.call('PUBLISH', 'c', 'm')", "0", &["PUBLISH c m"]),
    ("", "return redis.call('SET', 'undeclared', 1.5)", "0", &["SET undeclared 1.5"]),
    ("", "return redis.call('SET', KEYS[1], 'a\\0\\r\\n\\255')", "1 k", &[r#"SET k "a\x00\r\n\xff""#]),
];

#[test]
fn scripts_replicate_exactly_their_writes() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        expect_streams(server, &mut replica, STREAMS);
    });
}

#[test]
fn a_script_in_a_transaction_is_part_of_it() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.run("SET a 1");
        connection.call(&eval("redis.call('SET', KEYS[1], 2) redis.call('SET', KEYS[2], 3) return 5", "2 b c"));
        connection.run("SET d 4");
        let replies = connection.run("EXEC");
        assert_eq!(replies, Value::Array(vec![Value::ok(), Value::Integer(5), Value::ok()]));
        replica.expect_stream(&["MULTI", "SET a 1", "SET b 2", "SET c 3", "SET d 4", "EXEC"]);
    });
}

#[test]
fn a_cached_script_replicates_its_writes_and_no_digest() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let digest = server.run(r#"ATOMIC.SCRIPT LOAD "return redis.call('SET', KEYS[1], ARGV[1])""#).text();
        replica.expect_stream(&["FUNCTION LOAD REPLACE <library>"]);
        assert_eq!(server.run(&format!("ATOMIC.EVALSHA {digest} 1 k v")), Value::ok());
        replica.expect_stream(&["SET k v"]);
        server.run("ATOMIC.SCRIPT FLUSH");
        replica.expect_stream(&[&format!("FUNCTION DELETE atomic_{digest}")]);
        server.run(&format!("ATOMIC.EVALSHA {digest} 1 k w"));
        replica.expect_stream(&[]);
    });
}

/// Scripts of all kinds. Their writes are the same on every server.
fn run_many(server: &Server) {
    for round in 0..20 {
        let rest = format!("3 k{round} l h {round}");
        for script in [
            "redis.call('SET', KEYS[1], ARGV[1], 'EX', 1000) redis.call('APPEND', KEYS[1], 'x') return 1",
            "for i = 1, 5 do redis.call('RPUSH', KEYS[2], i * tonumber(ARGV[1])) end",
            "redis.call('HINCRBYFLOAT', KEYS[3], 'f', 0.1) redis.call('HSET', KEYS[3], ARGV[1], 'a\\0b') error('late')",
            "redis.call('SADD', 's', math.random(1e9), math.random(1e9)) redis.call('SPOP', 's')",
            "redis.call('ATOMIC.RATELIMIT', 'rate', 10, 100) redis.call('ATOMIC.CAS', KEYS[1], 'x', 'y')",
            "redis.call('ZADD', 'z', ARGV[1], math.random()) redis.pcall('INCR', KEYS[2])",
        ] {
            server.call(&eval(script, &rest));
        }
    }
    assert!(server.run("DBSIZE").integer() > 20, "the scripts wrote");
}

#[test]
fn a_selected_database_is_the_scripts_own() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        let mut connection = server.connect();
        for script in [
            "redis.call('SELECT', 1) redis.call('SET', KEYS[1], 'one') redis.call('SELECT', 0) redis.call('SET', KEYS[1], 'zero')",
            "redis.call('SELECT', '2') redis.call('SET', KEYS[1], 'two') error('after it')",
            "redis.pcall('SELECT', 99) redis.pcall('SELECT', 'x') redis.pcall('SELECT', -1) redis.call('SET', 'only zero', 1)",
            "local f = coroutine.wrap(function() redis.call('SELECT', 3) end) f() redis.call('SET', KEYS[1], 'three')",
        ] {
            connection.call(&eval(script, "1 k"));
            assert_eq!(connection.run("GET k"), Value::bulk("zero"), "the connection stays in its database: {script}");
        }
        replica.await_sync();
        for (database, value, size) in [(0, "zero", 2), (1, "one", 1), (2, "two", 1), (3, "three", 1)] {
            for holder in [server, &replica.server] {
                let mut connection = holder.connect();
                assert_eq!(connection.run(&format!("SELECT {database}")), Value::ok());
                assert_eq!(connection.run("GET k"), Value::bulk(value), "database {database}");
                assert_eq!(connection.run("DBSIZE"), Value::Integer(size), "database {database}");
            }
        }
        let script = "redis.call('SELECT', 1) return redis.call('GET', 'k')";
        connection.run("MULTI");
        connection.call(&eval(script, "0"));
        connection.run("GET k");
        assert_eq!(connection.run("EXEC"), Value::Array(vec![Value::bulk("one"), Value::bulk("zero")]));
        replica.expect_same_data();
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same_data() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        run_many(server);
        replica.expect_same_data();
    });
}

#[test]
fn on_a_read_only_replica_a_write_is_refused_and_a_read_works() {
    each_server(|server| {
        server.run("SET k v");
        let replica = RealReplica::with_module(server);
        let on_replica = |script: &str| replica.server.call(&eval(script, "1 k"));
        assert_eq!(on_replica("return redis.call('GET', KEYS[1])"), Value::bulk("v"));
        for script in [
            "return redis.call('SET', KEYS[1], 'w')",
            "return redis.pcall('SET', KEYS[1], 'w')",
            "redis.call('GET', KEYS[1]) redis.call('DEL', KEYS[1])",
            "return redis.call('ATOMIC.CAS', KEYS[1], 'v', 'w')",
        ] {
            let reply = on_replica(script);
            assert!(reply.error().starts_with("READONLY "), "{script}: {reply}");
        }
        assert_eq!(on_replica("return redis.call('GET', KEYS[1])"), Value::bulk("v"));
        server.call(&eval("redis.call('SET', KEYS[1], 'w')", "1 k"));
        replica.expect_same_data();
        assert_eq!(on_replica("return redis.call('GET', KEYS[1])"), Value::bulk("w"));
    });
}

/// All bytes of the append-only files.
pub fn append_only_files(server: &Server) -> Vec<u8> {
    let directory = server.dir().join("appendonlydir");
    let mut files: Vec<_> = directory.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().flat_map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn the_append_only_file_survives_kill_9_and_holds_no_script() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        run_many(server);
        let (digest, size) = (server.run("DEBUG DIGEST"), server.run("DBSIZE"));
        let log = String::from_utf8_lossy(&append_only_files(server)).to_uppercase();
        assert!(log.contains("RPUSH"), "the file holds the writes");
        for word in ["ATOMIC", "EVAL", "REDIS.CALL"] {
            assert!(!log.contains(word), "the file holds {word}");
        }
        server.kill_9();
        server.start_again();
        assert_eq!(server.run("DBSIZE"), size);
        assert_eq!(server.run("DEBUG DIGEST"), digest);
        assert_eq!(server.call(&eval("return redis.call('LLEN', KEYS[1])", "1 l")), Value::Integer(100));
    });
}

#[test]
fn above_maxmemory_a_write_is_refused_and_a_read_works() {
    each_server(|server| {
        server.run("SET k v");
        assert_eq!(server.run("CONFIG SET maxmemory 1"), Value::ok());
        for script in ["return redis.call('SET', KEYS[1], 'w')", "return redis.pcall('SET', KEYS[1], 'w')"] {
            let reply = server.call(&eval(script, "1 k"));
            assert!(reply.error().starts_with("OOM "), "{script}: {reply}");
        }
        assert_eq!(server.call(&eval("return redis.call('GET', KEYS[1])", "1 k")), Value::bulk("v"));
        assert_eq!(server.call(&eval("return redis.call('DEL', KEYS[1])", "1 k")), Value::Integer(1), "freeing is allowed");
        assert_eq!(server.run("CONFIG SET maxmemory 0"), Value::ok());
        assert_eq!(server.call(&eval("return redis.call('SET', KEYS[1], 'w')", "1 k")), Value::ok());
    });
}
