//! Fences grow strictly over grants of every kind, restarts and failovers. The tests also cover the one assumption behind that, and that
//! nothing permanent is stored for it.

use super::Waiter;
use crate::commands::{integers, micros};
use crate::support::locks::{LATER, close, fence, granted, not_granted, stored};
use crate::support::{RealReplica, Server, Setup, Value, each_server, each_server_with, eventually};

/// Fences in the order in which they were issued.
struct Issued(i64);

impl Issued {
    fn none() -> Self {
        Self(0)
    }

    /// The fence of a grant, which must be above all earlier fences.
    #[track_caller]
    fn next(&mut self, reply: &Value) -> i64 {
        let fence = granted(reply);
        assert!(fence > self.0, "fence {fence} after {}", self.0);
        self.0 = fence;
        fence
    }
}

/// A fence that is an hour ahead of the server's clock.
fn ahead(server: &Server) -> i64 {
    micros(&mut server.connect()) + 3_600_000_000
}

/// Stores a lock of `you` with this fence.
#[track_caller]
fn place(server: &Server, key: &str, fence: i64, deadline: i64) {
    let fence = fence.cast_unsigned();
    let state = stored(0, fence, &[(b"you", 1, deadline, fence)]);
    assert_eq!(server.call(&[b"SET", key.as_bytes(), &state]), Value::ok());
}

#[test]
fn fences_grow_over_grants_of_every_kind() {
    each_server(|server| {
        let mut issued = Issued::none();
        for _ in 0..3 {
            let first = issued.next(&server.run("ATOMIC.LOCK k me 1000000"));
            assert_eq!(granted(&server.run("ATOMIC.LOCK k me 1000000")), first, "acquiring again");
            let counted = granted(&server.run("ATOMIC.LOCK k me 1000000 REENTRANT"));
            assert_eq!(counted, first, "REENTRANT");
            let readers = ["a", "b"].map(|owner| issued.next(&server.run(&format!("ATOMIC.LOCK shared {owner} 1000000 SHARED"))));
            assert_eq!(granted(&server.run("ATOMIC.LOCK shared a 1000000 SHARED")), readers[0], "a reader that acquires again");
            assert_eq!(fence(server, "shared"), readers[1], "the highest one is shown");
            server.run("ATOMIC.UNLOCK shared a");
            let upgraded = issued.next(&server.run("ATOMIC.LOCK shared b 1000000"));
            assert_eq!(fence(server, "shared"), upgraded, "an upgrade");
            let both = issued.next(&server.run("ATOMIC.MLOCK me 1000000 {m}a {m}b"));
            assert_eq!([fence(server, "{m}a"), fence(server, "{m}b")], [both; 2]);
            issued.next(&server.run("ATOMIC.SEMACQUIRE sem 5 a 1000000"));
            issued.next(&server.run("ATOMIC.SEMACQUIRE sem 5 a 1000000 PERMITS 2"));
            let mut connection = server.connect();
            connection.run("MULTI");
            for n in 0..5 {
                connection.run(&format!("ATOMIC.LOCK t{n} me 1000000"));
                connection.run(&format!("ATOMIC.SEMACQUIRE tsem{n} 5 me 1000000 BIND"));
            }
            for reply in connection.run("EXEC").array() {
                issued.next(reply);
            }
            let script =
                "return {redis.call('ATOMIC.LOCK', KEYS[1], 'a', 1000)[2], redis.call('ATOMIC.LOCK', KEYS[2], 'a', 1000)[2]}";
            for eval in ["EVAL", "ATOMIC.EVAL"] {
                let fences = integers(&server.call(&[eval, script, "2", "{s}a", "{s}b"]));
                assert!(issued.0 < fences[0] && fences[0] < fences[1], "{eval}: {fences:?} after {}", issued.0);
                issued.0 = fences[1];
                server.run("DEL {s}a {s}b");
            }
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn fences_grow_over_hand_overs_in_the_order_of_the_queue() {
    each_server(|server| {
        let mut issued = Issued::none();
        let mut holder = server.connect();
        issued.next(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        let options = ["", "SHARED", "SHARED", "", "SHARED", ""];
        let mut waiters: Vec<Waiter> = (1..)
            .zip(options)
            .map(|(n, option)| Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k w{n} 1000000 WAIT 0 {option}")))
            .collect();
        close(server, holder);
        issued.next(&waiters[0].reply());
        server.run("ATOMIC.UNLOCK k w1");
        let readers = [issued.next(&waiters[1].reply()), issued.next(&waiters[2].reply())];
        assert_eq!(fence(server, "k"), readers[1]);
        server.run("ATOMIC.LOCKRENEW k w2 10");
        server.run("ATOMIC.LOCKRENEW k w3 10");
        issued.next(&waiters[3].reply());
        server.run("DEL k");
        issued.next(&waiters[4].reply());
        // Other locks are granted in between.
        issued.next(&server.run("ATOMIC.LOCK other me 1000000"));
        server.run("FLUSHALL");
        issued.next(&waiters[5].reply());
    });
}

#[test]
fn fences_grow_over_restarts_and_failovers() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let mut issued = Issued::none();
        let restarts: [&dyn Fn(); 2] = [&|| server.kill_9(), &|| server.shut_down("")];
        for stop in restarts {
            issued.next(&server.run("ATOMIC.LOCK free me 1000000"));
            server.run("ATOMIC.UNLOCK free me");
            let held = issued.next(&server.run("ATOMIC.LOCK held me 1000000"));
            stop();
            server.start_again();
            assert_eq!(granted(&server.run("ATOMIC.LOCK held me 1000000")), held, "the same ownership");
            issued.next(&server.run("ATOMIC.LOCK free me 1000000"));
            issued.next(&server.run("ATOMIC.SEMACQUIRE sem 9 me 1000000"));
            server.run("FLUSHALL");
        }
        let replica = RealReplica::with_module(server);
        issued.next(&server.run("ATOMIC.LOCK free me 1000000"));
        server.run("ATOMIC.UNLOCK free me");
        replica.await_sync();
        server.kill_9();
        assert_eq!(replica.server.run("REPLICAOF NO ONE"), Value::ok());
        issued.next(&replica.server.run("ATOMIC.LOCK other me 1000000"));
        issued.next(&replica.server.run("ATOMIC.LOCK free me 1000000"));
    });
}

#[test]
fn the_next_fence_is_above_a_fence_ahead_of_the_clock_wherever_it_was_seen() {
    each_server(|server| {
        let first = ahead(server);
        // Seen by the waiter that acquires the lock.
        place(server, "k", first, LATER);
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k me 1000000 WAIT 0");
        assert_eq!(server.run("ATOMIC.UNLOCK k you"), Value::Integer(0));
        assert_eq!(granted(&waiter.reply()), first + 1);
        // Then every other key and command continues above it, although no key holds it any more.
        server.run("FLUSHALL");
        assert_eq!(granted(&server.run("ATOMIC.LOCK other me 1000000")), first + 2);
        assert_eq!(granted(&server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000")), first + 3);
        assert_eq!(granted(&server.run("ATOMIC.MLOCK me 1000000 {m}a {m}b")), first + 4);
        // Seen by MLOCK, and by a reader.
        server.run("FLUSHDB");
        place(server, "{m}b", first + 200, 1);
        assert_eq!(granted(&server.run("ATOMIC.MLOCK me 1000000 {m}a {m}b")), first + 201);
        place(server, "k", first + 300, 1);
        assert_eq!(granted(&server.run("ATOMIC.LOCK k me 1000000 SHARED")), first + 301);
        // Seen by commands that read it and grant nothing.
        for (read, seen) in
            ["LOCK k me 1000", "MLOCK me 1000 k", "UNLOCK k me", "LOCKRENEW k me 1000", "LOCKINFO k"].iter().zip(1..)
        {
            let seen = first + 1000 * seen;
            place(server, "k", seen, LATER);
            server.run(&format!("ATOMIC.{read}"));
            server.run("DEL k free");
            assert_eq!(granted(&server.run("ATOMIC.LOCK free me 1000000")), seen + 1, "{read}");
        }
    });
}

#[test]
fn after_a_restart_a_fence_ahead_of_the_clock_counts_again_when_it_is_seen() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let far = ahead(server);
        place(server, "k", far, LATER);
        not_granted(&server.run("ATOMIC.LOCK k me 1000"));
        assert_eq!(granted(&server.run("ATOMIC.LOCK other me 1000000")), far + 1);
        server.run("ATOMIC.UNLOCK other me");
        server.kill_9();
        server.start_again();
        // The edge of the guarantee: far + 1 was issued, no key stores it, and the clock is behind it.
        let mut connection = server.connect();
        let before = micros(&mut connection);
        let unseen = granted(&server.run("ATOMIC.LOCK other me 1000000"));
        assert!((before..=micros(&mut connection)).contains(&unseen), "not the clock: {unseen}");
        assert!(unseen < far);
        // Reading the lock that still exists is enough.
        server.run("ATOMIC.LOCKINFO k");
        assert_eq!(granted(&server.run("ATOMIC.LOCK third me 1000000")), far + 1);
    });
}

#[test]
fn on_a_new_primary_a_fence_ahead_of_the_clock_counts_when_it_is_seen() {
    each_server(|server| {
        let far = ahead(server);
        place(server, "k", far, LATER);
        let replica = RealReplica::with_module(server);
        replica.await_sync();
        assert_eq!(replica.server.run("REPLICAOF NO ONE"), Value::ok());
        let mut waiter = Waiter::queued(&replica.server, "k", 1, "ATOMIC.LOCK k me 1000000 WAIT 0");
        assert_eq!(replica.server.run("ATOMIC.UNLOCK k you"), Value::Integer(0));
        assert_eq!(granted(&waiter.reply()), far + 1);
    });
}

#[test]
fn fences_leave_no_keys() {
    each_server(|server| {
        let mut issued = Issued::none();
        for key in ["a", "b"] {
            issued.next(&server.run(&format!("ATOMIC.LOCK {key} me 1000000")));
            let mut waiters = [1, 2].map(|n| Waiter::queued(server, key, n, &format!("ATOMIC.LOCK {key} w{n} 1000000 WAIT 0")));
            server.run(&format!("ATOMIC.UNLOCK {key} me"));
            issued.next(&waiters[0].reply());
            server.run(&format!("ATOMIC.UNLOCK {key} w1"));
            issued.next(&waiters[1].reply());
            server.run(&format!("ATOMIC.UNLOCK {key} w2"));
        }
        issued.next(&server.run("ATOMIC.LOCK shared a 1000000 SHARED"));
        issued.next(&server.run("ATOMIC.LOCK shared b 20 SHARED"));
        server.run("ATOMIC.UNLOCK shared a");
        issued.next(&server.run("ATOMIC.MLOCK me 20 {m}a {m}b"));
        issued.next(&server.run("ATOMIC.SEMACQUIRE sem 5 a 1000000 PERMITS 2"));
        issued.next(&server.run("ATOMIC.SEMACQUIRE sem 5 b 20"));
        server.run("ATOMIC.SEMRELEASE sem a PERMITS 2");
        let mut holder = server.connect();
        issued.next(&holder.run("ATOMIC.LOCK bound me 1000000 BIND"));
        close(server, holder);
        eventually("every key is gone", || (server.run("DBSIZE") == Value::Integer(0)).then_some(()));
    });
}

#[test]
fn a_hostile_fence_blocks_neither_its_queue_nor_others() {
    let highest = 1_i64 << 62;
    each_server(|server| {
        for crafted in [highest, highest - 1, highest / 2 + 1] {
            place(server, "k", crafted, LATER);
            let mut waiters = [1, 2].map(|n| Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k w{n} 1000000 WAIT 0")));
            assert!(granted(&server.run("ATOMIC.LOCK other me 1000000")) < 1 << 52, "one key exhausts the fences of all");
            server.run("DEL other");
            server.run("ATOMIC.UNLOCK k you");
            for (waiter, owner) in waiters.iter_mut().zip(["w1", "w2"]) {
                // There is no fence above the highest: then the reply is an error, not an endless wait.
                match waiter.reply() {
                    Value::Error(text) => assert!(text.starts_with("WRONGTYPE") && crafted >= highest - 1, "{crafted}: {text}"),
                    reply => {
                        assert!(granted(&reply) > crafted || crafted == highest, "{reply} after {crafted}");
                        assert_eq!(server.run(&format!("ATOMIC.UNLOCK k {owner}")), Value::Integer(0));
                    }
                }
            }
            server.run("DEL k");
            assert!(granted(&server.run("ATOMIC.LOCK k me 1000000")) < 1 << 52);
            server.run("DEL k");
        }
    });
}

#[test]
fn a_damaged_fence_is_refused_and_unblocks_waiters() {
    let beyond = (1_u64 << 62) + 1;
    let damaged = [
        stored(0, beyond, &[(b"you", 1, LATER, 7)]),
        stored(0, 7, &[(b"you", 1, LATER, beyond)]),
        stored(0, u64::MAX, &[(b"you", 1, LATER, u64::MAX)]),
        stored(1, 7, &[(b"you", 1, LATER, 7), (b"me", 1, LATER, beyond)]),
    ];
    const REFUSAL: &str = "WRONGTYPE key does not hold a lock (format LK1)";
    each_server(|server| {
        for state in &damaged {
            server.run("ATOMIC.LOCK k you 1000000");
            let mut waiters = [1, 2].map(|n| Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k w{n} 1000000 WAIT 0")));
            server.call(&[b"SET", &b"k"[..], state]);
            for waiter in &mut waiters {
                assert_eq!(waiter.reply(), Value::Error(REFUSAL.to_owned()));
            }
            for attempt in ["LOCK k me 1000 WAIT 0", "MLOCK me 1000 k", "UNLOCK k you", "LOCKRENEW k you 1000", "LOCKINFO k"] {
                assert_eq!(server.run(&format!("ATOMIC.{attempt}")), Value::Error(REFUSAL.to_owned()), "{attempt}");
            }
            assert_eq!(server.run("GET k"), Value::bulk(state), "a foreign value stays unchanged");
            server.run("DEL k");
            assert!(granted(&server.run("ATOMIC.LOCK k me 1000000")) < 1 << 52);
            server.run("DEL k");
        }
    });
}
