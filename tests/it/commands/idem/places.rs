//! Where the command runs: MULTI, scripts and functions, drop-in mode, replicas, restarts, clusters.

use std::time::Duration;

use super::{brief, once};
use crate::slots::{checked, has_tables};
use crate::support::cluster::{Cluster, redirection, slot};
use crate::support::{RealReplica, Server, Setup, Value, each_installed, each_server, each_server_with, eventually};

const RECURSION: &str = "ERR a script cannot run a script";

/// Only the server's own Lua returns "function".
const WHO: &str = "return type(string.dump)";

const LIBRARY: &str = "#!lua name=lib\n\
    redis.register_function('count', function(keys, args) return redis.call('INCR', keys[1]) end)\n\
    redis.register_function('idem', function(keys, args) return redis.call('ATOMIC.IDEM', keys[1], 600000, unpack(args)) end)";

#[test]
fn a_transaction_runs_it_like_any_command() {
    each_server(|server| {
        let mut client = server.connect();
        for codes in [[0, 1], [1, 1]] {
            client.run("MULTI");
            for _ in 0..2 {
                assert_eq!(client.run("ATOMIC.IDEM k 600000 INCR n"), Value::Status("QUEUED".to_owned()));
            }
            client.run("ATOMIC.IDEM e 600000 EVAL \"return redis.call('INCR', KEYS[1])\" 1 m");
            client.run("ATOMIC.IDEM other 600000 LPUSH n v");
            client.run("ATOMIC.IDEM b 600000 ATOMIC.LOCK l me 1000 BIND");
            let replies = client.run("EXEC");
            let [first, second, script, error, bind] = replies.array() else { panic!("{replies}") };
            assert_eq!([first, second].map(brief), codes.map(|code| format!("[{code}, 1]")));
            assert_eq!(brief(script), format!("[{}, 1]", codes[0]));
            assert!(error.error().starts_with("WRONGTYPE ") && bind.error().contains("bind to its connection"), "{replies}");
        }
    });
}

#[test]
fn scripts_and_functions_run_ordinary_commands_inside_and_no_scripts() {
    each_server(|server| {
        assert_eq!(server.call(&["FUNCTION", "LOAD", LIBRARY]), Value::bulk("lib"));
        let script = "return redis.call('ATOMIC.IDEM', KEYS[1], 600000, unpack(ARGV))";
        let doors: [&[&str]; 4] =
            [&["EVAL", script, "1"], &["ATOMIC.EVAL", script, "1"], &["FCALL", "idem", "1"], &["ATOMIC.FCALL", "idem", "1"]];
        for (at, door) in doors.iter().enumerate() {
            let mut client = server.connect();
            let mut call = |key: &str, command: &[&str]| client.call(&[*door, &[key], command].concat());
            let (key, count) = (format!("k{at}"), format!("n{at}"));
            assert_eq!(brief(&call(&key, &["INCR", &count])), "[0, 1]", "{door:?}");
            assert_eq!(brief(&call(&key, &["INCR", &count])), "[1, 1]", "{door:?}");
            assert_eq!(brief(&server.call(&["ATOMIC.IDEM", &key, "5", "INCR", &count])), "[1, 1]", "{door:?}");
            assert!(call(&key, &["INCR", "x"]).error().contains("other words"), "{door:?}");
            assert_eq!(brief(&call(&format!("h{at}"), &["ATOMIC.INCRBY", &count, "5"])), "[0, [1, 6, 5, -1]]", "{door:?}");
            for inner in [
                &["EVAL", "return 1", "0"][..],
                &["EVALSHA_RO", "abc", "0"],
                &["FCALL", "count", "1", "m"],
                &["ATOMIC.EVAL", "return 1", "0"],
                &["ATOMIC.FCALL", "count", "1", "m"],
            ] {
                assert!(call("other", inner).error().contains(RECURSION), "{door:?} {inner:?}");
            }
            assert!(call("other", &["BLPOP", "l", "1"]).error().contains("cannot run"), "{door:?}");
            assert!(call("other", &["ATOMIC.LOCK", "l", "me", "1000", "BIND"]).error().contains("cannot run"), "{door:?}");
            // A reply of RESP3 for a script that speaks it.
            server.run("HSET h f v");
        }
        assert_eq!(brief(&server.run("EXISTS other m")), "0");
        for (eval, key) in [("EVAL", "a"), ("ATOMIC.EVAL", "b")] {
            let typed = "redis.setresp(3) local r = redis.call('ATOMIC.IDEM', KEYS[1], 600000, 'HGETALL', 'h')
                return {r[1], r[2].map.f}";
            let plain = "local r = redis.call('ATOMIC.IDEM', KEYS[1], 600000, 'HGETALL', 'h') return {r[1], r[2][1], r[2][2]}";
            assert_eq!(brief(&server.call(&[eval, typed, "1", key])), "[0, \"v\"]");
            assert_eq!(brief(&server.call(&[eval, typed, "1", key])), "[1, \"v\"]");
            assert_eq!(brief(&server.call(&[eval, plain, "1", key])), "[1, \"f\", \"v\"]");
        }
        // It runs another command, so it is no function of `atomic`.
        assert_eq!(server.call(&["ATOMIC.EVAL", "return type(atomic.idem)", "0"]), Value::bulk("nil"));
    });
}

#[test]
fn scripts_and_functions_inside_run_on_this_engine() {
    for intercept in ["no", "yes"] {
        each_server_with(&Setup::with_module().module_args(&["intercept", intercept]), |server| {
            assert_eq!(server.call(&["FUNCTION", "LOAD", LIBRARY]), Value::bulk("lib"));
            server.call(&["SET", "n", "0"]);
            for (at, command) in [
                format!("EVAL '{WHO}' 0"),
                format!("EVAL_RO '{WHO}' 0"),
                format!("ATOMIC.EVAL '{WHO}' 0"),
                format!("atomic.eval_ro '{WHO}' 0"),
            ]
            .iter()
            .enumerate()
            {
                assert_eq!(once(server, &format!("who{at}"), command), Value::bulk("nil"), "{command}");
            }
            for (key, command) in [("f", "FCALL"), ("g", "ATOMIC.FCALL")] {
                let before = server.run("GET n").text().parse::<i64>().unwrap();
                assert_eq!(once(server, key, &format!("{command} count 1 n")), Value::Integer(before + 1), "{command}");
            }
            // A script by its digest is one that this engine knows.
            let sha = server.call(&["ATOMIC.SCRIPT", "LOAD", "return 7"]).text();
            assert_eq!(once(server, "sha", &format!("EVALSHA {sha} 0")), Value::Integer(7));
            let unknown = server.run(&format!("ATOMIC.IDEM none 600000 EVALSHA {} 0", "0".repeat(40)));
            assert!(unknown.error().starts_with("NOSCRIPT "), "{unknown}");
            assert_eq!(brief(&server.run("EXISTS none")), "0");
            // What only the server's engine runs is refused.
            let nul = server.call(&[&b"ATOMIC.IDEM"[..], b"none", b"600000", b"EVAL", b"return 1 --\0", b"0"]);
            assert_eq!(nul.error(), "ERR only the server's own engine can run this script, and ATOMIC.IDEM cannot use it");
            let missing = server.run("ATOMIC.IDEM none 600000 FCALL nosuch 0");
            assert!(missing.error().starts_with("ERR Function not found"), "{missing}");
            assert!(
                server
                    .run("ATOMIC.IDEM none 600000 EVAL 'return redis.call(\"EVAL\", \"return 1\", 0)' 0")
                    .error()
                    .contains("not allowed")
            );
        });
    }
}

/// A script that the server's own engine ran for a module would outlive its client, which the server frees while it is busy.
#[test]
fn the_client_of_a_slow_script_may_disconnect() {
    let setup = Setup::with_module().config("busy-reply-threshold 1").module_args(&["script-unreachable-budget-ms", "300"]);
    each_server_with(&setup, |server| {
        for (key, command) in [("a", "EVAL"), ("b", "ATOMIC.EVAL")] {
            let mut client = server.connect();
            client.send(&["ATOMIC.IDEM", key, "600000", command, "while true do end", "0"]).unwrap();
            client.send(&["PING"]).unwrap();
            drop(client);
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(server.run("PING"), Value::Status("PONG".to_owned()));
            eventually("the run is over", || (server.run("EXISTS a b") == Value::Integer(0)).then_some(()));
        }
        assert!(server.is_alive());
    });
}

#[test]
fn a_replica_refuses_it_and_has_the_record_after_a_failover() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        once(server, "k", "INCR n");
        replica.await_sync();
        for call in ["ATOMIC.IDEM k 600000 INCR n", "ATOMIC.IDEM new 600000 GET n"] {
            assert!(replica.server.run(call).error().starts_with("READONLY "), "{call}");
        }
        replica.expect_same_data();
        assert_eq!(replica.server.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(brief(&replica.server.run("ATOMIC.IDEM k 600000 INCR n")), "[1, 1]");
    });
}

#[test]
fn the_record_survives_a_crash() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        once(server, "k", "INCR n");
        let script = "redis.call('SET', KEYS[1], 'v') return {1, {2}}";
        let call = ["ATOMIC.IDEM", "e", "600000", "EVAL", script, "1", "m"];
        assert_eq!(brief(&server.call(&call)), "[0, [1, [2]]]");
        let before = super::super::everything(server)[..4].to_vec();
        server.kill_9();
        server.start_again();
        assert_eq!(super::super::everything(server)[..4], before);
        assert_eq!(brief(&server.run("ATOMIC.IDEM k 600000 INCR n")), "[1, 1]");
        assert_eq!(brief(&server.call(&call)), "[1, [1, [2]]]");
    });
}

/// A node with all slots, of each server.
fn each_node(body: impl Fn(&Server)) {
    each_installed(|binary| {
        let cluster = Cluster::start_with(binary, 1, checked(binary, Setup::with_module()));
        body(&cluster.nodes[0]);
    });
}

#[test]
fn all_keys_of_a_call_are_in_one_slot() {
    each_node(|node| {
        assert_eq!(brief(&once(node, "{a}k", "INCR {a}n")), "1");
        assert_eq!(brief(&once(node, "{a}e", "EVAL \"return redis.call('INCR', KEYS[1])\" 1 {a}n")), "2");
        assert_eq!(brief(&once(node, "{a}p", "PING")), "PONG");
        for inner in ["INCR {b}n", "MSET {a}n 1 {b}n 2", "EVAL 'return 1' 1 {b}n", "ATOMIC.MCAS {b}n a b"] {
            let reply = super::super::changes_nothing(node, &format!("ATOMIC.IDEM {{a}}x 600000 {inner}"));
            assert!(reply.error().starts_with("CROSSSLOT "), "{inner}: {reply}");
        }
        assert_eq!(brief(&node.run("GET {a}n")), "\"2\"");
    });
}

/// The server looks for every key in the slot of the client's command, so a script inside that declares no keys keeps to this slot.
#[test]
fn a_script_inside_that_declares_no_keys_keeps_to_the_slot_of_the_key() {
    each_node(|node| {
        let call = |eval: &str, key: &str, script: &str| node.call(&["ATOMIC.IDEM", key, "600000", eval, script, "0"]);
        for (at, eval) in ["EVAL", "ATOMIC.EVAL"].iter().enumerate() {
            let reply = call(eval, &format!("{{a}}{at}"), "redis.call('SET', '{a}x', 'v') return redis.call('GET', '{a}x')");
            assert_eq!(brief(&reply), "[0, \"v\"]", "{eval}");
            assert_eq!(brief(&node.run("GET {a}x")), "\"v\"");
            if has_tables(&node.binary) {
                let reply = call(eval, "{a}y", "return redis.call('SET', '{b}x', 'v')");
                assert!(reply.error().contains("do not hash to the same slot"), "{eval}: {reply}");
                assert!(call(eval, "{a}y", "return redis.call('KEYS', '*')").error().contains("all slots"), "{eval}");
                assert_eq!(
                    node.run("ATOMIC.IDEM {a}y 600000 FLUSHALL").error(),
                    "ERR the command uses the keys of all slots of the cluster"
                );
            } else {
                assert_eq!(
                    brief(&call(eval, &format!("{{a}}y{at}"), "return redis.call('SET', '{b}x', 'v')")),
                    "[0, OK]",
                    "{eval}"
                );
            }
        }
        // Afterwards, scripts are as free as before.
        assert_eq!(node.call(&["ATOMIC.EVAL", "return redis.call('SET', '{b}z', 'v')", "0"]), Value::ok());
        assert_eq!(brief(&node.run("GET {b}z")), "\"v\"");
        let shown = node.run("DBSIZE").integer();
        let scanned = node.run("SCAN 0 COUNT 1000");
        assert_eq!(scanned.array()[1].array().len() as i64, shown);
        for key in scanned.array()[1].array() {
            assert_eq!(node.call(&["EXISTS", &key.text()]), Value::Integer(1), "{key}");
        }
    });
}

#[test]
fn a_node_without_the_slot_redirects() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
        let (from, to) = if a.run("EXISTS {m}") == Value::Integer(0) { (a, b) } else { (b, a) };
        let moved = redirection("MOVED", slot(from, "{m}"), from);
        for call in
            ["ATOMIC.IDEM {m}k 600000 INCR {m}n", "ATOMIC.IDEM {m}k 600000 NOSUCH", "ATOMIC.IDEM {m}k 600000 EVAL 'return 1' 0"]
        {
            assert_eq!(to.run(call), moved, "{call}");
        }
        assert_eq!(brief(&from.run("ATOMIC.IDEM {m}k 600000 INCR {m}n")), "[0, 1]");
    });
}
