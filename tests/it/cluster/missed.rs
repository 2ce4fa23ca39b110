//! Scripts that are not found, and calls that do not wait.

use std::time::{Duration, Instant};

use super::*;
use crate::support::cluster::{begin_migration, key_of, slot};

/// How long a call may wait for other nodes.
const LIMIT: Duration = Duration::from_millis(200);

/// Calls an unknown script. Returns how long that took.
#[track_caller]
fn miss(node: &Server, script: &str) -> Duration {
    let since = Instant::now();
    assert_eq!(evalsha(node, script), noscript());
    since.elapsed()
}

#[test]
fn a_script_that_nobody_has_is_unknown_and_not_asked_for_again() {
    each_cluster(3, |cluster| {
        let node = &cluster.nodes[0];
        for _ in 0..10 {
            miss(node, "return 1");
        }
        assert_eq!(["asked", "missed", "found"].map(|name| figure(node, name)), [1, 1, 0]);
        assert_eq!(node.call(&["ATOMIC.EVALSHA", "no digest", "0"]), noscript());
        assert_eq!(figure(node, "asked"), 1);
    });
}

#[test]
fn a_node_that_does_not_respond_is_awaited_once_for_200_ms() {
    each_cluster(3, |cluster| {
        let [node, other, stopped] = cluster.nodes.as_slice() else { panic!() };
        load(other, "return 'here'");
        signal(stopped, "STOP");
        assert!(miss(node, "return 1") >= LIMIT);
        assert_eq!(pulled(other, "return 'here'", || evalsha(node, "return 'here'")), Value::bulk("here"));
        let asked = figure(node, "asked");
        // No later call waits. On a busy machine one of many may seem to.
        let fastest = (2..12).map(|number| miss(node, &format!("return {number}"))).min().unwrap();
        assert!(fastest < LIMIT, "{fastest:?}");
        assert_eq!(figure(node, "asked"), asked + 10);
        signal(stopped, "CONT");
        // Its late answers show that it is back.
        load(stopped, "return 'back'");
        eventually("it is asked again", || (evalsha(node, "return 'back'") == Value::bulk("back")).then_some(()));
    });
}

#[test]
fn a_node_that_is_gone_does_not_matter() {
    each_cluster(3, |cluster| {
        let [node, other, gone] = cluster.nodes.as_slice() else { panic!() };
        load(other, "return 1");
        gone.kill_9();
        assert_eq!(pulled(other, "return 1", || evalsha(node, "return 1")), Value::Integer(1));
        miss(node, "return 2");
    });
}

#[test]
fn a_node_without_the_module_does_not_matter() {
    each_installed(|binary| {
        let setups = [Setup::with_module(), Setup::without_module(), Setup::with_module()];
        let cluster = Cluster::start_each(binary, &setups);
        let [node, _, other] = cluster.nodes.as_slice() else { panic!() };
        load(other, "return 1");
        assert_eq!(pulled(other, "return 1", || evalsha(node, "return 1")), Value::Integer(1));
        miss(node, "return 2");
        let fastest = (3..13).map(|number| miss(node, &format!("return {number}"))).min().unwrap();
        assert!(fastest < LIMIT, "{fastest:?}");
    });
}

#[test]
fn a_call_that_may_not_wait_does_not_ask() {
    each_cluster(2, |cluster| {
        let [node, other] = cluster.nodes.as_slice() else { panic!() };
        let replica = cluster.replica_of(node);
        load(other, "return 1");
        let sha = sha1("return 1");
        let mut client = node.connect();
        assert_eq!(client.run("MULTI"), Value::ok());
        client.run(&format!("ATOMIC.EVALSHA {sha} 0"));
        client.run(&format!("ATOMIC.EVALSHA_RO {sha} 0"));
        assert_eq!(client.run("EXEC"), Value::Array(vec![noscript(), noscript()]));
        let key = key_of(node);
        let inside = node.run(&format!("ATOMIC.IDEM {key} 60000 ATOMIC.EVALSHA {sha} 0"));
        assert!(inside.error().starts_with("NOSCRIPT"), "{inside}");
        let native = "return redis.pcall('ATOMIC.EVALSHA', ARGV[1], 0).err";
        assert!(node.call(&["EVAL", native, "0", &sha]).text().contains("not allowed from script"));
        let mut reader = replica.connect();
        for command in ["ATOMIC.EVALSHA", "ATOMIC.EVALSHA_RO"] {
            assert_eq!(reader.run(&format!("{command} {sha} 0")), noscript());
        }
        // A slot that is on its way here is served under ASKING only.
        let theirs = key_of(other);
        begin_migration(slot(node, &theirs), other, node);
        assert_eq!(client.run("ASKING"), Value::ok());
        assert_eq!(client.run(&format!("ATOMIC.EVALSHA {sha} 1 {theirs}")), noscript());
        assert_eq!([node, &replica].map(|node| figure(node, "asked")), [0, 0]);
        assert_eq!(pulled(other, "return 1", || evalsha(node, "return 1")), Value::Integer(1));
    });
}

#[test]
fn a_server_without_a_cluster_asks_nobody() {
    crate::support::each_server(|server| {
        assert_eq!(evalsha(server, "return 1"), noscript());
        assert!(!server.run("INFO everything").text().contains("atomic_pulls"));
    });
}
