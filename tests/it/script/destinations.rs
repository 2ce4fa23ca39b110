//! `redis.set_repl`: which writes go to the replicas and which to the append-only file.

use super::eval;
use super::replication::append_only_files;
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, each_server, each_server_with};

/// A script, its replication stream, and the keys whose writes are in the append-only file.
const DESTINATIONS: &[(&str, &[&str], &[&str])] = &[
    ("redis.set_repl(redis.REPL_ALL) redis.call('SET', 'k1', 'v')", &["SET k1 v"], &["k1"]),
    ("redis.set_repl(redis.REPL_NONE) redis.call('SET', 'k1', 'v')", &[], &[]),
    ("redis.set_repl(redis.REPL_AOF) redis.call('SET', 'k1', 'v')", &[], &["k1"]),
    ("redis.set_repl(redis.REPL_REPLICA) redis.call('SET', 'k1', 'v')", &["SET k1 v"], &[]),
    ("redis.set_repl(redis.REPL_SLAVE) redis.call('SET', 'k1', 'v')", &["SET k1 v"], &[]),
    (
        "redis.call('SET', 'k1', 'v') redis.set_repl(redis.REPL_NONE) redis.call('SET', 'k2', 'v') \
         redis.set_repl(redis.REPL_ALL) redis.call('SET', 'k3', 'v')",
        &["MULTI", "SET k1 v", "SET k3 v", "EXEC"],
        &["k1", "k3"],
    ),
    (
        "redis.set_repl(redis.REPL_AOF) redis.call('SET', 'k1', 'v') redis.set_repl(redis.REPL_REPLICA) redis.call('SET', 'k2', 'v')",
        &["SET k2 v"],
        &["k1"],
    ),
    ("pcall(redis.set_repl, 9) redis.call('SET', 'k1', 'v')", &["SET k1 v"], &["k1"]),
    ("redis.set_repl(redis.REPL_NONE) redis.call('SET', 'k1', 'v') error('after it')", &[], &[]),
    ("redis.set_repl(redis.REPL_NONE) redis.call('ATOMIC.LOCK', 'k1', 'me', 1000)", &[], &[]),
    ("redis.set_repl(redis.REPL_NONE) redis.call('PUBLISH', 'c', 'm')", &[], &[]),
];

/// Which of the keys `k1` to `k3` the append-only file names.
fn in_file(server: &Server) -> Vec<&'static str> {
    let file = append_only_files(server);
    ["k1", "k2", "k3"].into_iter().filter(|key| file.windows(2).any(|bytes| bytes == key.as_bytes())).collect()
}

/// The stream without MULTI and EXEC around a single command: servers differ there.
fn bare(stream: Vec<String>) -> Vec<String> {
    if stream.len() == 3 && stream[0] == "MULTI" { vec![stream[1].clone()] } else { stream }
}

#[test]
fn set_repl_decides_where_writes_go() {
    for &(script, stream, keys) in DESTINATIONS {
        each_server_with(&Setup::with_module().appendonly("always"), |server| {
            let mut replica = FakeReplica::attach(server);
            server.call(&eval(script, "0"));
            assert_eq!(bare(replica.stream()), stream, "{script}");
            assert_eq!(in_file(server), keys, "{script}");
            assert_eq!(server.run("EXISTS k1") == Value::Integer(1), script.contains("k1"), "it is written here: {script}");
        });
    }
}

/// Except for commands of modules: the server's own EVAL cannot suppress what they replicate themselves.
#[test]
fn the_servers_own_eval_sends_the_same_stream() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for &(script, ..) in DESTINATIONS.iter().filter(|(script, ..)| !script.contains("ATOMIC.")) {
            let [theirs, ours] = ["EVAL", "ATOMIC.EVAL"].map(|command| {
                server.run("FLUSHALL");
                replica.stream();
                server.call(&[command, script, "0"]);
                bare(replica.stream())
            });
            assert_eq!(theirs, ours, "{script}");
        }
    });
}

#[test]
fn set_repl_lasts_for_one_run() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.call(&eval("redis.set_repl(redis.REPL_NONE) redis.call('SET', 'k1', 'v')", "0"));
        replica.expect_stream(&[]);
        server.call(&eval("redis.call('SET', 'k2', 'v')", "0"));
        replica.expect_stream(&["SET k2 v"]);
        let real = RealReplica::without_module(server);
        server.call(&eval("redis.set_repl(0) redis.call('SET', 'only here', 'v')", "0"));
        real.await_sync();
        assert_eq!(real.server.run("EXISTS 'only here'"), Value::Integer(0));
        assert_eq!(server.run("EXISTS 'only here'"), Value::Integer(1));
    });
}
