//! What is left of a bound hold when the process, the role of the server, the slot or the module ends: a plain lease.

use super::super::{Waiter, owners};
use super::{await_figure, await_free, await_renewal, bound, figure};
use crate::commands::{await_micros, deadline, micros};
use crate::support::cluster::{Cluster, begin_migration, move_key, slot};
use crate::support::locks::{close, granted};
use crate::support::{RealReplica, Server, Value, each_installed, each_server, each_server_that_unloads, module_path};

fn unload(server: &Server) -> Value {
    server.run("MODULE UNLOAD atomic")
}

#[track_caller]
fn load(server: &Server) {
    assert_eq!(server.call(&["MODULE", "LOAD", module_path().to_str().unwrap()]), Value::ok(), "{}", server.log());
}

#[test]
fn the_module_unloads_when_the_last_bound_hold_is_gone() {
    each_server_that_unloads(|server| {
        for (request, release) in [
            ("ATOMIC.LOCK k me 1000000 BIND", "ATOMIC.UNLOCK k me"),
            ("ATOMIC.SEMACQUIRE k 1 me 1000000 BIND", "ATOMIC.SEMRELEASE k me"),
            ("ATOMIC.LOCK k me 1000000 BIND", "close"),
            ("ATOMIC.SEMACQUIRE k 1 me 1000000 BIND", "close"),
        ] {
            let connection = bound(server, request);
            let refused = unload(server);
            assert!(refused.error().contains("timer"), "{request}: {refused}");
            if release == "close" {
                close(server, connection);
                await_free(server, "k");
            } else {
                assert_eq!(server.run(release), Value::Integer(0));
            }
            assert_eq!(unload(server), Value::ok(), "{request} {release}");
            load(server);
        }
    });
}

#[test]
fn a_drain_makes_a_bound_hold_a_plain_lease() {
    each_server_that_unloads(|server| {
        for end in ["close", "unload"] {
            let connection = bound(server, "ATOMIC.LOCK k me 1500 BIND");
            let first = deadline(server, "k");
            let first = await_renewal(server, "k", first);
            assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(0));
            let last = deadline(server, "k");
            assert!(last >= first);
            assert_eq!(figure(server, "bound_to_connections"), 0);
            if end == "close" {
                close(server, connection);
                assert_eq!(server.run("ATOMIC.DRAIN OFF"), Value::Integer(0));
            } else {
                assert_eq!(unload(server), Value::ok());
                load(server);
            }
            await_micros(&mut server.connect(), (last + 1) * 1000);
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{end}: renewed after the drain");
            assert_eq!(figure(server, "bound_lost"), 0, "{end}");
        }
    });
}

#[test]
fn after_a_failover_the_lease_ends_by_itself_and_the_old_primary_forgets_the_binding() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let holder = bound(server, "ATOMIC.LOCK k me 1500 BIND");
        let other = bound(server, "ATOMIC.SEMACQUIRE s 1 me 1500 BIND");
        let first = deadline(server, "k");
        await_renewal(server, "k", first);
        replica.await_sync();
        let new = &replica.server;
        assert_eq!(new.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(server.run(&format!("REPLICAOF 127.0.0.1 {}", new.port())), Value::ok());
        assert_eq!(figure(server, "bound_to_connections"), 0);
        ["k", "s"].iter().for_each(|key| await_free(new, key));
        assert_eq!(["bound_to_connections", "bound_lost"].map(|name| figure(new, name)), [0, 0]);
        if server.unloads() {
            assert_eq!(unload(server), Value::ok(), "a timer runs on the replica");
        }
        [holder, other].into_iter().for_each(drop);
    });
}

#[test]
fn an_old_primary_binds_again_after_its_promotion() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let holder = bound(server, "ATOMIC.LOCK k me 600000 BIND");
        replica.await_sync();
        assert_eq!(replica.server.run("REPLICAOF NO ONE"), Value::ok());
        assert_eq!(server.run(&format!("REPLICAOF 127.0.0.1 {}", replica.server.port())), Value::ok());
        assert_eq!(server.run("REPLICAOF NO ONE"), Value::ok());
        // The earlier binding is forgotten: the lease decides.
        close(server, holder);
        assert_eq!(owners(server, "k"), ["me"]);
        let holder = bound(server, "ATOMIC.LOCK l me 1500 BIND");
        let first = deadline(server, "l");
        await_renewal(server, "l", first);
        let mut waiter = Waiter::queued(server, "l", 1, "ATOMIC.LOCK l you 60000 WAIT 0");
        close(server, holder);
        granted(&waiter.reply());
    });
}

#[test]
fn what_is_acquired_on_a_writable_replica_is_a_plain_lease() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        let replica = &replica.server;
        replica.run("CONFIG SET replica-read-only no");
        let holder = bound(replica, "ATOMIC.LOCK k me 300 BIND");
        await_figure(replica, "bound_to_connections", 0);
        let began = micros(&mut replica.connect());
        await_micros(&mut replica.connect(), began + 400_000);
        assert!(owners(replica, "k").is_empty(), "renewed on a replica");
        close(replica, holder);
    });
}

#[test]
fn a_slot_that_moves_takes_the_lease_and_leaves_the_binding() {
    each_installed(|binary| {
        let cluster = Cluster::start(binary, 2);
        let [a, b] = [&cluster.nodes[0], &cluster.nodes[1]];
        let (from, to) = if a.run("EXISTS {m}") == Value::Integer(0) { (a, b) } else { (b, a) };
        let holder = bound(from, "ATOMIC.LOCK {m}k me 3000 BIND");
        let permit = bound(from, "ATOMIC.SEMACQUIRE {m}s 1 me 3000 BIND");
        let slot = slot(from, "{m}");
        begin_migration(slot, from, to);
        ["{m}k", "{m}s"].iter().for_each(|key| move_key(key, from, to));
        cluster.end_migration(slot, to);
        await_figure(from, "bound_to_connections", 0);
        ["{m}k", "{m}s"].iter().for_each(|key| await_free(to, key));
        assert_eq!(figure(to, "bound_lost"), 0);
        granted(&to.run("ATOMIC.LOCK {m}k me 600000"));
        close(from, holder);
        close(from, permit);
        assert_eq!(owners(to, "{m}k"), ["me"]);
    });
}
