//! Waiting for semaphores: one queue for large and small requests, permits released one by one or together, leases, MAXQUEUE.

use std::time::{Duration, Instant};

use super::{Grant, Waiter, await_nobody_blocked, in_one_write};
use crate::commands::{changes_nothing, integers};
use crate::support::{Server, Setup, Value, each_server, each_server_with, eventually};

const FOREIGN: &str = "WRONGTYPE key does not hold a semaphore (format SM1)";

/// The number of waiters for the semaphore `s`.
#[track_caller]
fn waiters(server: &Server) -> i64 {
    server.run("ATOMIC.SEMINFO s").field("waiters").map_or(0, |count| count.integer())
}

/// Queues `ATOMIC.SEMACQUIRE s <arguments>` as the n-th waiter.
#[track_caller]
fn queue(server: &Server, n: i64, arguments: &str) -> Waiter {
    let mut waiter = Waiter::send(server, &format!("ATOMIC.SEMACQUIRE s {arguments}"));
    // Or the reply is there: on a busy machine a short lease may end before.
    eventually(&format!("{n} wait"), || (waiters(server) == n || waiter.has_reply()).then_some(()));
    waiter
}

/// Acquires without waiting; the reply must be a grant.
#[track_caller]
fn acquire(server: &Server, arguments: &str) -> Grant {
    Grant::read(&server.run(&format!("ATOMIC.SEMACQUIRE s {arguments}")))
}

/// Asserts a denial with these permits in use and waiters. Returns retry-after-ms.
#[track_caller]
fn expect_denied(reply: &Value, in_use: i64, waiters: i64) -> i64 {
    assert!(matches!(reply, Value::Array(_)), "not a denial: {reply}");
    let numbers = integers(reply);
    let [0, 0, used, retry, others] = numbers[..] else { panic!("not a denial: {numbers:?}") };
    assert_eq!((used, others), (in_use, waiters), "permits in use and waiters of {numbers:?}");
    retry
}

#[track_caller]
fn release(server: &Server, arguments: &str, left: i64) {
    assert_eq!(server.run(&format!("ATOMIC.SEMRELEASE s {arguments}")), Value::Integer(left), "RELEASE {arguments}");
}

/// Owners and their permits.
#[track_caller]
fn owners(server: &Server) -> Vec<(String, i64)> {
    let info = server.run("ATOMIC.SEMINFO s");
    let read = |owner: &Value| (owner.array()[0].text(), owner.array()[1].integer());
    let mut owners: Vec<_> = info.field("owners").map_or_else(Vec::new, |owners| owners.array().iter().map(read).collect());
    owners.sort();
    owners
}

fn named(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected.iter().map(|&(owner, permits)| (owner.to_owned(), permits)).collect()
}

#[test]
fn a_released_permit_goes_to_the_longest_waiter() {
    each_server(|server| {
        let mut last = acquire(server, "2 a 60000").fence;
        let second = acquire(server, "2 b 60000");
        assert_eq!((second.in_use(), second.retry(), second.waiters), (2, 0, 0), "in use, retry, waiters");
        assert!(second.fence > last);
        last = second.fence;
        let mut waiting: Vec<Waiter> = (0..10).map(|n| queue(server, n + 1, &format!("2 w{n} 60000 WAIT 0"))).collect();
        let retry = expect_denied(&changes_nothing(server, "ATOMIC.SEMACQUIRE s 2 late 60000"), 2, 10);
        assert!((1..=60_000).contains(&retry), "{retry}");
        let mut next = ["a".to_owned(), "b".to_owned()].into_iter().chain((0..).map(|n| format!("w{n}")));
        for (n, waiter) in (0..).zip(&mut waiting) {
            assert!(!waiter.has_reply(), "w{n} before its turn");
            release(server, &next.next().unwrap(), 0);
            let grant = waiter.granted();
            assert_eq!((grant.in_use(), grant.retry(), grant.waiters), (2, 0, 9 - n));
            assert!(grant.fence > last, "{} after {last}", grant.fence);
            last = grant.fence;
        }
        assert_eq!(owners(server), named(&[("w8", 1), ("w9", 1)]));
        release(server, "w8", 0);
        release(server, "w9", 0);
        release(server, "w9", -1);
        assert_eq!(server.run("EXISTS s"), Value::Integer(0));
        await_nobody_blocked(server);
    });
}

#[test]
fn a_small_request_waits_after_a_large_one() {
    each_server(|server| {
        acquire(server, "4 a 60000 PERMITS 3");
        let mut large = queue(server, 1, "4 large 60000 PERMITS 4 WAIT 0");
        let mut small = queue(server, 2, "4 small 60000 WAIT 0");
        // One permit is always free.
        expect_denied(&changes_nothing(server, "ATOMIC.SEMACQUIRE s 4 late 60000"), 3, 2);
        release(server, "a PERMITS 2", 1);
        assert!(!large.has_reply() && !small.has_reply());
        for more in ["ADD", "PERMITS 2", "PERMITS 2 ADD"] {
            expect_denied(&changes_nothing(server, &format!("ATOMIC.SEMACQUIRE s 4 a 60000 {more}")), 1, 2);
        }
        release(server, "a", 0);
        let grant = large.granted();
        assert_eq!((grant.in_use(), grant.waiters), (4, 1));
        assert!(!small.has_reply(), "five permits of four");
        release(server, "large", 3);
        assert!(small.granted().fence > grant.fence);
        assert_eq!(owners(server), named(&[("large", 3), ("small", 1)]));
    });
}

#[test]
fn one_release_serves_all_waiters_that_fit() {
    each_server(|server| {
        acquire(server, "6 a 60000 PERMITS 6");
        let mut waiting = [
            queue(server, 1, "6 w0 60000 WAIT 0"),
            queue(server, 2, "6 w1 60000 PERMITS 2 WAIT 0"),
            queue(server, 3, "6 w2 60000 WAIT 0"),
            queue(server, 4, "6 w3 60000 PERMITS 2 WAIT 0"),
            queue(server, 5, "6 w4 60000 WAIT 0"),
        ];
        release(server, "a PERMITS 5", 1);
        let fences: Vec<i64> = waiting[..3].iter_mut().map(|waiter| waiter.granted().fence).collect();
        assert!(fences.windows(2).all(|pair| pair[0] < pair[1]), "{fences:?}");
        assert_eq!(owners(server), named(&[("a", 1), ("w0", 1), ("w1", 2), ("w2", 1)]));
        assert!(waiting[3..].iter_mut().all(|waiter| !waiter.has_reply()), "w4 fits, and is behind w3");
        release(server, "w1", 1);
        waiting[3].granted();
        assert_eq!(waiters(server), 1);
        release(server, "w3", 1);
        waiting[4].granted();
        assert_eq!(owners(server), named(&[("a", 1), ("w0", 1), ("w1", 1), ("w2", 1), ("w3", 1), ("w4", 1)]));
    });
}

/// Waits for a grant and asserts that it came at the end of the lease that began between `before` and `after`. Sends nothing meanwhile.
#[track_caller]
fn granted_at_the_end_of(lease: u64, before: Instant, after: Instant, waiter: &mut Waiter) -> Duration {
    waiter.granted();
    let now = Instant::now();
    let lease = Duration::from_millis(lease);
    assert!(now - before + Duration::from_millis(1) >= lease, "granted before the lease had ended");
    now.saturating_duration_since(after + lease)
}

#[test]
fn a_timer_hands_off_permits_whose_lease_ended() {
    each_server_with(&Setup::with_module().config("hz 1"), |server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        let mut late = Vec::new();
        // The server's cron runs once a second, so it does not hand off this soon. On a busy machine one of several tries must be prompt.
        while late.last().is_none_or(|late| *late >= Duration::from_millis(50)) {
            assert!(late.len() < 10, "late every time: {late:?}");
            server.run("DEL s");
            acquire(server, "2 stays 60000");
            let mut waiter;
            let before = Instant::now();
            acquire(server, "2 ends 60");
            let after = Instant::now();
            waiter = Waiter::send(server, "ATOMIC.SEMACQUIRE s 2 w 60000 WAIT 0");
            late.push(granted_at_the_end_of(60, before, after, &mut waiter));
            assert_eq!(owners(server), named(&[("stays", 1), ("w", 1)]), "the key lives on, the permit does not");
        }
    });
}

#[test]
fn a_ttl_of_the_key_ends_permits_early_and_never_late() {
    each_server_with(&Setup::with_module().config("hz 1"), |server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        for (lease, change, end) in [(60_000, "PEXPIRE s 70", 70), (150, "PERSIST s", 150), (150, "PEXPIRE s 60000", 150)] {
            let before = Instant::now();
            acquire(server, &format!("1 a {lease}"));
            let mut waiter = queue(server, 1, "1 w 60000 WAIT 0");
            server.run(change);
            granted_at_the_end_of(end, before, Instant::now(), &mut waiter);
            assert!((50_000..=60_000).contains(&server.run("PTTL s").integer()), "{change}: the TTL is the new lease");
            server.run("DEL s");
        }
    });
}

#[test]
fn a_renewal_moves_the_hand_off_both_ways() {
    each_server(|server| {
        acquire(server, "1 a 60000");
        let mut waiter = queue(server, 1, "1 w 60000 WAIT 0");
        let before = Instant::now();
        assert_eq!(server.run("ATOMIC.SEMRENEW s a 40"), Value::Integer(40));
        granted_at_the_end_of(40, before, Instant::now(), &mut waiter);
        assert_eq!(server.run("ATOMIC.SEMRENEW s a 40"), Value::Integer(-1));
        release(server, "w", 0);
        acquire(server, "1 b 300");
        let mut waiter = queue(server, 1, "1 next 60000 WAIT 0");
        let before = Instant::now();
        assert_eq!(server.run("ATOMIC.SEMRENEW s b 500"), Value::Integer(500));
        granted_at_the_end_of(500, before, Instant::now(), &mut waiter);
    });
}

#[test]
fn commands_that_free_the_key_hand_all_permits_off() {
    each_server(|server| {
        for free in ["DEL s", "UNLINK s", "FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1", "RENAME s other", "PEXPIRE s 1", "MOVE s 1"]
        {
            acquire(server, "2 a 60000 PERMITS 2");
            let mut waiting = [queue(server, 1, "2 w0 60000 WAIT 0"), queue(server, 2, "2 w1 60000 WAIT 0")];
            let mut third = queue(server, 3, "2 w2 60000 WAIT 0");
            server.connect().run(free);
            for waiter in &mut waiting {
                waiter.granted();
            }
            assert_eq!(owners(server), named(&[("w0", 1), ("w1", 1)]), "{free}");
            assert!(!third.has_reply(), "{free}: three permits of two");
            // A removed member is not a release, and still a permit is free.
            let members = server.run("ZRANGE s 0 -1");
            server.call(&[b"ZREM", &b"s"[..], members.array()[0].bytes()]);
            third.granted();
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn a_foreign_value_at_the_key_ends_the_wait_with_an_error() {
    each_server(|server| {
        for (way, error) in [
            (["MULTI", "DEL s", "SET s v", "EXEC"], crate::commands::WRONGTYPE),
            (["MULTI", "DEL s", "ZADD s 1 v", "EXEC"], FOREIGN),
            (["ZADD z 1 v", "PING", "RENAME z s", "PING"], FOREIGN),
            (["RPUSH l v", "PING", "COPY l s REPLACE", "PING"], crate::commands::WRONGTYPE),
        ] {
            acquire(server, "1 a 60000");
            let mut waiting = [queue(server, 1, "1 w0 60000 WAIT 0"), queue(server, 2, "1 w1 60000 WAIT 0")];
            in_one_write(&mut server.connect(), &way);
            for waiter in &mut waiting {
                assert_eq!(waiter.reply(), Value::Error(error.to_owned()), "{way:?}");
                waiter.expect_nothing_more();
            }
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn a_waiter_that_times_out_makes_way_for_the_small_request_after_it() {
    each_server(|server| {
        acquire(server, "2 a 60000");
        let started = Instant::now();
        let mut large = queue(server, 1, "2 large 60000 PERMITS 2 WAIT 150");
        let mut small = queue(server, 2, "2 small 60000 WAIT 0");
        let retry = expect_denied(&large.reply(), 1, 1);
        assert!((1..=60_000).contains(&retry), "{retry}");
        assert!(started.elapsed() >= Duration::from_millis(149), "it did not wait");
        assert_eq!(small.granted().in_use(), 2);
        assert_eq!(owners(server), named(&[("a", 1), ("small", 1)]));
    });
}

#[test]
fn every_way_of_leaving_makes_way_for_the_next() {
    each_server(|server| {
        for way in ["close", "CLIENT KILL ID", "CLIENT UNBLOCK", "CLIENT UNBLOCK ERROR"] {
            acquire(server, "2 a 60000");
            let mut connection = server.connect();
            let id = super::client_id(&mut connection);
            let mut large = Waiter::on(connection, "ATOMIC.SEMACQUIRE s 2 large 60000 PERMITS 2 WAIT 0");
            eventually("it waits", || (waiters(server) == 1).then_some(()));
            let mut small = queue(server, 2, "2 small 60000 WAIT 0");
            match way {
                "close" => drop(large),
                "CLIENT KILL ID" => assert_eq!(server.run(&format!("{way} {id}")), Value::Integer(1)),
                "CLIENT UNBLOCK" => {
                    assert_eq!(server.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
                    expect_denied(&large.reply(), 1, 1);
                }
                _ => {
                    assert_eq!(server.run(&format!("CLIENT UNBLOCK {id} ERROR")), Value::Integer(1));
                    assert!(large.reply().error().starts_with("UNBLOCKED "));
                }
            }
            small.granted();
            assert_eq!(owners(server), named(&[("a", 1), ("small", 1)]), "{way}");
            server.run("DEL s");
        }
    });
}

#[test]
fn maxqueue_and_too_many_permits_are_denied_at_once() {
    each_server(|server| {
        let too_many = "ATOMIC.SEMACQUIRE s 2 late 60000 PERMITS 3 WAIT 0";
        assert_eq!(expect_denied(&changes_nothing(server, too_many), 0, 0), -1, "it never fits");
        acquire(server, "2 a 60000 PERMITS 2");
        assert_eq!(expect_denied(&changes_nothing(server, too_many), 2, 0), -1);
        let _waiting = [queue(server, 1, "2 w0 60000 WAIT 0 MAXQUEUE 1"), queue(server, 2, "2 w1 60000 WAIT 0 MAXQUEUE 2")];
        for bound in [1, 2] {
            let command = format!("ATOMIC.SEMACQUIRE s 2 late 60000 WAIT 0 MAXQUEUE {bound}");
            let retry = expect_denied(&changes_nothing(server, &command), 2, 2);
            assert!(retry > 0, "{retry}");
        }
        queue(server, 3, "2 w2 60000 WAIT 0 MAXQUEUE 3");
    });
}

#[test]
fn where_blocking_is_not_allowed_a_semaphore_replies_at_once() {
    let script = "return redis.call('ATOMIC.SEMACQUIRE', KEYS[1], '1', 'late', '60000', 'WAIT', '0')";
    each_server(|server| {
        acquire(server, "1 a 60000");
        let _waiting = queue(server, 1, "1 w 60000 WAIT 0");
        let replies = in_one_write(&mut server.connect(), &["MULTI", "ATOMIC.SEMACQUIRE s 1 late 60000 WAIT 0", "EXEC"]);
        expect_denied(&replies[2].array()[0], 1, 1);
        for name in ["EVAL", "ATOMIC.EVAL"] {
            expect_denied(&server.call(&[name, script, "1", "s"]), 1, 1);
            Grant::read(&server.call(&[name, script, "1", &format!("free-{name}")]));
        }
    });
}

#[test]
fn an_owner_that_lacks_no_permit_passes_the_waiters() {
    each_server(|server| {
        acquire(server, "4 a 60000 PERMITS 2");
        acquire(server, "4 b 60000 PERMITS 2");
        let mut waiter = queue(server, 1, "4 w 60000 PERMITS 3 WAIT 0");
        for options in ["", "PERMITS 2", "WAIT 0", "PERMITS 2 WAIT 0 MAXQUEUE 1"] {
            let again = Grant::read(&changes_nothing(server, &format!("ATOMIC.SEMACQUIRE s 4 a 1 {options}")));
            assert_eq!((again.in_use(), again.waiters), (4, 1), "{options}");
        }
        release(server, "b", 1);
        // One that lacks some queues, even if there is room for it.
        let mut more = queue(server, 2, "4 a 60000 PERMITS 3 WAIT 0");
        release(server, "b", 0);
        assert!(!waiter.has_reply() && !more.has_reply());
        release(server, "a", 1);
        assert_eq!(waiter.granted().in_use(), 4);
        assert!(!more.has_reply());
        // It has one now and lacks two.
        release(server, "w", 2);
        assert!(!more.has_reply());
        release(server, "w", 1);
        assert_eq!(more.granted().in_use(), 4);
        assert_eq!(owners(server), named(&[("a", 3), ("w", 1)]));
        await_nobody_blocked(server);
    });
}

#[test]
fn a_waiter_for_missing_permits_is_not_served_by_the_end_of_its_own_lease() {
    each_server(|server| {
        acquire(server, "3 a 100 PERMITS 2");
        let before = Instant::now();
        acquire(server, "3 b 400");
        let after = Instant::now();
        let mut waiter = queue(server, 1, "3 a 60000 PERMITS 3 WAIT 0");
        granted_at_the_end_of(400, before, after, &mut waiter);
        assert_eq!(owners(server), named(&[("a", 3)]));
    });
}
