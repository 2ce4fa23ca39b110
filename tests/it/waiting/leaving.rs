//! Waiters that leave by timeout, by closing, or through another client; before the grant, and between the grant and
//! its reply. A waiter that leaves is skipped at once, and no lock is lost.

use std::time::{Duration, Instant};

use super::{
    Grant, Waiter, await_nobody_blocked, await_waiters, client_id, expect_denied, in_one_write, owners, take, unlock, waiters,
};
use crate::support::locks::vanish;
use crate::support::resp::encode;
use crate::support::{Connection, Server, Value, argv, each_server, eventually};

const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

/// The n-th waiter for `k`, and its client id.
#[track_caller]
fn queue(server: &Server, n: i64, arguments: &str) -> (i64, Waiter) {
    let mut connection = server.connect();
    let id = client_id(&mut connection);
    let waiter = Waiter::on(connection, &format!("ATOMIC.LOCK k {arguments}"));
    await_waiters(server, "k", n);
    (id, waiter)
}

#[test]
fn a_waiter_is_denied_when_its_time_is_up_and_not_before() {
    each_server(|server| {
        take(server, "k me 60000");
        for wait in [1, 30, 120] {
            let started = Instant::now();
            let reply = server.connect().run(&format!("ATOMIC.LOCK k w 60000 WAIT {wait}"));
            let waited = started.elapsed();
            expect_denied(&reply, 0);
            let ttl = reply.array()[2].integer();
            assert!((30_000..=60_000).contains(&ttl), "the holder's ttl: {ttl}");
            // Both clocks count whole milliseconds.
            assert!(waited + Duration::from_millis(1) >= Duration::from_millis(wait), "after {waited:?} of {wait} ms");
        }
        // Each waiter by its own time, whatever its place; the denial counts the remaining waiters.
        let (_, mut stays) = queue(server, 1, "stays 60000 WAIT 0");
        let mut long = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k long 60000 WAIT 300");
        let mut short = Waiter::queued(server, "k", 3, "ATOMIC.LOCK k short 60000 WAIT 200");
        short.denied(2);
        long.denied(1);
        assert_eq!(waiters(server, "k"), 1);
        for waiter in [&mut short, &mut long] {
            waiter.expect_nothing_more();
        }
        unlock(server, "k", "me");
        assert_eq!(stays.granted().waiters, 0);
        // A foreign lock without a TTL has no TTL to return.
        server.run("SET k token");
        let reply = server.connect().run("ATOMIC.LOCK k w 60000 WAIT 20");
        assert_eq!(reply, Value::integers(&[0, 0, -1, 0, 0]));
        await_nobody_blocked(server);
    });
}

/// Nothing is handed off during a pause, so a lease and the time of a waiter can end in either order.
#[test]
fn a_denial_shows_that_the_lock_is_free_by_now() {
    each_server(|server| {
        let mut lease = 100;
        let reply = loop {
            take(server, &format!("k me {lease}"));
            let (id, mut waiter) = queue(server, 1, "w 60000 WAIT 0");
            assert_eq!(server.run("CLIENT PAUSE 60000 WRITE"), Value::ok());
            eventually("the lease is over", || owners(server, "k").is_empty().then_some(()));
            assert_eq!(server.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
            let reply = waiter.reply();
            assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
            if reply.array()[0] == Value::Integer(0) {
                break reply;
            }
            // It was granted before the pause began: the lease was too short for this machine.
            lease *= 2;
            unlock(server, "k", "w");
        };
        assert_eq!(reply, Value::integers(&[0, 0, 0, 0, 0]));
    });
}

#[test]
fn a_waiter_that_leaves_makes_way_for_the_next() {
    each_server(|server| {
        for way in ["time", "close", "CLIENT KILL ID", "CLIENT UNBLOCK", "CLIENT UNBLOCK ERROR"] {
            take(server, "k me 60000 SHARED");
            let wait = if way == "time" { 150 } else { 0 };
            let (id, mut writer) = queue(server, 1, &format!("w 60000 WAIT {wait}"));
            let mut readers = [queue(server, 2, "a 60000 SHARED WAIT 0").1, queue(server, 3, "b 60000 SHARED WAIT 0").1];
            let mut next = queue(server, 4, "next 60000 WAIT 0").1;
            let mut late = queue(server, 5, "late 60000 SHARED WAIT 0").1;
            match way {
                "time" => writer.denied(4),
                "close" => drop(writer),
                "CLIENT KILL ID" => assert_eq!(server.run(&format!("CLIENT KILL ID {id}")), Value::Integer(1)),
                "CLIENT UNBLOCK" => {
                    assert_eq!(server.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
                    writer.denied(4);
                    writer.expect_nothing_more();
                }
                _ => {
                    assert_eq!(server.run(&format!("CLIENT UNBLOCK {id} ERROR")), Value::Integer(1));
                    assert_eq!(writer.reply(), Value::Error(UNBLOCKED.to_owned()));
                    writer.expect_nothing_more();
                }
            }
            readers.iter_mut().for_each(|reader| assert_eq!(reader.granted().waiters, 2, "{way}"));
            assert_eq!(owners(server, "k"), ["me", "a", "b"], "{way}");
            assert!(!next.has_reply() && !late.has_reply());
            ["a", "me", "b"].iter().for_each(|owner| unlock(server, "k", owner));
            next.granted();
            unlock(server, "k", "next");
            late.granted();
            unlock(server, "k", "late");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_client_that_no_longer_waits_cannot_be_unblocked() {
    each_server(|server| {
        take(server, "k me 60000");
        let (id, mut waiter) = queue(server, 1, "w 60000 WAIT 0");
        unlock(server, "k", "me");
        waiter.granted();
        for how in ["", "TIMEOUT", "ERROR"] {
            assert_eq!(server.run(&format!("CLIENT UNBLOCK {id} {how}")), Value::Integer(0), "{how}");
        }
        waiter.expect_nothing_more();
        assert_eq!(owners(server, "k"), ["w"]);
        // It can wait again on the same connection.
        assert_eq!(waiter.connection().run("ATOMIC.UNLOCK k w"), Value::Integer(0));
        take(server, "k me 60000");
        waiter.connection().send(&argv("ATOMIC.LOCK k again 60000 WAIT 0")).unwrap();
        await_waiters(server, "k", 1);
        assert_eq!(server.run(&format!("CLIENT UNBLOCK {id}")), Value::Integer(1));
        waiter.denied(0);
        waiter.expect_nothing_more();
    });
}

/// Commands that free the lock of `me`, in the same write as the next commands.
const FREEING: &[&str] = &["ATOMIC.UNLOCK k me", "DEL k", "FLUSHALL ASYNC", "ATOMIC.LOCKRENEW k me 1 ; DEBUG SLEEP 0.005"];

/// The commands of one client in one write: free the lock, then act on the waiter; both in a transaction, or not.
fn gap(free: &str, act: &str, in_transaction: bool) -> Vec<String> {
    let commands = free.split(" ; ").chain(act.split(" ; "));
    let wrap = |word: &'static str| in_transaction.then_some(word);
    wrap("MULTI").into_iter().chain(commands).chain(wrap("EXEC")).map(str::to_owned).collect()
}

#[test]
fn a_client_that_is_unblocked_between_grant_and_reply_gets_exactly_one_reply() {
    each_server(|server| {
        for free in FREEING {
            for (how, options) in
                [("", ""), ("TIMEOUT", "BIND"), ("ERROR", ""), ("ERROR", "BIND"), ("TIMEOUT", "SHARED"), ("ERROR", "SHARED BIND")]
            {
                for in_transaction in [false, true] {
                    let what = format!("{free} ; {how} ; {options} ; transaction {in_transaction}");
                    let fence = take(server, "k me 60000").fence;
                    let (id, mut first) = queue(server, 1, &format!("first 60000 WAIT 0 {options}"));
                    let (_, mut second) = queue(server, 2, "second 60000 WAIT 0");
                    in_one_write(&mut server.connect(), &gap(free, &format!("CLIENT UNBLOCK {id} {how}"), in_transaction));
                    let reply = first.reply();
                    first.expect_nothing_more();
                    match &reply {
                        Value::Error(text) => assert_eq!((text.as_str(), how), (UNBLOCKED, "ERROR"), "{what}"),
                        _ if reply.array()[0] == Value::Integer(1) => {
                            assert!(Grant::read(&reply).fence > fence, "{what}");
                            assert_eq!(owners(server, "k"), ["first"], "{what}");
                            assert!(!second.has_reply(), "{what}: two owners");
                            unlock(server, "k", "first");
                        }
                        _ => assert_eq!((reply.array()[1].integer(), how != "ERROR"), (0, true), "{what}: {reply}"),
                    }
                    assert!(second.granted().fence > fence, "{what}");
                    assert_eq!(owners(server, "k"), ["second"], "{what}: {reply}");
                    unlock(server, "k", "second");
                    assert_eq!(server.run("EXISTS k"), Value::Integer(0));
                }
            }
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_client_that_is_killed_between_grant_and_reply_hands_the_lock_off() {
    each_server(|server| {
        for free in FREEING {
            for options in ["", "BIND", "SHARED"] {
                for in_transaction in [false, true] {
                    let what = format!("{free} ; {options} ; transaction {in_transaction}");
                    let fence = take(server, "k me 60000").fence;
                    let (one, mut first) = queue(server, 1, &format!("first 60000 WAIT 0 {options}"));
                    let (two, mut second) = queue(server, 2, &format!("second 60000 WAIT 0 {options}"));
                    let (_, mut third) = queue(server, 3, "third 60000 WAIT 0");
                    let kill = format!("CLIENT KILL ID {one} ; CLIENT KILL ID {two}");
                    in_one_write(&mut server.connect(), &gap(free, &kill, in_transaction));
                    assert!(third.granted().fence > fence, "{what}");
                    assert_eq!(owners(server, "k"), ["third"], "{what}");
                    first.connection().expect_close();
                    second.connection().expect_close();
                    unlock(server, "k", "third");
                    // And without another waiter.
                    take(server, "k me 60000");
                    let (one, _first) = queue(server, 1, &format!("first 60000 WAIT 0 {options}"));
                    in_one_write(&mut server.connect(), &gap(free, &format!("CLIENT KILL ID {one}"), in_transaction));
                    eventually("it is free", || (server.run("EXISTS k") == Value::Integer(0)).then_some(()));
                }
            }
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_reader_that_is_killed_between_grant_and_reply_does_not_affect_the_others() {
    each_server(|server| {
        for free in FREEING {
            take(server, "k me 60000");
            let mut readers: Vec<(i64, Waiter)> =
                (0..4).map(|n| queue(server, n + 1, &format!("r{n} 60000 SHARED WAIT 0"))).collect();
            let (_, mut writer) = queue(server, 5, "w 60000 WAIT 0");
            let kills = [1, 2].map(|n: usize| format!("CLIENT KILL ID {}", readers[n].0)).join(" ; ");
            in_one_write(&mut server.connect(), &gap(free, &kills, false));
            for n in [0, 3] {
                readers[n].1.granted();
            }
            eventually("the two that were killed are out", || (owners(server, "k") == ["r0", "r3"]).then_some(()));
            unlock(server, "k", "r0");
            assert!(!writer.has_reply(), "{free}");
            unlock(server, "k", "r3");
            writer.granted();
            unlock(server, "k", "w");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn permits_granted_to_a_disconnected_client_are_handed_off() {
    each_server(|server| {
        for (act, in_transaction) in
            [("CLIENT KILL ID", false), ("CLIENT KILL ID", true), ("CLIENT UNBLOCK", false), ("CLIENT UNBLOCK", true)]
        {
            let sem = |arguments: &str| format!("ATOMIC.SEMACQUIRE s 2 {arguments}");
            let awaited = |n| {
                eventually("it waits", || {
                    (server.run("ATOMIC.SEMINFO s").field("waiters") == Some(Value::Integer(n))).then_some(())
                })
            };
            Grant::read(&server.run(&sem("me 60000 PERMITS 2")));
            let mut connection = server.connect();
            let id = client_id(&mut connection);
            let mut first = Waiter::on(connection, &sem("first 60000 PERMITS 2 WAIT 0"));
            awaited(1);
            let mut second = Waiter::send(server, &sem("second 60000 PERMITS 2 WAIT 0"));
            awaited(2);
            in_one_write(&mut server.connect(), &gap("ATOMIC.SEMRELEASE s me PERMITS 2", &format!("{act} {id}"), in_transaction));
            if act == "CLIENT UNBLOCK" {
                let reply = first.reply();
                first.expect_nothing_more();
                if reply.array()[0] == Value::Integer(1) {
                    assert_eq!(server.run("ATOMIC.SEMRELEASE s first PERMITS 2"), Value::Integer(0));
                }
            }
            assert_eq!(second.granted().in_use(), 2);
            assert_eq!(server.run("ATOMIC.SEMRELEASE s second PERMITS 2"), Value::Integer(0));
            assert_eq!(server.run("EXISTS s"), Value::Integer(0), "{act}");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn an_undelivered_grant_takes_back_only_what_it_added() {
    each_server(|server| {
        for (act, in_transaction) in [("CLIENT KILL ID", false), ("CLIENT KILL ID", true)] {
            // While the clients wait, another one renames keys into place which their owners hold already.
            take(server, "held me 60000");
            take(server, "held me 60000 REENTRANT");
            Grant::read(&server.run("ATOMIC.SEMACQUIRE permits 4 me 60000 PERMITS 2"));
            take(server, "k you 60000");
            Grant::read(&server.run("ATOMIC.SEMACQUIRE s 3 you 60000 PERMITS 3"));
            let (lock, _first) = queue(server, 1, "me 60000 WAIT 0");
            let mut connection = server.connect();
            let permits = client_id(&mut connection);
            let _second = Waiter::on(connection, "ATOMIC.SEMACQUIRE s 3 me 60000 PERMITS 3 WAIT 0");
            eventually("it waits", || (server.run("ATOMIC.SEMINFO s").field("waiters") == Some(Value::Integer(1))).then_some(()));
            let mut admin = server.connect();
            in_one_write(&mut admin, &gap("RENAME held k", &format!("{act} {lock}"), in_transaction));
            in_one_write(&mut admin, &gap("RENAME permits s", &format!("{act} {permits}"), in_transaction));
            await_nobody_blocked(server);
            eventually("the third permit is taken back", || {
                (server.run("ATOMIC.SEMINFO s").field("in-use") == Some(Value::Integer(2))).then_some(())
            });
            let info = server.run("ATOMIC.LOCKINFO k");
            assert_eq!(info.field("owners").unwrap().array()[0].array()[1], Value::Integer(2), "{act}: {info}");
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn a_client_that_closes_at_the_moment_of_the_grant_loses_no_lock() {
    each_server(|server| {
        // The server cannot know of the close before it writes the reply; then the lease or BIND ends the hold.
        for (lease, options) in [(150, ""), (60_000, "BIND"), (150, "SHARED"), (60_000, "SHARED BIND")] {
            for free in ["ATOMIC.UNLOCK k me", "DEL k"] {
                take(server, "k me 60000");
                let (_, first) = queue(server, 1, &format!("first {lease} WAIT 0 {options}"));
                let (_, mut second) = queue(server, 2, "second 60000 WAIT 0");
                // It closes while the server is busy, and the grant comes right afterwards.
                let mut connection = server.connect();
                let bytes = [argv("DEBUG SLEEP 0.02"), argv(free)].map(|arguments| encode(&arguments)).concat();
                connection.send_raw(&bytes).unwrap();
                drop(first);
                second.granted();
                assert_eq!(owners(server, "k"), ["second"], "{free} {options}");
                unlock(server, "k", "second");
            }
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn commands_after_a_waiting_command_get_their_replies_in_order() {
    each_server(|server| {
        take(server, "k me 60000");
        let behind = ["SET x 1", "INCR x", "MULTI", "INCR x", "ATOMIC.LOCKINFO k", "EXEC", "ATOMIC.UNLOCK k w", "PING"];
        let pipeline =
            |first: &str| [&[first], &behind[..]].concat().iter().flat_map(|line| encode(&argv(line))).collect::<Vec<u8>>();
        let expect_rest = |connection: &mut Connection, unlocked: i64| {
            let rest: Vec<Value> = behind.iter().map(|_| connection.read().unwrap()).collect();
            assert_eq!(rest[..2], [Value::ok(), Value::Integer(2)]);
            assert_eq!(rest[5].array()[0], Value::Integer(3));
            assert_eq!(rest[6..], [Value::Integer(unlocked), Value::Status("PONG".to_owned())]);
        };
        let mut granted = server.connect();
        granted.send_raw(&pipeline("ATOMIC.LOCK k w 60000 WAIT 0")).unwrap();
        await_waiters(server, "k", 1);
        assert_eq!(server.run("EXISTS x"), Value::Integer(0), "a command behind a waiting one ran");
        unlock(server, "k", "me");
        Grant::read(&granted.read().unwrap());
        expect_rest(&mut granted, 0);
        take(server, "k me 60000");
        let mut denied = server.connect();
        denied.send_raw(&pipeline("ATOMIC.LOCK k w 60000 WAIT 30")).unwrap();
        expect_denied(&denied.read().unwrap(), 0);
        expect_rest(&mut denied, -1);
        // One waiting command after the other.
        take(server, "l me 60000");
        let mut both = server.connect();
        both.send_raw(
            &["ATOMIC.LOCK k w 60000 WAIT 0", "ATOMIC.LOCK l w 60000 WAIT 0", "PING"].map(|l| encode(&argv(l))).concat(),
        )
        .unwrap();
        await_waiters(server, "k", 1);
        unlock(server, "l", "me");
        unlock(server, "k", "me");
        for _ in 0..2 {
            Grant::read(&both.read().unwrap());
        }
        assert_eq!(both.read().unwrap(), Value::Status("PONG".to_owned()));
    });
}

#[test]
fn of_300_waiters_those_that_stay_get_the_lock_in_order() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut waiting: Vec<Option<(i64, Waiter)>> = (0..300)
            .map(|n| {
                let options = ["", "BIND", "MAXQUEUE 1000"][n % 3];
                let mut connection = server.connect();
                let id = client_id(&mut connection);
                let waiter = Waiter::on(connection, &format!("ATOMIC.LOCK k w{n} 60000 WAIT 0 {options}"));
                await_waiters(server, "k", i64::try_from(n).unwrap() + 1);
                Some((id, waiter))
            })
            .collect();
        let leave = |n: usize, slot: &mut Option<(i64, Waiter)>| {
            let (id, mut waiter) = slot.take().unwrap();
            match n % 4 {
                0 => vanish(server, waiter),
                1 => assert_eq!(server.run(&format!("CLIENT KILL ID {id}")), Value::Integer(1)),
                2 => {
                    server.run(&format!("CLIENT UNBLOCK {id}"));
                    assert_eq!(waiter.reply().array()[0], Value::Integer(0));
                }
                _ => {
                    server.run(&format!("CLIENT UNBLOCK {id} ERROR"));
                    waiter.reply().error();
                }
            }
        };
        // Some leave before the first grant, from all over the queue; some when they are next.
        let fate = |n: usize| n * 7919 % 101;
        (0..300).filter(|n| fate(*n) < 40).for_each(|n| leave(n, &mut waiting[n]));
        let mut owner = "me".to_owned();
        for (n, slot) in waiting.iter_mut().enumerate() {
            if (40..60).contains(&fate(n)) {
                leave(n, slot);
            }
            let Some((_, waiter)) = slot else { continue };
            unlock(server, "k", &owner);
            waiter.granted();
            owner = format!("w{n}");
            assert_eq!(owners(server, "k"), [owner.as_str()]);
        }
        unlock(server, "k", &owner);
        drop(waiting);
        await_nobody_blocked(server);
        if server.unloads() {
            eventually("the module can be unloaded", || (server.run("MODULE UNLOAD atomic") == Value::ok()).then_some(()));
        }
        assert_eq!(server.run("SET k v"), Value::ok());
    });
}
