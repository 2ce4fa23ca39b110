//! The server renews a bound lease when two thirds of it are left.

use super::super::{Waiter, in_one_write, owners, unlock};
use super::{await_figure, await_free, await_renewal, bound, figure};
use crate::commands::{await_micros, deadline, micros};
use crate::support::line::line;
use crate::support::locks::{close, granted, not_granted, put, quiet};
use crate::support::{FakeReplica, RealReplica, Setup, Value, argv, each_server, each_server_with};

/// Long enough that a busy machine does not lose it.
const LEASE: i64 = 1500;

/// Each kind of hold that can be bound, of the key `k`.
const HOLDS: [&str; 3] =
    ["ATOMIC.LOCK k me 1500 BIND", "ATOMIC.LOCK k me 1500 SHARED BIND", "ATOMIC.SEMACQUIRE k 4 me 1500 PERMITS 3 BIND"];

#[test]
fn a_renewal_is_one_write_after_a_third_of_the_lease() {
    each_server_with(&quiet(), |server| {
        let mut replica = FakeReplica::attach(server);
        for request in HOLDS {
            let connection = bound(server, request);
            let before = deadline(server, "k");
            replica.stream();
            let after = await_renewal(server, "k", before);
            let recorded: Vec<String> = replica.commands().iter().map(|command| line(command)).collect();
            assert!((LEASE / 3..LEASE).contains(&(after - before)), "{request}: renewed {} ms after it began", after - before);
            let expected = if request.contains("SEM") {
                let member = server.run("ZRANGE k -1 -1").array()[0].bytes().to_vec();
                let score = server.call(&[b"ZSCORE".to_vec(), b"k".to_vec(), member.clone()]).text();
                let add = line(&[b"ZADD".to_vec(), b"k".to_vec(), score.into_bytes(), member]);
                vec!["MULTI".to_owned(), add, format!("PEXPIREAT k {after}"), "EXEC".to_owned()]
            } else {
                vec![line(&put(server, "k"))]
            };
            assert_eq!(recorded, expected, "{request}");
            close(server, connection);
            await_free(server, "k");
        }
        assert_eq!(figure(server, "bound_lost"), 0);
    });
}

#[test]
fn a_hold_without_bind_is_not_renewed_and_a_bound_one_outlives_its_lease() {
    each_server(|server| {
        for plain in ["ATOMIC.LOCK plain you 300", "ATOMIC.SEMACQUIRE plain 4 you 300"] {
            let connection = bound(server, HOLDS[0]);
            granted(&server.run(plain));
            let first = deadline(server, "k");
            await_micros(&mut server.connect(), (first + 100) * 1000);
            assert_eq!(owners(server, "k"), ["me"]);
            assert_eq!(server.run("EXISTS plain"), Value::Integer(0), "{plain}");
            close(server, connection);
            await_free(server, "k");
        }
    });
}

#[test]
fn a_renewal_reaches_replicas_and_the_aof() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        let replica = RealReplica::with_module(server);
        for request in HOLDS {
            let _connection = bound(server, request);
            let before = deadline(server, "k");
            let after = await_renewal(server, "k", before);
            replica.await_sync();
            assert!(deadline(&replica.server, "k") >= after, "{request}: the replica has the old lease");
            server.kill_9();
            server.start_again();
            // The lease may have ended while the server started.
            let end = server.run("PEXPIRETIME k").integer();
            assert!(end == -2 || end >= after, "{request}: the AOF has the old lease, {end}");
            await_free(server, "k");
            assert_eq!((figure(server, "bound_to_connections"), figure(server, "bound_lost")), (0, 0));
            replica.await_sync();
        }
    });
}

#[test]
fn a_shorter_lease_of_a_bound_hold_is_renewed_before_it_ends() {
    each_server(|server| {
        for (request, renew) in [
            ("ATOMIC.LOCK k me 60000 BIND", "ATOMIC.LOCKRENEW k me 1000"),
            ("ATOMIC.SEMACQUIRE k 4 me 60000 BIND", "ATOMIC.SEMRENEW k me 1000"),
        ] {
            let connection = bound(server, request);
            assert_eq!(server.run(renew), Value::Integer(1000));
            let soon = micros(&mut server.connect()) / 1000 + 10_000;
            let end = await_renewal(server, "k", soon);
            assert!(end > soon, "{renew}");
            assert_eq!((figure(server, "bound_to_connections"), figure(server, "bound_lost")), (1, 0), "{renew}");
            close(server, connection);
            await_free(server, "k");
        }
    });
}

#[test]
fn a_longer_lease_of_a_bound_hold_is_kept() {
    each_server(|server| {
        let mut connection = bound(server, "ATOMIC.LOCK k me 600 BIND");
        assert_eq!(connection.run("ATOMIC.LOCKRENEW k me 60000"), Value::Integer(60_000));
        let end = deadline(server, "k");
        await_micros(&mut server.connect(), (end - 60_000 + 700) * 1000);
        assert_eq!(deadline(server, "k"), end);
        // The lease of a later request without BIND is longer, and the binding stays.
        granted(&server.run("ATOMIC.LOCK k me 90000"));
        close(server, connection);
        await_free(server, "k");
    });
}

#[test]
fn reset_ends_no_connection() {
    each_server(|server| {
        let mut connection = bound(server, HOLDS[0]);
        let first = deadline(server, "k");
        assert_eq!(connection.run("RESET"), Value::Status("RESET".to_owned()));
        await_renewal(server, "k", first + LEASE);
        assert_eq!(owners(server, "k"), ["me"]);
        close(server, connection);
        await_free(server, "k");
    });
}

#[test]
fn a_renewal_works_in_the_database_of_its_hold() {
    each_server(|server| {
        let mut connection = server.connect();
        connection.run("SELECT 3");
        granted(&connection.run(HOLDS[0]));
        let mut third = server.connect();
        third.run("SELECT 3");
        let first = third.run("PEXPIRETIME k").integer();
        await_micros(&mut third, (first + 100) * 1000);
        assert!(third.run("PEXPIRETIME k").integer() > first);
        // The hold moves with its database.
        assert_eq!(server.run("SWAPDB 0 3"), Value::ok());
        let moved = deadline(server, "k");
        await_renewal(server, "k", moved);
        assert_eq!(figure(server, "bound_lost"), 0);
        close(server, connection);
        await_free(server, "k");
    });
}

#[test]
fn a_resent_request_on_a_new_connection_has_the_hold() {
    each_server(|server| {
        const REQUEST: &str = "ATOMIC.LOCK k w 60000 WAIT 0 BIND";
        // Where the first request is when it is sent again: in the queue, in the queue without its connection, granted but not yet read.
        for first in ["waits", "closed", "granted"] {
            granted(&server.run("ATOMIC.LOCK k me 60000"));
            let mut earlier = Waiter::queued(server, "k", 1, REQUEST);
            let mut later = server.connect();
            match first {
                "waits" => {
                    later.send(&argv(REQUEST)).unwrap();
                    not_granted(&earlier.reply());
                    drop(earlier);
                    unlock(server, "k", "me");
                }
                "closed" => {
                    drop(earlier);
                    await_figure(server, "vacant_places", 1);
                    later.send(&argv(REQUEST)).unwrap();
                    await_figure(server, "vacant_places", 0);
                    unlock(server, "k", "me");
                }
                _ => {
                    let bytes = ["ATOMIC.UNLOCK k me", REQUEST].map(|line| crate::support::resp::encode(&argv(line))).concat();
                    later.send_raw(&bytes).unwrap();
                    assert_eq!(later.read().unwrap(), Value::Integer(0));
                    granted(&earlier.reply());
                    let id = super::super::client_id(earlier.connection());
                    assert_eq!(server.run(&format!("CLIENT KILL ID {id}")), Value::Integer(1));
                }
            }
            granted(&later.read().unwrap());
            assert_eq!(figure(server, "bound_to_connections"), 1, "{first}");
            assert_eq!(owners(server, "k"), ["w"], "{first}");
            close(server, later);
            await_free(server, "k");
            await_figure(server, "bound_to_connections", 0);
        }
    });
}

#[test]
fn the_timeout_of_the_server_is_warned_of_once() {
    const WARNING: &str = "closes idle connections";
    for (timeout, times) in [(0, 0), (3600, 1)] {
        each_server_with(&Setup::with_module().config(&format!("timeout {timeout}")), |server| {
            granted(&server.run("ATOMIC.LOCK plain me 60000"));
            assert!(!server.log().contains(WARNING), "without BIND");
            let mut connection = server.connect();
            for reply in in_one_write(&mut connection, &[HOLDS[0], HOLDS[0], "ATOMIC.SEMACQUIRE s 1 me 60000 BIND"]) {
                granted(&reply);
            }
            assert_eq!(server.log().matches(WARNING).count(), times, "timeout {timeout}");
        });
    }
}
