//! BIND: a hold ends with the connection of its last request with BIND. Only that hold, never another owner's, and never twice.

use super::{
    Grant, Waiter, await_nobody_blocked, await_waiters, client_id, expect_denied, in_one_write, owners, take, unlock, waiters,
};
use crate::support::locks::close;
use crate::support::resp::encode;
use crate::support::{Connection, Server, Value, argv, each_server, eventually};

const NO_CONNECTION: &str = "ERR BIND needs a client connection: not allowed in scripts";

/// A connection that acquired a lock: `bound(server, "k me 60000 BIND")`.
#[track_caller]
fn bound(server: &Server, arguments: &str) -> Connection {
    let mut connection = server.connect();
    Grant::read(&connection.run(&format!("ATOMIC.LOCK {arguments}")));
    connection
}

#[track_caller]
fn await_free(server: &Server, key: &str) {
    eventually(&format!("{key} is free"), || (server.run(&format!("EXISTS {key}")) == Value::Integer(0)).then_some(()));
}

/// The holds of the first owner.
#[track_caller]
fn holds(server: &Server, key: &str) -> i64 {
    server.call(&["ATOMIC.LOCKINFO", key]).field("owners").map_or(0, |owners| owners.array()[0].array()[1].integer())
}

#[test]
fn a_bound_lock_ends_with_its_connection_in_every_way() {
    each_server(|server| {
        for way in ["close", "CLIENT KILL ID", "QUIT", "protocol error", "CLIENT KILL TYPE"] {
            let mut connection = bound(server, "k me 60000 BIND");
            let id = client_id(&mut connection);
            let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
            match way {
                "close" => drop(connection),
                "CLIENT KILL ID" => assert_eq!(server.run(&format!("CLIENT KILL ID {id}")), Value::Integer(1)),
                "QUIT" => assert_eq!(connection.run("QUIT"), Value::ok()),
                "CLIENT KILL TYPE" => assert_eq!(server.run(&format!("CLIENT KILL ID {id} TYPE normal")), Value::Integer(1)),
                _ => connection.send_raw(b"*1\r\n:1\r\n").unwrap(),
            }
            waiter.granted();
            assert_eq!(owners(server, "k"), ["w"], "{way}");
            unlock(server, "k", "w");
            // Without a waiter the lock is simply free.
            drop(bound(server, "k me 60000 BIND"));
            await_free(server, "k");
        }
    });
}

#[test]
fn a_lock_without_bind_outlives_its_connection() {
    each_server(|server| {
        let connection = bound(server, "k me 60000");
        let other = bound(server, "bound me 60000 BIND");
        close(server, connection);
        close(server, other);
        await_free(server, "bound");
        assert_eq!(owners(server, "k"), ["me"]);
        expect_denied(&server.run("ATOMIC.LOCK k late 60000"), 0);
    });
}

#[test]
fn the_last_request_with_bind_binds_the_whole_hold() {
    each_server(|server| {
        let mut first = bound(server, "k me 60000");
        let fence = Grant::read(&first.run("ATOMIC.LOCK k me 60000 REENTRANT BIND")).fence;
        Grant::read(&first.run("ATOMIC.LOCK k me 60000 REENTRANT BIND"));
        let second = bound(server, "k me 60000 REENTRANT BIND");
        let third = bound(server, "k me 60000 REENTRANT");
        assert_eq!(holds(server, "k"), 5);
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
        close(server, third);
        assert_eq!(holds(server, "k"), 5, "a connection without BIND");
        close(server, first);
        assert_eq!(holds(server, "k"), 5, "an earlier connection with BIND");
        assert_eq!(server.run("ATOMIC.LOCKINFO k").field("fence"), Some(Value::Integer(fence)), "another ownership");
        assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(4));
        assert!(!waiter.has_reply());
        close(server, second);
        waiter.granted();
        assert_eq!(owners(server, "k"), ["w"]);
    });
}

#[test]
fn a_closed_connection_does_not_release_an_unlocked_hold_again() {
    each_server(|server| {
        let mut connection = bound(server, "k me 60000 BIND");
        assert_eq!(connection.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        let fence = take(server, "k me 60000").fence;
        close(server, connection);
        assert_eq!(server.run("ATOMIC.LOCKINFO k").field("fence"), Some(Value::Integer(fence)));
        unlock(server, "k", "me");
        // Another connection releases it and acquires it again: a new ownership with the same name.
        for option in ["", "ALL"] {
            let connection = bound(server, "k me 60000 BIND");
            assert_eq!(server.run(&format!("ATOMIC.UNLOCK k me {option}")), Value::Integer(0));
            take(server, "k me 60000");
            close(server, connection);
            assert_eq!((owners(server, "k"), holds(server, "k")), (vec!["me".to_owned()], 1));
            unlock(server, "k", "me");
        }
        // Acquired again through the same connection, now without BIND.
        let mut connection = bound(server, "k me 60000 BIND");
        connection.run("ATOMIC.UNLOCK k me");
        Grant::read(&connection.run("ATOMIC.LOCK k me 60000"));
        close(server, connection);
        assert_eq!(owners(server, "k"), ["me"], "the end of the connection took a hold that was not bound");
    });
}

#[test]
fn a_later_owner_keeps_the_lock() {
    each_server(|server| {
        for way in ["DEL k", "FLUSHALL", "ATOMIC.UNLOCK k me", "RENAME k elsewhere", "MOVE k 1", "SWAPDB 0 1", "PEXPIREAT k 1"] {
            for since in ["you", "me"] {
                let connection = bound(server, "k me 60000 BIND");
                server.connect().run(way);
                let fence = take(server, &format!("k {since} 60000")).fence;
                close(server, connection);
                assert_eq!(owners(server, "k"), [since], "{way}");
                assert_eq!(server.run("ATOMIC.LOCKINFO k").field("fence"), Some(Value::Integer(fence)), "{way} {since}");
                server.run("FLUSHALL");
            }
        }
    });
}

#[test]
fn the_end_of_a_connection_touches_no_foreign_value() {
    each_server(|server| {
        let replace: &[&[&str]] = &[
            &["SET k me"],
            &["SET k me PX 60000"],
            &["DEL k", "RPUSH k me"],
            &["APPEND k x"],
            &["DEL k"],
            &["DEL k", "ZADD k 1 me"],
        ];
        for commands in replace {
            let connection = bound(server, "k me 60000 BIND");
            let mut ender = server.connect();
            in_one_write(&mut ender, commands);
            let before = crate::commands::everything(server);
            close(server, connection);
            assert_eq!(crate::commands::everything(server), before, "{commands:?}");
            server.run("DEL k");
        }
    });
}

#[test]
fn a_bound_reader_leaves_the_other_readers_alone() {
    each_server(|server| {
        take(server, "k a 60000 SHARED");
        let connection = bound(server, "k b 60000 SHARED BIND");
        let last = bound(server, "k c 60000 SHARED BIND");
        let mut writer = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
        close(server, connection);
        eventually("b left", || (owners(server, "k") == ["a", "c"]).then_some(()));
        unlock(server, "k", "a");
        assert!(!writer.has_reply());
        drop(last);
        writer.granted();
        assert_eq!(owners(server, "k"), ["w"]);
    });
}

#[test]
fn bind_works_in_a_transaction_and_not_in_a_script() {
    each_server(|server| {
        let mut connection = server.connect();
        let replies = in_one_write(&mut connection, &["MULTI", "ATOMIC.LOCK k me 60000 BIND", "ATOMIC.LOCK l me 60000", "EXEC"]);
        for reply in replies[3].array() {
            Grant::read(reply);
        }
        drop(connection);
        await_free(server, "k");
        assert_eq!(owners(server, "l"), ["me"]);
        for options in ["'BIND'", "'WAIT', '0', 'BIND'", "'SHARED', 'BIND'"] {
            let script = format!("return redis.pcall('ATOMIC.LOCK', KEYS[1], 'me', '60000', {options})");
            for name in ["EVAL", "ATOMIC.EVAL"] {
                let reply = server.call(&[name, &script, "1", "k"]);
                assert!(reply.error().starts_with(NO_CONNECTION), "{name} {options}: {reply}");
                assert_eq!(server.run("EXISTS k"), Value::Integer(0));
            }
        }
        let script = "return redis.pcall('ATOMIC.SEMACQUIRE', KEYS[1], '1', 'me', '60000', 'BIND')";
        for name in ["EVAL", "ATOMIC.EVAL"] {
            let reply = server.call(&[name, script, "1", "s"]);
            assert!(reply.error().starts_with(NO_CONNECTION), "{name}: {reply}");
        }
    });
}

#[test]
fn a_lock_granted_to_a_waiter_is_bound_too() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut chain: Vec<Waiter> =
            (0..5).map(|n| Waiter::queued(server, "k", n + 1, &format!("ATOMIC.LOCK k w{n} 60000 WAIT 0 BIND"))).collect();
        let mut last = Waiter::queued(server, "k", 6, "ATOMIC.LOCK k last 60000 WAIT 0");
        unlock(server, "k", "me");
        for (n, mut waiter) in chain.drain(..).enumerate() {
            waiter.granted();
            assert_eq!(owners(server, "k"), [format!("w{n}")]);
            assert!(!last.has_reply());
        }
        last.granted();
        assert_eq!(waiters(server, "k"), 0);
        // Without another waiter, closing after the grant leaves a free lock.
        unlock(server, "k", "last");
        take(server, "k me 60000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0 BIND");
        unlock(server, "k", "me");
        waiter.granted();
        drop(waiter);
        await_free(server, "k");
        await_nobody_blocked(server);
    });
}

#[test]
fn a_client_that_reads_its_grant_and_quits_keeps_a_lock_without_bind() {
    each_server(|server| {
        for free in ["ATOMIC.UNLOCK k me", "DEL k"] {
            for (options, kept) in [("", true), ("SHARED", true), ("BIND", false)] {
                take(server, "k me 60000");
                let mut connection = server.connect();
                let lines = [format!("ATOMIC.LOCK k w 60000 WAIT 0 {options}"), "PING".to_owned(), "QUIT".to_owned()];
                connection.send_raw(&lines.map(|line| encode(&argv(&line))).concat()).unwrap();
                await_waiters(server, "k", 1);
                let id =
                    server.run("CLIENT LIST").text().lines().find(|line| line.contains("flags=b")).map(str::to_owned).unwrap();
                server.run(free);
                let replies = [0, 1, 2].map(|_| connection.read().unwrap());
                Grant::read(&replies[0]);
                assert_eq!(replies[1..], [Value::Status("PONG".to_owned()), Value::ok()]);
                let id = id.split([' ', '=']).nth(1).unwrap().to_owned();
                eventually("it is gone", || server.run(&format!("CLIENT LIST ID {id}")).text().is_empty().then_some(()));
                if kept {
                    assert_eq!(owners(server, "k"), ["w"], "{free} {options}: granted, told so, and taken back");
                    unlock(server, "k", "w");
                } else {
                    await_free(server, "k");
                }
            }
        }
    });
}

#[test]
fn one_connection_can_bind_many_locks() {
    each_server(|server| {
        let mut connection = server.connect();
        let lines: Vec<String> = (0..200).map(|n| format!("ATOMIC.LOCK k{n} me 60000 BIND")).collect();
        for reply in in_one_write(&mut connection, &lines) {
            Grant::read(&reply);
        }
        connection.run("SELECT 3");
        Grant::read(&connection.run("ATOMIC.LOCK k0 me 60000 BIND"));
        assert_eq!(connection.run("ATOMIC.UNLOCK k0 me"), Value::Integer(0), "in database 3");
        Grant::read(&connection.run("ATOMIC.LOCK three me 60000 BIND"));
        let mut waiter = Waiter::queued(server, "k100", 1, "ATOMIC.LOCK k100 w 60000 WAIT 0");
        drop(connection);
        waiter.granted();
        eventually("199 locks went with the connection", || (server.run("DBSIZE") == Value::Integer(1)).then_some(()));
        let mut third = server.connect();
        third.run("SELECT 3");
        eventually("and the one in database 3", || (third.run("DBSIZE") == Value::Integer(0)).then_some(()));
    });
}

#[test]
fn bound_permits_are_released_together() {
    each_server(|server| {
        let sem = |arguments: &str| format!("ATOMIC.SEMACQUIRE s 4 {arguments}");
        let in_use = || server.run("ATOMIC.SEMINFO s").field("in-use").map_or(0, |count| count.integer());
        let mut connection = server.connect();
        Grant::read(&connection.run(&sem("me 60000 PERMITS 2 BIND")));
        Grant::read(&connection.run(&sem("me 60000 ADD")));
        let mut waiter = Waiter::send(server, &sem("w 60000 PERMITS 3 WAIT 0 BIND"));
        eventually("it waits", || (server.run("ATOMIC.SEMINFO s").field("waiters") == Some(Value::Integer(1))).then_some(()));
        close(server, connection);
        let grant = waiter.granted();
        assert_eq!((grant.in_use(), in_use()), (3, 3), "the permit that was added without BIND is part of the hold");
        drop(waiter);
        eventually("the waiter's permits came back", || (in_use() == 0).then_some(()));
        // Released before: the end of the connection releases no other permit of that owner.
        let mut connection = server.connect();
        Grant::read(&connection.run(&sem("me 60000 BIND")));
        connection.run("ATOMIC.SEMRELEASE s me");
        Grant::read(&server.run(&sem("me 60000")));
        close(server, connection);
        assert_eq!(in_use(), 1);
    });
}

#[test]
fn a_permit_released_by_one_connection_is_not_released_for_another() {
    each_server(|server| {
        let sem = "ATOMIC.SEMACQUIRE s 4 pool 60000 ADD BIND";
        let (mut first, mut second) = (server.connect(), server.connect());
        Grant::read(&first.run(sem));
        Grant::read(&second.run(sem));
        // From here on both leases end together.
        assert_eq!(server.run("ATOMIC.SEMRENEW s pool 90000"), Value::Integer(90_000));
        assert_eq!(first.run("ATOMIC.SEMRELEASE s pool"), Value::Integer(1));
        close(server, first);
        assert_eq!(server.run("ATOMIC.SEMINFO s").field("in-use"), Some(Value::Integer(1)), "the second one works with it");
        close(server, second);
        await_free(server, "s");
        let (mut first, mut second) = (server.connect(), server.connect());
        Grant::read(&first.run("ATOMIC.LOCK k pool 60000 BIND"));
        Grant::read(&second.run("ATOMIC.LOCK k pool 60000 REENTRANT BIND"));
        assert_eq!(first.run("ATOMIC.UNLOCK k pool"), Value::Integer(1));
        close(server, first);
        assert_eq!(owners(server, "k"), ["pool"], "the second one works under it");
        assert_eq!(second.run("ATOMIC.UNLOCK k pool"), Value::Integer(0));
    });
}

#[test]
fn a_bound_lock_with_a_new_fence_still_ends_with_its_connection() {
    each_server(|server| {
        for renumber in ["ATOMIC.LOCK k me 9000000", "ATOMIC.MLOCK me 60000 k other"] {
            let mode = if renumber.contains("MLOCK") { "" } else { "SHARED" };
            let connection = bound(server, &format!("k me 9000000 BIND {mode}"));
            let before = crate::support::locks::fence(server, "k");
            server.run(renumber);
            assert!(crate::support::locks::fence(server, "k") > before, "{renumber}");
            close(server, connection);
            await_free(server, "k");
            server.run("DEL other");
        }
    });
}

/// A waiter of an owner that also gets permits, or the lock, by another request: the waiter is granted later, so its BIND counts.
#[test]
fn a_binding_lasts_when_the_owner_released_or_acquired_in_the_same_step() {
    each_server(|server| {
        let bound = || server.info("atomic_locks_bound_to_connections");
        server.run("ATOMIC.SEMACQUIRE s 4 a 60000 PERMITS 2");
        server.run("ATOMIC.SEMACQUIRE s 4 b 60000 PERMITS 2");
        let mut waiter = Waiter::send(server, "ATOMIC.SEMACQUIRE s 4 a 60000 PERMITS 2 ADD WAIT 0 BIND");
        eventually("a waits", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(server.run("ATOMIC.SEMRELEASE s a PERMITS 2"), Value::Integer(0));
        waiter.granted();
        assert_eq!(bound(), "1");
        drop(waiter);
        eventually("the permits of a are free", || (server.run("ATOMIC.SEMRELEASE s a") == Value::Integer(-1)).then_some(()));

        take(server, "k me 60000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k a 60000 WAIT 0 BIND");
        in_one_write(&mut server.connect(), &["MULTI", "DEL k", "ATOMIC.LOCK k a 60000", "EXEC"]);
        waiter.granted();
        assert_eq!(bound(), "1");
        drop(waiter);
        await_free(server, "k");

        // The reverse: the grant is released in the step that made it, and no binding is left.
        take(server, "k me 60000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k a 60000 WAIT 0 BIND");
        in_one_write(&mut server.connect(), &["MULTI", "DEL k", "ATOMIC.UNLOCK k a", "EXEC"]);
        waiter.granted();
        assert_eq!(bound(), "0");
    });
}
