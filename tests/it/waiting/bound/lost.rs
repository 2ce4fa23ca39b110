//! A hold that its owner loses while the connection is open: counted, reported in the log, never released or renewed afterwards.

use super::super::{Waiter, in_one_write, owners};
use super::{await_figure, await_free, await_renewal, bound, figure};
use crate::commands::{await_micros, deadline, everything, micros};
use crate::support::locks::{close, granted, quiet};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with, eventually};

const LOST: &str = "while its connection is open";

const HOUR: i64 = 3_600_000_000;

#[test]
fn a_hold_whose_key_changed_is_unbound_and_nothing_is_written() {
    each_server_with(&quiet(), |server| {
        let mut replica = FakeReplica::attach(server);
        let ways: &[&[&str]] = &[
            &["DEL k"],
            &["SET k x"],
            &["DEL k", "RPUSH k x"],
            &["DEL k", "ZADD k 1 me"],
            &["RENAME k elsewhere", "PEXPIRE elsewhere 600000"],
            &["MOVE k 1", "SELECT 1", "PEXPIRE k 600000"],
            &["FLUSHALL"],
            &["PEXPIREAT k 1"],
            &["DEL k", "ATOMIC.LOCK k you 600000"],
            &["DEL k", "EVAL \"return redis.call('ATOMIC.LOCK', KEYS[1], 'you', 600000)\" 1 k"],
        ];
        let mut lost = 0;
        for request in ["ATOMIC.LOCK k me 600 BIND", "ATOMIC.SEMACQUIRE k 4 me 600 BIND"] {
            for way in ways.iter().filter(|way| !request.contains("SEM") || !way.contains(&"ZADD k 1 me")) {
                let mut connection = bound(server, request);
                in_one_write(&mut connection, way);
                let before = everything(server);
                replica.stream();
                lost += 1;
                await_figure(server, "bound_lost", lost);
                assert_eq!(figure(server, "bound_to_connections"), 0, "{request} {way:?}");
                close(server, connection);
                replica.expect_stream(&[]);
                assert_eq!(everything(server), before, "{request} {way:?}");
                server.run("FLUSHALL");
            }
        }
    });
}

#[test]
fn another_ownership_of_the_same_owner_is_not_bound() {
    each_server(|server| {
        let connection = bound(server, "ATOMIC.LOCK k me 1500 BIND");
        server.run("DEL k");
        let fence = granted(&server.run("ATOMIC.LOCK k me 600000"));
        let end = deadline(server, "k");
        assert_eq!(figure(server, "bound_to_connections"), 0);
        close(server, connection);
        assert_eq!((crate::support::locks::fence(server, "k"), deadline(server, "k")), (fence, end));
        assert_eq!(figure(server, "bound_lost"), 0);
    });
}

/// Holds with a short lease, which the server must lose in a stall.
fn many_short(server: &Server) -> crate::support::Connection {
    let mut connection = server.connect();
    let requests: Vec<String> = (0..50).map(|n| format!("ATOMIC.LOCK k{n} me 500 BIND")).collect();
    for reply in in_one_write(&mut connection, &requests) {
        granted(&reply);
    }
    connection
}

#[test]
fn a_stall_longer_than_the_lease_loses_the_hold() {
    each_server(|server| {
        let connection = many_short(server);
        let mut waiter = Waiter::queued(server, "k7", 1, "ATOMIC.LOCK k7 you 60000 WAIT 0");
        server.run("DEBUG SLEEP 0.7");
        granted(&waiter.reply());
        await_figure(server, "bound_lost", 50);
        assert_eq!(figure(server, "bound_to_connections"), 0);
        let lines = server.log().matches(LOST).count();
        assert!((1..=2).contains(&lines), "{lines} lines about 50 lost holds: {}", server.log());
        close(server, connection);
        assert_eq!(owners(server, "k7"), ["you"]);
        eventually("the others are free", || (server.run("DBSIZE") == Value::Integer(1)).then_some(()));
    });
}

#[test]
fn a_pause_longer_than_the_lease_loses_the_hold_and_a_shorter_one_does_not() {
    each_server_with(&quiet(), |server| {
        let mut replica = FakeReplica::attach(server);
        let kept = bound(server, "ATOMIC.LOCK kept me 6000 BIND");
        let first = deadline(server, "kept");
        let connection = many_short(server);
        replica.stream();
        let mut control = server.connect();
        control.run("CLIENT PAUSE 1000000 WRITE");
        // Both are due for a renewal, and the short leases have ended.
        await_micros(&mut control, (first - 6000 + 2300) * 1000);
        assert_eq!(deadline(server, "kept"), first, "renewed while paused");
        let offset = server.info("master_repl_offset");
        assert_eq!(control.run("CLIENT UNPAUSE"), Value::ok());
        await_renewal(server, "kept", first);
        assert_ne!(server.info("master_repl_offset"), offset);
        await_figure(server, "bound_lost", 50);
        assert_eq!(figure(server, "bound_to_connections"), 1);
        close(server, connection);
        close(server, kept);
        await_free(server, "kept");
    });
}

fn each_server_with_a_clock(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module().with_clock().config("hz 10"), body);
}

#[test]
fn a_step_of_the_clock_past_the_lease_loses_the_hold() {
    each_server_with_a_clock(|server| {
        let connection = bound(server, "ATOMIC.LOCK k me 60000 BIND");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 60000000 WAIT 0");
        server.set_clock(HOUR);
        granted(&waiter.reply());
        await_figure(server, "bound_lost", 1);
        close(server, connection);
        assert_eq!(owners(server, "k"), ["you"]);
    });
}

#[test]
fn a_step_of_the_clock_into_the_lease_renews_it() {
    each_server_with_a_clock(|server| {
        let connection = bound(server, "ATOMIC.LOCK k me 60000000 BIND");
        let first = deadline(server, "k");
        server.set_clock(HOUR / 2);
        // Two thirds of the lease and more are left.
        let stepped = micros(&mut server.connect());
        await_micros(&mut server.connect(), stepped + 500_000);
        assert_eq!(deadline(server, "k"), first);
        server.set_clock(10 * HOUR);
        let renewed = await_renewal(server, "k", first);
        assert!(renewed >= first + 10 * HOUR / 1000, "renewed for less than its lease");
        assert_eq!(figure(server, "bound_lost"), 0);
        close(server, connection);
        await_free(server, "k");
    });
}

#[test]
fn after_a_step_of_the_clock_back_the_hold_stays_and_ends_with_its_connection() {
    each_server_with_a_clock(|server| {
        server.set_clock(HOUR);
        let connection = bound(server, "ATOMIC.LOCK k me 1500 BIND");
        let end = deadline(server, "k");
        server.set_clock(0);
        let stepped = micros(&mut server.connect());
        await_micros(&mut server.connect(), stepped + 2_000_000);
        assert_eq!((deadline(server, "k"), owners(server, "k")), (end, vec!["me".to_owned()]), "a lease is never made shorter");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 60000 WAIT 0");
        close(server, connection);
        granted(&waiter.reply());
        assert_eq!(figure(server, "bound_lost"), 0);
    });
}
