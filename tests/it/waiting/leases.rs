//! Leases and TTLs that run out: the module's own timer hands the lock off at that moment and not before.
//!
//! The server's cron runs once a second here and does not expire keys, and no client sends anything between the last command and the
//! reply: within the first milliseconds after the end only the timer acts.

use std::time::{Duration, Instant};

use super::{Waiter, await_nobody_blocked, owners, take, unlock};
use crate::commands::{deadline, micros};
use crate::support::{Server, Setup, Value, each_server, each_server_with};

/// How late the hand-off may be in the best of several tries. In the others the machine was busy.
const PROMPT: Duration = Duration::from_millis(50);

fn each_quiet_server(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module().config("hz 1"), |server| {
        assert_eq!(server.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
        body(server);
    });
}

/// An end, `ms` after a moment between two readings of the clock.
struct End {
    earliest: Instant,
    latest: Instant,
}

/// Runs an action after which a lock ends `ms` later.
fn ending<R>(ms: u64, act: impl FnOnce() -> R) -> End {
    let after = Duration::from_millis(ms);
    let earliest = Instant::now() + after;
    act();
    End { earliest, latest: Instant::now() + after }
}

impl End {
    /// Waits for the grant, which must not come before the end. Returns its maximal delay.
    #[track_caller]
    fn await_grant(&self, waiter: &mut Waiter) -> Duration {
        waiter.granted();
        let now = Instant::now();
        // Both clocks count whole milliseconds.
        assert!(now + Duration::from_millis(2) >= self.earliest, "{:?} too early", self.earliest - now);
        now.saturating_duration_since(self.latest)
    }
}

/// Repeats a hand-off at an end until one is prompt.
#[track_caller]
fn expect_prompt(server: &Server, what: &str, once: impl Fn() -> Duration) {
    let mut late = Vec::new();
    while late.last().is_none_or(|late| *late >= PROMPT) {
        assert!(late.len() < 10, "{what}: late every time: {late:?}");
        server.run("FLUSHALL");
        late.push(once());
    }
}

fn wait_for(server: &Server) -> Waiter {
    Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0")
}

#[test]
fn a_lock_is_handed_off_the_moment_its_lease_ends() {
    each_quiet_server(|server| {
        expect_prompt(server, "the lease of a lock", || {
            let end = ending(120, || take(server, "k me 120"));
            let mut waiter = Waiter::send(server, "ATOMIC.LOCK k w 60000 WAIT 0");
            let late = end.await_grant(&mut waiter);
            assert_eq!(owners(server, "k"), ["w"]);
            late
        });
        await_nobody_blocked(server);
    });
}

#[test]
fn shortening_a_lease_or_a_ttl_moves_the_hand_off() {
    each_quiet_server(|server| {
        for shorten in
            ["ATOMIC.LOCKRENEW k me 70", "PEXPIRE k 70", "SET k token PX 70", "ATOMIC.SET k token XX PX 70", "GETEX k PX 70"]
        {
            expect_prompt(server, shorten, || {
                take(server, "k me 60000");
                let mut waiter = wait_for(server);
                let end = ending(70, || server.run(shorten));
                end.await_grant(&mut waiter)
            });
        }
        for shorten in ["PEXPIRE k 70", "ATOMIC.LOCKRENEW k token 70"] {
            expect_prompt(server, &format!("{shorten} of a string"), || {
                server.run("SET k token");
                let mut waiter = wait_for(server);
                let end = ending(70, || server.run(shorten));
                end.await_grant(&mut waiter)
            });
        }
    });
}

#[test]
fn a_longer_ttl_of_the_key_does_not_extend_a_lease() {
    each_quiet_server(|server| {
        for longer in ["PERSIST k", "PEXPIRE k 60000", "PEXPIREAT k 4102444800000", "GETEX k PERSIST"] {
            expect_prompt(server, longer, || {
                let end = ending(150, || take(server, "k me 150"));
                let mut waiter = wait_for(server);
                server.run(longer);
                let late = end.await_grant(&mut waiter);
                assert_eq!(owners(server, "k"), ["w"], "{longer}");
                assert!(server.run("PTTL k").integer() <= 60_000, "{longer}: the TTL is the new owner's lease");
                late
            });
        }
    });
}

#[test]
fn renewing_makes_waiters_wait_longer() {
    each_quiet_server(|server| {
        expect_prompt(server, "LOCKRENEW", || {
            take(server, "k me 300");
            let mut waiter = wait_for(server);
            let end = ending(450, || assert_eq!(server.run("ATOMIC.LOCKRENEW k me 450"), Value::Integer(450)));
            end.await_grant(&mut waiter)
        });
        expect_prompt(server, "acquiring again", || {
            take(server, "k me 300");
            let mut waiter = wait_for(server);
            let end = ending(450, || assert_eq!(take(server, "k me 450").holds(), 1));
            end.await_grant(&mut waiter)
        });
        expect_prompt(server, "a string that is set again", || {
            server.run("SET k token PX 300");
            let mut waiter = wait_for(server);
            let end = ending(450, || server.run("SET k token PX 450"));
            end.await_grant(&mut waiter)
        });
    });
}

#[test]
fn a_writer_gets_the_lock_when_the_last_reader_ends() {
    each_quiet_server(|server| {
        expect_prompt(server, "the last of three readers", || {
            take(server, "k a 40 SHARED");
            let end = ending(200, || take(server, "k b 200 SHARED"));
            take(server, "k c 80 SHARED");
            let mut waiter = Waiter::send(server, "ATOMIC.LOCK k w 60000 WAIT 0");
            end.await_grant(&mut waiter)
        });
        // A reader that waits for one of 1,024 places gets the place of the first reader that ends.
        expect_prompt(server, "one of 1,024 readers", || {
            let readers: Vec<String> = (0..1023).map(|n| format!("ATOMIC.LOCK k r{n} 60000 SHARED")).collect();
            let mut connection = server.connect();
            for part in readers.chunks(128) {
                super::in_one_write(&mut connection, part);
            }
            let end = ending(150, || take(server, "k short 150 SHARED"));
            let mut waiter = Waiter::send(server, "ATOMIC.LOCK k w 60000 SHARED WAIT 0");
            let late = end.await_grant(&mut waiter);
            assert_eq!(owners(server, "k").len(), 1024);
            late
        });
    });
}

#[test]
fn a_chain_of_crashed_owners_ends_one_by_one() {
    each_quiet_server(|server| {
        let mut ends = micros(&mut server.connect()) + 30_000;
        take(server, "k me 30");
        let names: Vec<String> = (0..8).map(|n| format!("w{n}")).collect();
        let mut chain: Vec<Waiter> =
            names.iter().map(|name| Waiter::send(server, &format!("ATOMIC.LOCK k {name} 30 WAIT 0"))).collect();
        let mut fences: Vec<i64> = chain.iter_mut().map(|waiter| waiter.granted().fence).collect();
        ends += 8 * 30_000;
        // Each owner had its whole lease: the last was granted 8 leases after the first began, less the rounding of each.
        assert!(micros(&mut server.connect()) >= ends - 30_000 - 9_000, "an owner lost part of its lease");
        fences.sort_unstable();
        fences.dedup();
        assert_eq!(fences.len(), 8, "two with one fence");
    });
}

#[test]
fn many_keys_end_each_at_its_own_time() {
    each_quiet_server(|server| {
        let mut waiting = Vec::new();
        for n in 0..60 {
            let lease = 600 + (n * 37) % 200;
            let end = ending(lease, || take(server, &format!("k{n} me {lease}")));
            let ends = deadline(server, &format!("k{n}"));
            waiting.push((end, ends, Waiter::send(server, &format!("ATOMIC.LOCK k{n} w 60000 WAIT 0"))));
        }
        let granted = |(n, (end, ends, waiter)): (usize, &mut (End, i64, Waiter))| {
            end.await_grant(waiter);
            // By the server's clock, since a busy machine reads the reply later.
            let late = deadline(server, &format!("k{n}")) - 60_000 - *ends;
            unlock(server, &format!("k{n}"), "w");
            late
        };
        let late: Vec<i64> = waiting.iter_mut().enumerate().map(granted).collect();
        // Each at its own time, not all with the last one.
        let prompt = late.iter().filter(|late| **late < 50).count();
        assert!(prompt >= late.len() / 2, "only {prompt} of {} were prompt: {late:?}", late.len());
    });
}

/// A TTL near the maximum of the server's microseconds must not make its timers fire forever.
#[test]
fn a_ttl_at_the_end_of_the_servers_range_is_just_a_long_ttl() {
    each_server(|server| {
        let overflowing = i64::try_from(u64::MAX / 1000).unwrap();
        let now = server.run("TIME").array()[0].text().parse::<i64>().unwrap() * 1000;
        for end in [overflowing + now - 1000, overflowing + now + 1000, overflowing - 1, i64::MAX / 2] {
            assert_eq!(server.run(&format!("SET k token PXAT {end}")), Value::ok());
            let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
            assert_eq!(server.run("PING"), Value::Status("PONG".to_owned()));
            assert!(!waiter.has_reply());
            assert_eq!(server.run("DEL k"), Value::Integer(1));
            waiter.granted();
            unlock(server, "k", "w");
        }
    });
}
