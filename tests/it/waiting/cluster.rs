//! Waiting in a cluster: a waiter whose slot leaves is told where to go, and nobody owns a lock on the node that it left.

use super::{Waiter, await_waiters, owners};
use crate::support::cluster::{Cluster, begin_migration, id, move_key, redirection, slot};
use crate::support::locks::{close, granted, not_granted};
use crate::support::{Binary, Server, Value, each_installed, eventually};

/// Runs `body` on a cluster of two: with the node that has the slots of the keys `{m}...`, and the other one.
fn each_pair(body: impl Fn(&Cluster, &Server, &Server)) {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
        let here = |node: &Server| node.run("EXISTS {m}") == Value::Integer(0);
        assert_ne!(here(a), here(b), "not one owner of the slot");
        if here(a) { body(&cluster, a, b) } else { body(&cluster, b, a) }
    });
}

#[track_caller]
fn ask(node: &Server, command: &str) -> Value {
    let mut connection = node.connect();
    assert_eq!(connection.run("ASKING"), Value::ok());
    connection.run(command)
}

#[test]
fn several_locks_at_once_share_a_slot() {
    each_pair(|_, from, _| {
        let refused = from.run("ATOMIC.MLOCK me 1000 {m}a {n}b");
        assert!(refused.error().starts_with("CROSSSLOT"), "{refused}");
        granted(&from.run("ATOMIC.MLOCK me 1000000 {m}a {m}b"));
        let mut waiter = Waiter::queued(from, "{m}b", 1, "ATOMIC.LOCK {m}b you 1000 WAIT 0");
        assert_eq!(from.run("ATOMIC.UNLOCK {m}a me"), Value::Integer(0));
        assert_eq!(from.run("ATOMIC.UNLOCK {m}b me"), Value::Integer(0));
        granted(&waiter.reply());
    });
}

#[test]
fn keys_behind_their_number_are_sent_to_their_node_like_any_others() {
    each_pair(|_, from, to| {
        let moved = redirection("MOVED", slot(from, "{m}"), from);
        for command in [
            "ATOMIC.LOCK {m}a me 1000",
            "ATOMIC.MLOCK me 1000 {m}a",
            "ATOMIC.MCAS {m}a v w",
            "ATOMIC.MRATELIMIT 1 {m}a 1 10 1000",
            "ATOMIC.EVAL 'return 1' 1 {m}a",
        ] {
            assert_eq!(to.run(command), moved, "{command}");
        }
        assert_eq!([from, to].map(|node| node.run("DBSIZE")), [Value::Integer(0), Value::Integer(0)]);
    });
}

#[test]
fn a_waiter_follows_the_key_that_migrates() {
    each_pair(|cluster, from, to| {
        let slot = slot(from, "{m}");
        for key in ["{m}a", "{m}b"] {
            granted(&from.run(&format!("ATOMIC.LOCK {key} me 1000000")));
        }
        granted(&from.run("ATOMIC.SEMACQUIRE {m}sem 1 me 1000000"));
        let mut asked = [1, 2].map(|n| Waiter::queued(from, "{m}a", n, &format!("ATOMIC.LOCK {{m}}a w{n} 1000000 WAIT 0")));
        let mut permit = Waiter::send(from, "ATOMIC.SEMACQUIRE {m}sem 1 you 1000000 WAIT 0");
        let mut moved = Waiter::queued(from, "{m}b", 1, "ATOMIC.LOCK {m}b you 1000000 WAIT 0");
        begin_migration(slot, from, to);
        move_key("{m}a", from, to);
        move_key("{m}sem", from, to);
        for waiter in asked.iter_mut().chain([&mut permit]) {
            assert_eq!(waiter.reply(), redirection("ASK", slot, to));
        }
        assert_eq!(from.run("ATOMIC.LOCKINFO {m}a"), redirection("ASK", slot, to), "the key is back on the source");
        not_granted(&ask(to, "ATOMIC.LOCK {m}a you 1000"));
        not_granted(&ask(to, "ATOMIC.SEMACQUIRE {m}sem 1 you 1000"));
        // The other key is still here, and so is its waiter.
        assert_eq!(owners(from, "{m}b"), ["me"]);
        await_waiters(from, "{m}b", 1);
        move_key("{m}b", from, to);
        cluster.end_migration(slot, to);
        let reply = moved.reply();
        assert!(["ASK", "MOVED"].map(|word| redirection(word, slot, to)).contains(&reply), "{reply}");
        assert_eq!(from.run("ATOMIC.LOCK {m}a you 1000 WAIT 0"), redirection("MOVED", slot, to));
        // There the old holder is the holder, and a queue works.
        for key in ["{m}a", "{m}b"] {
            assert_eq!(owners(to, key), ["me"]);
            let mut waiter = Waiter::queued(to, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0"));
            assert_eq!(to.run(&format!("ATOMIC.UNLOCK {key} me")), Value::Integer(0));
            granted(&waiter.reply());
        }
        assert_eq!(from.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn a_lock_that_becomes_free_while_its_slot_migrates_is_taken_where_the_slot_goes() {
    each_pair(|cluster, from, to| {
        let slot = slot(from, "{m}");
        let mut holder = from.connect();
        granted(&holder.run("ATOMIC.LOCK {m}bound me 1000000 BIND"));
        for key in ["{m}ended", "{m}deleted", "{m}given"] {
            granted(&from.run(&format!("ATOMIC.LOCK {key} me 1000000")));
        }
        let keys = ["{m}deleted", "{m}ended", "{m}given", "{m}bound"];
        let mut waiters = keys.map(|key| Waiter::queued(from, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0")));
        begin_migration(slot, from, to);
        assert_eq!(from.run("DEL {m}deleted"), Value::Integer(1));
        assert_eq!(from.run("ATOMIC.LOCKRENEW {m}ended me 20"), Value::Integer(20));
        assert_eq!(from.run("ATOMIC.UNLOCK {m}given me"), Value::Integer(0));
        close(from, holder);
        let mut elsewhere = Vec::new();
        for (key, waiter) in keys.iter().zip(&mut waiters) {
            let reply = waiter.reply();
            if reply == redirection("ASK", slot, to) {
                // What is not on the source any more may be taken on the target.
                assert_eq!(from.run(&format!("ATOMIC.LOCKINFO {key}")), reply, "an owner on the source");
                granted(&ask(to, &format!("ATOMIC.LOCK {key} other 1000000")));
                elsewhere.push(*key);
            } else {
                // What never left it may change hands there, and moves later.
                granted(&reply);
                assert_eq!(owners(from, key), ["you"]);
                move_key(key, from, to);
            }
        }
        assert!(elsewhere.contains(&"{m}deleted"), "a key that was gone came back to the source");
        cluster.end_migration(slot, to);
        for key in keys {
            assert_eq!(owners(to, key), [if elsewhere.contains(&key) { "other" } else { "you" }], "{key}");
        }
        assert_eq!(from.run("DBSIZE"), Value::Integer(0), "a lock was left on the source");
    });
}

#[test]
fn a_slot_that_moves_with_its_keys_takes_no_waiter_along() {
    each_pair(|cluster, from, to| {
        let slot = slot(from, "{m}");
        let keys: Vec<String> = (0..30).map(|n| format!("{{m}}{n}")).collect();
        let mut waiters: Vec<Waiter> = keys
            .iter()
            .map(|key| {
                granted(&from.run(&format!("ATOMIC.LOCK {key} me 1000000")));
                Waiter::queued(from, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0"))
            })
            .collect();
        cluster.migrate(slot, from, to);
        for (key, waiter) in keys.iter().zip(&mut waiters) {
            let reply = waiter.reply();
            assert!(["ASK", "MOVED"].map(|word| redirection(word, slot, to)).contains(&reply), "{key}: {reply}");
            assert_eq!(owners(to, key), ["me"]);
        }
    });
}

#[test]
fn a_slot_that_is_migrated_as_a_whole_takes_no_waiter_along() {
    each_pair(|_, from, to| {
        if !from.binary.is_valkey_from(9, 0) {
            return;
        }
        let slot = slot(from, "{m}");
        let mut holder = from.connect();
        granted(&holder.run("ATOMIC.LOCK {m}bound me 1000000 BIND"));
        granted(&from.run("ATOMIC.LOCK {m}a me 1000000"));
        let keys = ["{m}a", "{m}bound"];
        let mut waiters = keys.map(|key| Waiter::queued(from, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0")));
        assert_eq!(from.run(&format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", id(to))), Value::ok());
        for waiter in &mut waiters {
            assert_eq!(waiter.reply(), redirection("MOVED", slot, to));
        }
        assert_eq!(keys.map(|key| owners(to, key)), [["me"], ["me"]]);
        // A connection of the source cannot give back what is elsewhere.
        close(from, holder);
        assert_eq!(owners(to, "{m}bound"), ["me"]);
        eventually("the source has nothing left", || (from.run("DBSIZE") == Value::Integer(0)).then_some(()));
    });
}

#[test]
fn a_slot_that_is_taken_away_without_its_keys_sends_its_waiters_there() {
    each_pair(|_, from, to| {
        let slot = slot(from, "{m}");
        granted(&from.run("ATOMIC.LOCK {m}a me 1000000"));
        let mut waiter = Waiter::queued(from, "{m}a", 1, "ATOMIC.LOCK {m}a you 1000000 WAIT 0");
        // With a higher epoch the claim of the other node wins, and this one deletes what it has.
        assert_eq!(to.run(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to))), Value::ok());
        to.run("CLUSTER BUMPEPOCH");
        assert_eq!(waiter.reply(), redirection("MOVED", slot, to));
        assert_eq!(from.run("DBSIZE"), Value::Integer(0));
        granted(&to.run("ATOMIC.LOCK {m}a you 1000"));
    });
}

/// A primary with a replica, and what waits at the primary when the replica takes over.
fn fail_over(binary: &Binary, command: &str) {
    let cluster = Cluster::start(binary, 2);
    let primary = cluster.nodes.iter().find(|node| node.run("EXISTS {m}") == Value::Integer(0)).unwrap();
    let replica = cluster.replica_of(primary);
    let mut holder = primary.connect();
    granted(&holder.run("ATOMIC.LOCK {m}bound me 1000000 BIND"));
    granted(&primary.run("ATOMIC.LOCK {m}a me 1000000"));
    let keys = ["{m}a", "{m}bound"];
    let mut waiters = keys.map(|key| Waiter::queued(primary, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0")));
    assert_eq!(primary.run("WAIT 1 10000"), Value::Integer(1), "the replica does not know the locks");
    assert_eq!(replica.run(command), Value::ok());
    for waiter in &mut waiters {
        let reply = waiter.reply();
        let moved = redirection("MOVED", slot(primary, "{m}"), &replica);
        assert!(reply == moved || reply.error().starts_with("UNBLOCKED "), "{command}: {reply}");
    }
    eventually("the replica is the primary", || (replica.info("role") == "master").then_some(()));
    close(primary, holder);
    assert_eq!(keys.map(|key| owners(&replica, key)), [["me"], ["me"]]);
    let mut waiter = Waiter::queued(&replica, "{m}a", 1, "ATOMIC.LOCK {m}a you 1000000 WAIT 0");
    assert_eq!(replica.run("ATOMIC.UNLOCK {m}a me"), Value::Integer(0));
    granted(&waiter.reply());
}

#[test]
fn waiters_are_let_go_when_a_replica_takes_over() {
    each_installed(|binary| fail_over(binary, "CLUSTER FAILOVER"));
}

#[test]
fn waiters_are_let_go_when_a_replica_takes_over_by_force() {
    each_installed(|binary| fail_over(binary, "CLUSTER FAILOVER TAKEOVER"));
}
