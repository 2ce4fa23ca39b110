//! One place in a queue per owner: a repeated request takes it over, and it is kept for `line-grace-ms` after its connection closed.

use super::{Grant, Waiter, await_nobody_blocked, await_waiters, client_id, expect_denied, in_one_write, owners, take, unlock};
use crate::support::{Server, Value, each_server, each_server_that_unloads, eventually};

/// Closes a waiting connection, and waits until the server has `left` blocked clients.
#[track_caller]
fn vanish(server: &Server, waiter: Waiter, left: usize) {
    drop(waiter);
    await_blocked(server, left);
}

#[track_caller]
fn await_blocked(server: &Server, count: usize) {
    eventually(&format!("{count} blocked clients"), || (server.info("blocked_clients") == count.to_string()).then_some(()));
}

fn taken_over(server: &Server) -> i64 {
    let info = server.run("INFO everything").text();
    let line = info.lines().find_map(|line| line.strip_prefix("atomic_locks_places_taken_over:"));
    line.expect("the figure").parse().unwrap()
}

fn wait(owner: &str) -> String {
    format!("ATOMIC.LOCK k {owner} 60000 WAIT 0")
}

/// Whether the queue of `k`, in which `count` clients wait, has another place.
fn has_vacant_place(server: &Server, count: usize) -> bool {
    let mut probe = Waiter::send(server, &format!("ATOMIC.LOCK k probe 60000 WAIT 0 MAXQUEUE {}", count + 1));
    let blocked = |server: &Server| server.info("blocked_clients") == (count + 1).to_string();
    eventually("the probe is answered or blocked", || (probe.has_reply() || blocked(server)).then_some(()));
    let denied = probe.has_reply();
    if !denied {
        let id = server.run("CLIENT LIST").text().lines().rfind(|line| line.contains("flags=b")).map(str::to_owned).unwrap();
        let id = id.split([' ', '=']).nth(1).unwrap().to_owned();
        server.run(&format!("CLIENT UNBLOCK {id}"));
        probe.reply();
    }
    denied
}

#[test]
fn a_resent_request_finds_its_place_after_its_connection_closed() {
    each_server(|server| {
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        vanish(server, first, 1);
        let mut again = Waiter::queued(server, "k", 2, &wait("a"));
        unlock(server, "k", "me");
        again.granted();
        assert!(!second.has_reply());
        unlock(server, "k", "a");
        second.granted();
        assert_eq!(taken_over(server), 1);
    });
}

#[test]
fn a_repeated_request_takes_the_place_over_and_the_earlier_one_is_denied_at_once() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        let mut again = Waiter::send(server, &wait("a"));
        first.denied(1);
        await_waiters(server, "k", 2);
        first.expect_nothing_more();
        // A third one takes over again. The earlier connection closes afterwards, which changes nothing.
        let mut third = Waiter::send(server, &wait("a"));
        again.denied(1);
        await_waiters(server, "k", 2);
        drop((first, again));
        unlock(server, "k", "me");
        third.granted();
        assert!(!second.has_reply());
        assert_eq!((taken_over(server), owners(server, "k")), (2, vec!["a".to_owned()]));
    });
}

#[test]
fn a_vacant_place_is_passed_over_for_grants() {
    each_server(|server| {
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        vanish(server, first, 1);
        unlock(server, "k", "me");
        second.granted();
        // Nobody is left but the vacant place: the lock is simply free, and a newcomer gets it at once.
        unlock(server, "k", "b");
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        take(server, "k late 60000");
        // The owner of the place finds it, before those who came later.
        let mut third = Waiter::queued(server, "k", 1, &wait("c"));
        let mut again = Waiter::queued(server, "k", 2, &wait("a"));
        unlock(server, "k", "late");
        again.granted();
        assert!(!third.has_reply());
    });
}

#[test]
fn a_vacant_place_ends_after_the_grace_time() {
    each_server(|server| {
        for (grace, options) in [("0", "WAIT 0"), ("50", "WAIT 0"), ("60000", "WAIT 50")] {
            server.run(&format!("CONFIG SET atomic.line-grace-ms {grace}"));
            take(server, "k me 60000");
            let mut long = Waiter::queued(server, "k", 1, &wait("b"));
            let first = Waiter::queued(server, "k", 2, &format!("ATOMIC.LOCK k a 60000 {options}"));
            vanish(server, first, 1);
            eventually("the place has ended", || (!has_vacant_place(server, 1)).then_some(()));
            let mut third = Waiter::queued(server, "k", 2, &wait("c"));
            let mut again = Waiter::queued(server, "k", 3, &wait("a"));
            unlock(server, "k", "me");
            for (owner, waiter) in [("b", &mut long), ("c", &mut third), ("a", &mut again)] {
                waiter.granted();
                unlock(server, "k", owner);
            }
        }
        server.run("CONFIG SET atomic.line-grace-ms 2000");
    });
}

#[test]
fn a_vacant_place_keeps_no_timer_after_it_has_ended() {
    each_server_that_unloads(|server| {
        server.run("CONFIG SET atomic.line-grace-ms 50");
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        vanish(server, first, 0);
        // A timer would prevent the unload.
        eventually("the module unloads", || (server.run("MODULE UNLOAD atomic") == Value::ok()).then_some(()));
    });
}

#[test]
fn maxqueue_counts_vacant_places_and_never_refuses_an_owner_its_own() {
    each_server(|server| {
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        let _second = Waiter::queued(server, "k", 2, &wait("b"));
        vanish(server, first, 1);
        expect_denied(&server.run("ATOMIC.LOCK k c 60000 WAIT 0 MAXQUEUE 2"), 1);
        let mut again = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k a 60000 WAIT 0 MAXQUEUE 1");
        unlock(server, "k", "me");
        again.granted();
    });
}

#[test]
fn a_request_that_takes_a_place_over_has_its_own_mode_lease_and_deadline() {
    each_server(|server| {
        // A reader holds. A writer waits, and a reader after it.
        take(server, "k me 60000 SHARED");
        let mut writer = Waiter::queued(server, "k", 1, &wait("a"));
        let mut reader = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k b 60000 WAIT 0 SHARED");
        // The writer becomes a reader: it is granted at once, and so is the reader after it.
        let grant = take(server, "k a 30000 WAIT 0 SHARED");
        assert!((29_000..=30_000).contains(&grant.ttl()), "{grant:?}");
        writer.denied(0);
        reader.granted();
        assert_eq!(owners(server, "k"), ["me", "a", "b"]);
        server.run("DEL k");
        // A wait without an end gets one.
        take(server, "k me 60000");
        let mut endless = Waiter::queued(server, "k", 1, &wait("a"));
        expect_denied(&server.run("ATOMIC.LOCK k a 60000 WAIT 20"), 0);
        endless.denied(0);
        await_nobody_blocked(server);
        // A reader becomes a writer: the readers after it wait with it.
        server.run("DEL k");
        take(server, "k me 60000");
        let mut first = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k a 60000 WAIT 0 SHARED");
        let mut second = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k b 60000 WAIT 0 SHARED");
        let mut again = Waiter::send(server, &wait("a"));
        first.denied(1);
        await_waiters(server, "k", 2);
        unlock(server, "k", "me");
        again.granted();
        assert!(!second.has_reply());
        assert_eq!(owners(server, "k"), ["a"]);
        unlock(server, "k", "a");
        second.granted();
    });
}

#[test]
fn a_request_without_wait_is_answered_and_the_place_stays() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        expect_denied(&server.run("ATOMIC.LOCK k a 60000"), 2);
        let mut connection = server.connect();
        let replies = in_one_write(&mut connection, &["MULTI", "ATOMIC.LOCK k a 60000 WAIT 0", "EXEC"]);
        expect_denied(&replies[2].array()[0], 2);
        let script = "return redis.call('ATOMIC.LOCK', KEYS[1], 'a', 60000, 'WAIT', 0)";
        expect_denied(&server.call(&["EVAL", script, "1", "k"]), 2);
        assert!(!first.has_reply());
        // A vacant place stays, too.
        let connection = std::mem::replace(&mut first, Waiter::on(server.connect(), "PING"));
        vanish(server, connection, 1);
        expect_denied(&server.run("ATOMIC.LOCK k a 60000"), 1);
        let mut again = Waiter::queued(server, "k", 2, &wait("a"));
        unlock(server, "k", "me");
        again.granted();
        assert!(!second.has_reply());
        assert_eq!(taken_over(server), 1);
    });
}

#[test]
fn only_a_closed_connection_leaves_a_place() {
    each_server(|server| {
        take(server, "k me 60000");
        let _other = Waiter::queued(server, "k", 1, &wait("b"));
        for how in ["TIMEOUT", "ERROR", "time", "KILL"] {
            let mut connection = server.connect();
            let id = client_id(&mut connection);
            let command = if how == "time" { "ATOMIC.LOCK k a 60000 WAIT 20".to_owned() } else { wait("a") };
            let mut waiter = Waiter::on(connection, &command);
            match how {
                "time" => drop(waiter.reply()),
                "KILL" => {
                    await_blocked(server, 2);
                    server.run(&format!("CLIENT KILL ID {id}"));
                    await_blocked(server, 1);
                }
                _ => {
                    await_blocked(server, 2);
                    assert_eq!(server.run(&format!("CLIENT UNBLOCK {id} {how}")), Value::Integer(1));
                    waiter.reply();
                }
            }
            assert_eq!(has_vacant_place(server, 1), how == "KILL", "{how}");
        }
    });
}

#[test]
fn a_drain_ends_all_places() {
    each_server(|server| {
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        vanish(server, first, 1);
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(1));
        second.denied(0);
        assert_eq!(server.run("ATOMIC.DRAIN OFF"), Value::Integer(0));
        let mut third = Waiter::queued(server, "k", 1, &wait("c"));
        let mut again = Waiter::queued(server, "k", 2, &wait("a"));
        unlock(server, "k", "me");
        third.granted();
        assert!(!again.has_reply());
    });
}

#[test]
fn places_belong_to_a_key_a_database_and_a_kind() {
    each_server(|server| {
        let places = [("k", 0), ("l", 0), ("k", 1)];
        let connect = |db: i64| {
            let mut connection = server.connect();
            connection.run(&format!("SELECT {db}"));
            connection
        };
        let mut waiters = Vec::new();
        for (key, db) in places {
            Grant::read(&connect(db).run(&format!("ATOMIC.LOCK {key} me 60000")));
            waiters.push(Waiter::on(connect(db), &format!("ATOMIC.LOCK {key} a 60000 WAIT 0")));
            await_blocked(server, waiters.len());
        }
        Grant::read(&server.run("ATOMIC.SEMACQUIRE s 1 me 60000"));
        waiters.push(Waiter::send(server, "ATOMIC.SEMACQUIRE s 1 a 60000 WAIT 0"));
        await_blocked(server, 4);
        assert_eq!(taken_over(server), 0);
        for ((key, db), waiter) in places.into_iter().zip(&mut waiters) {
            assert!(!waiter.has_reply());
            assert_eq!(connect(db).run(&format!("ATOMIC.UNLOCK {key} me")), Value::Integer(0));
            waiter.granted();
        }
    });
}

#[test]
fn a_resent_request_for_permits_finds_its_place() {
    each_server(|server| {
        let wait = |owner: &str, permits: u32| format!("ATOMIC.SEMACQUIRE s 3 {owner} 60000 PERMITS {permits} WAIT 0");
        Grant::read(&server.run("ATOMIC.SEMACQUIRE s 3 me 60000 PERMITS 2"));
        let large = Waiter::send(server, &wait("a", 3));
        await_blocked(server, 1);
        let mut small = Waiter::send(server, &wait("b", 1));
        await_blocked(server, 2);
        // The vacant place is passed over, so the small request is granted the free permit.
        vanish(server, large, 0);
        assert_eq!(small.granted().in_use(), 3);
        let mut again = Waiter::send(server, &wait("a", 3));
        await_blocked(server, 1);
        let mut third = Waiter::send(server, &wait("c", 1));
        await_blocked(server, 2);
        // The owner asks for less and is granted at once when it is its turn.
        assert_eq!(server.run("ATOMIC.SEMRELEASE s b"), Value::Integer(0));
        assert!(!third.has_reply());
        let grant = Grant::read(&server.run(&wait("a", 1)));
        assert_eq!(grant.in_use(), 3);
        assert_eq!(again.reply().array()[0], Value::Integer(0), "the earlier request for three");
        assert!(!third.has_reply());
    });
}

#[test]
fn a_demoted_server_keeps_no_places() {
    each_server(|server| {
        take(server, "k me 60000");
        let first = Waiter::queued(server, "k", 1, &wait("a"));
        let mut second = Waiter::queued(server, "k", 2, &wait("b"));
        vanish(server, first, 1);
        server.run("REPLICAOF 127.0.0.1 1");
        second.reply_or_close();
        assert_eq!(server.run("REPLICAOF NO ONE"), Value::ok());
        let mut third = Waiter::queued(server, "k", 1, &wait("c"));
        let mut again = Waiter::queued(server, "k", 2, &wait("a"));
        unlock(server, "k", "me");
        third.granted();
        assert!(!again.has_reply());
    });
}
