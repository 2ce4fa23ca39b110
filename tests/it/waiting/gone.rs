//! A key disappears while several clients wait for it: the first is granted, and the module checks the next while no key exists.
//!
//! Redis 8.2 and later abort when a module reads the TTL of a missing key. Serving a queue once did that.

use super::handoff::{FREEING, run_all};
use super::{Grant, Waiter, await_nobody_blocked, await_waiters, owners, take, unlock};
use crate::support::{Value, each_server, eventually};

#[test]
fn the_next_waiter_keeps_waiting_when_the_key_disappears() {
    each_server(|server| {
        for commands in FREEING {
            take(server, "k me 60000");
            let mut first = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
            let mut next = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k v 60000 WAIT 0");
            run_all(server, commands);
            assert_eq!(first.granted().waiters, 1, "{commands}");
            assert_eq!(owners(server, "k"), ["w"], "{commands}");
            unlock(server, "k", "w");
            assert_eq!(next.granted().waiters, 0, "{commands}");
            server.run("FLUSHALL");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_long_queue_of_short_leases_drains() {
    const LENGTH: i64 = 60;
    each_server(|server| {
        take(server, "k me 60000");
        let command = |n| format!("ATOMIC.LOCK k w{n} 3 WAIT 0{}", if n % 3 == 0 { " SHARED" } else { "" });
        let mut line: Vec<Waiter> = (0..LENGTH).map(|n| Waiter::send(server, &command(n))).collect();
        await_waiters(server, "k", LENGTH);
        server.run("DEL k");
        for waiter in &mut line {
            waiter.granted();
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn permits_of_a_deleted_semaphore_are_granted_again() {
    each_server(|server| {
        let waiting = || server.run("ATOMIC.SEMINFO s").field("waiters");
        for commands in ["DEL s", "PEXPIRE s 1", "RENAME s elsewhere", "FLUSHALL", "ZREM", "MULTI ; SET s v ; DEL s ; EXEC"] {
            Grant::read(&server.run("ATOMIC.SEMACQUIRE s 1 me 60000"));
            let mut line: Vec<Waiter> =
                (0..3).map(|n| Waiter::send(server, &format!("ATOMIC.SEMACQUIRE s 1 w{n} 60000 WAIT 0"))).collect();
            eventually("three wait", || (waiting() == Some(Value::Integer(3))).then_some(()));
            // The sorted set disappears with its last member.
            if commands == "ZREM" {
                let members = server.run("ZRANGE s 0 -1");
                let all: Vec<&[u8]> = members.array().iter().map(Value::bytes).collect();
                server.call(&[&[b"ZREM", &b"s"[..]], &all[..]].concat());
            } else {
                run_all(server, commands);
            }
            for (n, waiter) in line.iter_mut().enumerate() {
                waiter.granted();
                assert_eq!(server.call(&["ATOMIC.SEMRELEASE", "s", &format!("w{n}")]), Value::Integer(0), "{commands}");
            }
            server.run("FLUSHALL");
        }
        await_nobody_blocked(server);
    });
}
