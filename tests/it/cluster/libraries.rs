//! Function libraries belong to one primary. How they come to the others is said on their page, and tested here.

use std::process::Command;

use super::*;
use crate::support::cluster::{id, key_of, slot};

const LIBRARY: &str =
    "#!lua name=stock\nredis.register_function('take', function(keys, args) return redis.call('GET', keys[1]) end)";

fn names(node: &Server) -> Vec<String> {
    let list = node.run("FUNCTION LIST");
    list.array().iter().map(|library| library.field("library_name").unwrap().text()).collect()
}

/// Runs `redis-cli --cluster` with these arguments.
#[track_caller]
fn cli(binary: &Binary, arguments: &[&str]) {
    let output = Command::new(binary.cli()).arg("--cluster").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {text}");
}

fn address(node: &Server) -> String {
    format!("127.0.0.1:{}", node.port())
}

#[test]
fn the_cli_loads_a_library_on_all_primaries() {
    each_cluster(3, |cluster| {
        let first = &cluster.nodes[0];
        let call = ["call", &address(first), "ATOMIC.FUNCTION", "LOAD", "REPLACE", LIBRARY, "--cluster-only-masters"];
        cli(&first.binary, &call);
        for node in &cluster.nodes {
            assert_eq!(names(node), ["stock"]);
            let key = key_of(node);
            assert_eq!(node.run(&format!("ATOMIC.FCALL take 1 {key}")), Value::Null);
        }
        let call = ["call", &address(first), "ATOMIC.FUNCTION", "DELETE", "stock", "--cluster-only-masters"];
        cli(&first.binary, &call);
        assert!(cluster.nodes.iter().all(|node| names(node).is_empty()));
    });
}

#[test]
fn libraries_act_on_one_primary_and_a_classic_migration_does_not_move_them() {
    each_cluster(2, |cluster| {
        let [from, to] = cluster.nodes.as_slice() else { panic!() };
        assert_eq!(from.call(&["ATOMIC.FUNCTION", "LOAD", LIBRARY]), Value::bulk("stock"));
        let key = key_of(from);
        from.run(&format!("SET {key} v"));
        cluster.migrate(slot(from, &key), from, to);
        assert_eq!((names(from), names(to)), (vec!["stock".to_owned()], vec![]));
        assert_eq!(to.run(&format!("GET {key}")), Value::bulk("v"));
    });
}

#[test]
fn add_node_of_the_cli_copies_the_libraries_and_the_stored_scripts() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        for node in &cluster.nodes {
            assert_eq!(node.call(&["ATOMIC.FUNCTION", "LOAD", LIBRARY]), Value::bulk("stock"));
        }
        load(&cluster.nodes[0], "return 1");
        let joined = crate::support::cluster::start_node(binary);
        cli(binary, &["add-node", &address(&joined), &address(&cluster.nodes[0])]);
        assert!(names(&joined).contains(&"stock".to_owned()));
        assert!(is_stored(&joined, "return 1"));
    });
}

/// Migrates the slot of a key as a whole, where the server can. Whether it did.
#[track_caller]
fn migrate_at_once(key: &str, from: &Server, to: &Server) -> bool {
    let number = slot(from, key);
    if from.binary.is_valkey_from(9, 0) {
        let migrate = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {number} {number} NODE {}", id(to));
        assert_eq!(from.run(&migrate), Value::ok());
    } else if from.binary.is_redis_from(8, 4) {
        to.run(&format!("CLUSTER MIGRATION IMPORT {number} {number}")).text();
    } else {
        return false;
    }
    true
}

#[test]
fn a_slot_that_is_migrated_as_a_whole_takes_the_libraries_along_on_redis_only() {
    each_cluster(2, |cluster| {
        let [from, to] = cluster.nodes.as_slice() else { panic!() };
        assert_eq!(from.call(&["ATOMIC.FUNCTION", "LOAD", LIBRARY]), Value::bulk("stock"));
        load(from, "return 1");
        let key = key_of(from);
        from.run(&format!("SET {key} v"));
        if migrate_at_once(&key, from, to) {
            eventually("the slot has moved", || (to.run(&format!("GET {key}")) == Value::bulk("v")).then_some(()));
            let is_copied = !from.binary.is_valkey;
            assert_eq!(names(to).contains(&"stock".to_owned()), is_copied);
            assert_eq!(pulled(from, "return 1", || evalsha(to, "return 1")), Value::Integer(1));
            if is_copied {
                assert_eq!(to.run(&format!("ATOMIC.FCALL take 1 {key}")), Value::bulk("v"));
            }
        }
    });
}
