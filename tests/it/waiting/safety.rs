//! What must never happen while clients wait, whatever else happens on the server: a crash, a second owner, a write where none is
//! allowed, a queue that nobody serves.

mod ended; // shutdown, unload, reload
mod paused; // CLIENT PAUSE, FAILOVER, SIGTERM

use std::time::Duration;

use super::{Waiter, await_waiters, in_one_write, owners};
use crate::support::locks::{close, expect_silence, granted, not_granted, vanish};
use crate::support::{Connection, RealReplica, Server, Setup, Value, argv, each_server, each_server_with, eventually};

#[test]
fn a_waiter_that_the_server_evicts_or_whose_user_is_deleted_leaves_the_queue() {
    each_server(|server| {
        server.run("ACL SETUSER guest on nopass ~* &* +@all");
        server.run("ATOMIC.LOCK k me 1000000");
        let mut guest = server.connect();
        assert_eq!(guest.run("AUTH guest any"), Value::ok());
        guest.send(&["ATOMIC.LOCK", "k", "guest", "1000000", "WAIT", "0"]).unwrap();
        await_waiters(server, "k", 1);
        let mut large = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k large 1000000 WAIT 0");
        let mut last = Waiter::queued(server, "k", 3, "ATOMIC.LOCK k last 1000000 WAIT 0");
        assert_eq!(server.run("ACL DELUSER guest"), Value::Integer(1));
        guest.expect_close();
        await_waiters(server, "k", 2);
        // Not a whole command, so that all of it stays in the buffer of the blocked client.
        large.connection().send_raw(&[&b"*2\r\n$4\r\nECHO\r\n$4000000\r\n"[..], &vec![b'x'; 3_000_000]].concat()).unwrap();
        server.run("CONFIG SET maxmemory-clients 2mb");
        large.connection().expect_close();
        await_waiters(server, "k", 1);
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        granted(&last.reply());
        assert_eq!(owners(server, "k"), ["last"]);
    });
}

#[test]
fn commands_behind_a_waiting_one_run_after_the_grant() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        for command in ["ATOMIC.UNLOCK k you", "RESET", "PING"] {
            waiter.connection().send(&argv(command)).unwrap();
        }
        expect_silence(waiter.connection());
        server.run("ATOMIC.UNLOCK k me");
        granted(&waiter.reply());
        let answers = [0; 3].map(|_| waiter.reply());
        assert_eq!(answers, [Value::Integer(0), Value::Status("RESET".to_owned()), Value::Status("PONG".to_owned())]);
        assert_eq!(owners(server, "k"), [""; 0]);
    });
}

#[test]
fn reset_is_not_the_end_of_a_connection() {
    each_server(|server| {
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        assert_eq!(holder.run("RESET"), Value::Status("RESET".to_owned()));
        assert_eq!(owners(server, "k"), ["me"]);
        assert!(!waiter.has_reply());
        close(server, holder);
        granted(&waiter.reply());
    });
}

#[test]
fn a_waiter_that_wants_no_replies_gets_the_lock() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        let mut silent = server.connect();
        silent.send(&["CLIENT", "REPLY", "OFF"]).unwrap();
        silent.send(&["ATOMIC.LOCK", "k", "silent", "1000000", "WAIT", "0"]).unwrap();
        await_waiters(server, "k", 1);
        let mut next = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k next 1000000 WAIT 0");
        server.run("ATOMIC.UNLOCK k me");
        eventually("the silent one owns it", || (owners(server, "k") == ["silent"]).then_some(()));
        // Not taken back either: the next command finds it there.
        silent.send(&["CLIENT", "REPLY", "ON"]).unwrap();
        assert_eq!(silent.read().unwrap(), Value::ok());
        assert_eq!(silent.run("ATOMIC.LOCKRENEW k silent 1000000"), Value::Integer(1_000_000));
        assert!(!next.has_reply());
        assert_eq!(silent.run("ATOMIC.UNLOCK k silent"), Value::Integer(0));
        granted(&next.reply());
    });
}

/// The owners of `k` in the database that a connection has selected.
#[track_caller]
fn theirs(connection: &mut Connection) -> Vec<String> {
    let owners = connection.run("ATOMIC.LOCKINFO k").field("owners");
    owners.map_or_else(Vec::new, |owners| owners.array().iter().map(|owner| owner.array()[0].text()).collect())
}

#[test]
fn a_key_of_the_same_name_in_another_database_is_another_lock() {
    each_server(|server| {
        let mut other = server.connect();
        other.run("SELECT 1");
        server.run("ATOMIC.LOCK k me 1000000");
        granted(&other.run("ATOMIC.LOCK k me 1000000"));
        let mut here = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k here 1000000 WAIT 0");
        let mut there = server.connect();
        there.run("SELECT 1");
        there.send(&["ATOMIC.LOCK", "k", "there", "1000000", "WAIT", "0"]).unwrap();
        let count = |connection: &mut Connection| connection.run("ATOMIC.LOCKINFO k").field("waiters").unwrap();
        eventually("both wait", || (count(&mut other) == Value::Integer(1)).then_some(()));
        assert_eq!(count(&mut server.connect()), Value::Integer(1));
        assert_eq!(other.run("DEL k"), Value::Integer(1));
        granted(&there.read().unwrap());
        assert!(!here.has_reply());
        assert_eq!([owners(server, "k"), theirs(&mut other)], [["me"], ["there"]]);
        assert_eq!(other.run("FLUSHDB"), Value::ok());
        expect_silence(here.connection());
        server.run("ATOMIC.UNLOCK k me");
        granted(&here.reply());
    });
}

#[test]
fn databases_that_are_swapped_take_their_locks_along_and_leave_the_waiters() {
    each_server(|server| {
        let mut other = server.connect();
        other.run("SELECT 1");
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        assert_eq!(server.run("SWAPDB 0 1"), Value::ok());
        // The waiter's connection is in database 0, where the lock is free now.
        granted(&waiter.reply());
        assert_eq!([owners(server, "k"), theirs(&mut other)], [["you"], ["me"]]);
        // The lock of the same name and owner that is in its place is not the one that the connection took.
        assert_eq!(server.run("ATOMIC.UNLOCK k you"), Value::Integer(0));
        granted(&server.run("ATOMIC.LOCK k me 1000000"));
        close(server, holder);
        eventually("what was taken with BIND is given back", || theirs(&mut other).is_empty().then_some(()));
        assert_eq!(owners(server, "k"), ["me"]);
    });
}

#[test]
fn a_lock_changes_hands_when_memory_is_full() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000");
        let mut second = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k second 1000000 WAIT 0");
        let mut third = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k third 1000000 WAIT 0");
        let mut permit = Waiter::send(server, "ATOMIC.SEMACQUIRE sem 1 you 1000000 WAIT 0");
        eventually("it waits", || (server.run("ATOMIC.SEMINFO sem").field("waiters") == Some(Value::Integer(1))).then_some(()));
        server.run("CONFIG SET maxmemory 1");
        for refused in ["ATOMIC.LOCK other me 1000 WAIT 0", "ATOMIC.SEMACQUIRE other 1 me 1000 WAIT 0"] {
            assert!(server.run(refused).error().starts_with("OOM"), "{refused}");
        }
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        granted(&second.reply());
        assert_eq!(server.run("ATOMIC.LOCKRENEW k second 10"), Value::Integer(10));
        granted(&third.reply());
        assert_eq!(server.run("ATOMIC.SEMRELEASE sem me"), Value::Integer(0));
        granted(&permit.reply());
        assert_eq!(owners(server, "k"), ["third"]);
    });
}

#[test]
fn without_enough_replicas_nobody_begins_to_wait_and_who_waits_is_served_in_the_end() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let replies = in_one_write(&mut server.connect(), &["ATOMIC.LOCKRENEW k me 50", "CONFIG SET min-replicas-to-write 1"]);
        assert_eq!(replies, [Value::Integer(50), Value::ok()]);
        for refused in ["ATOMIC.LOCK k third 1000 WAIT 0", "ATOMIC.UNLOCK k me"] {
            assert!(server.run(refused).error().starts_with("NOREPLICAS"), "{refused}");
        }
        eventually("the lease has ended", || (owners(server, "k") != ["me"]).then_some(()));
        server.run("CONFIG SET min-replicas-to-write 0");
        granted(&waiter.reply());
        assert_eq!(owners(server, "k"), ["you"]);
    });
}

#[test]
fn a_replica_refuses_to_wait_and_answers_questions() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        server.run("ATOMIC.SEMACQUIRE sem 2 me 1000000");
        let _waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let replica = RealReplica::with_module(server);
        for write in [
            "ATOMIC.LOCK k you 1000 WAIT 0",
            "ATOMIC.LOCK free you 1000 SHARED WAIT 10",
            "ATOMIC.MLOCK you 1000 free",
            "ATOMIC.FENCE fence 7",
            "ATOMIC.SEMACQUIRE sem 2 you 1000 WAIT 0",
            "ATOMIC.SEMRELEASE sem me",
            "ATOMIC.SEMRENEW sem me 1000",
        ] {
            assert!(replica.server.run(write).error().starts_with("READONLY"), "{write}");
        }
        assert_eq!(owners(&replica.server, "k"), ["me"]);
        let info = replica.server.run("ATOMIC.LOCKINFO k");
        assert_eq!(info.field("waiters"), Some(Value::Integer(0)), "who waits is known to the primary only");
        assert_eq!(replica.server.run("ATOMIC.SEMINFO sem").field("in-use"), Some(Value::Integer(1)));
        // A writable one answers as if the time to wait was over.
        replica.server.run("CONFIG SET replica-read-only no");
        not_granted(&replica.server.run("ATOMIC.LOCK k you 1000 WAIT 0"));
        not_granted(&replica.server.run("ATOMIC.SEMACQUIRE sem 2 you 1000 PERMITS 2 WAIT 0"));
    });
}

/// How often the module has warned of eviction.
fn warnings(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("<atomic>") && line.contains("evict")).count()
}

#[test]
fn that_locks_can_be_evicted_is_said_once() {
    let table = [
        (Setup::with_module(), "CONFIG SET maxmemory 500mb maxmemory-policy allkeys-lru", 0),
        (Setup::with_module().config("maxmemory 500mb"), "CONFIG SET maxmemory-policy volatile-ttl", 0),
        (Setup::with_module().config("maxmemory-policy allkeys-random"), "CONFIG SET maxmemory 500mb", 0),
        (Setup::with_module().config("maxmemory 500mb").config("maxmemory-policy volatile-lru"), "PING", 1),
    ];
    for (setup, turned_on, before) in table {
        each_server_with(&setup, |server| {
            let lock = || {
                granted(&server.run("ATOMIC.LOCK k me 1000000"));
                server.run("ATOMIC.UNLOCK k me ALL");
            };
            lock();
            assert_eq!(warnings(server), before, "{setup:?}: {}", server.log());
            server.run(turned_on);
            lock();
            eventually("a warning", || (warnings(server) == 1).then_some(()));
            for again in [
                "CONFIG SET maxmemory-policy noeviction",
                "CONFIG SET maxmemory-policy allkeys-lru",
                "CONFIG SET maxmemory 600mb",
            ] {
                server.run(again);
                lock();
            }
            assert_eq!(warnings(server), 1, "{}", server.log());
        });
    }
}

#[test]
fn an_evicted_lock_is_handed_over() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let used: u64 = server.info("used_memory").parse().unwrap();
        server.run("CONFIG SET maxmemory-policy volatile-random");
        server.run(&format!("CONFIG SET maxmemory {used}"));
        // Locks are the only keys with a TTL: whoever writes now evicts them, one holder after the other.
        eventually("the holder is evicted", || {
            server.call(&["APPEND", "filler", &"x".repeat(10_000)]);
            waiter.connection().has_input(Duration::from_millis(1)).then_some(())
        });
        granted(&waiter.reply());
    });
}

#[test]
fn clients_that_come_and_go_leave_a_queue_that_works() {
    each_server(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        for _ in 0..20 {
            let gone = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k gone 1000000 WAIT 0 BIND");
            vanish(server, gone);
            await_waiters(server, "k", 0);
        }
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        granted(&waiter.reply());
    });
}
