//! The end of the process, of the module, and of the data, while clients wait.

use super::super::{Waiter, await_waiters, owners};
use crate::support::locks::{close, expect_silence, granted, not_granted, put, vanish};
use crate::support::{Server, Setup, Value, each_server, each_server_that_unloads, each_server_with, eventually, module_path};

fn unload(server: &Server) -> Value {
    server.run("MODULE UNLOAD atomic")
}

#[track_caller]
fn load(server: &Server) {
    assert_eq!(server.call(&["MODULE", "LOAD", module_path().to_str().unwrap()]), Value::ok(), "{}", server.log());
}

/// Unloads, loads again, and asserts hand-offs by a command, by a lease and by the end of a connection.
#[track_caller]
fn expect_reload(server: &Server) {
    // The place of a waiter whose connection closed is kept for a while, by a timer.
    eventually("no place is kept", || (server.info("atomic_locks_vacant_places") == "0").then_some(()));
    assert_eq!(unload(server), Value::ok());
    load(server);
    let mut holder = server.connect();
    granted(&holder.run("ATOMIC.LOCK fresh me 1000000 BIND"));
    let mut waiters: Vec<Waiter> =
        (1..=3).map(|n| Waiter::queued(server, "fresh", n, &format!("ATOMIC.LOCK fresh w{n} 1000000 WAIT 0"))).collect();
    close(server, holder);
    granted(&waiters[0].reply());
    assert_eq!(server.run("ATOMIC.UNLOCK fresh w1"), Value::Integer(0));
    granted(&waiters[1].reply());
    assert_eq!(server.run("ATOMIC.LOCKRENEW fresh w2 20"), Value::Integer(20));
    granted(&waiters[2].reply());
    assert_eq!(server.run("ATOMIC.UNLOCK fresh w3"), Value::Integer(0));
}

#[test]
fn the_module_stays_while_clients_wait_and_unloads_when_they_are_gone() {
    each_server_that_unloads(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000");
        let gone = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k gone 1000000 WAIT 0");
        for _ in 0..2 {
            let refused = unload(server);
            assert!(refused.error().contains("blocked clients"), "{refused}");
        }
        vanish(server, gone);
        expect_reload(server);
        // The same for a permit.
        let permit = Waiter::send(server, "ATOMIC.SEMACQUIRE sem 1 you 1000000 WAIT 0");
        eventually("it waits", || (server.run("ATOMIC.SEMINFO sem").field("waiters") == Some(Value::Integer(1))).then_some(()));
        assert!(unload(server).error().contains("blocked clients"));
        vanish(server, permit);
        expect_reload(server);
        // The same after a timeout.
        not_granted(&Waiter::send(server, "ATOMIC.LOCK k you 1000000 WAIT 20").reply());
        expect_reload(server);
        assert_eq!(owners(server, "k"), ["me"]);
    });
}

#[test]
fn the_module_unloads_after_every_kind_of_hand_off() {
    each_server_that_unloads(|server| {
        server.run("ATOMIC.LOCK k me 1000000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 30 WAIT 0");
        server.run("ATOMIC.UNLOCK k me");
        granted(&waiter.reply());
        // The last lease ends without a waiter, with the module loaded or not.
        expect_reload(server);
        eventually("the lease has ended", || owners(server, "k").is_empty().then_some(()));
        expect_reload(server);
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        granted(&holder.run("ATOMIC.SEMACQUIRE sem 1 me 1000000 BIND"));
        close(server, holder);
        eventually("what was bound is free", || (server.run("EXISTS k sem") == Value::Integer(0)).then_some(()));
        expect_reload(server);
    });
}

#[test]
fn a_bind_connection_that_closes_after_the_unload_is_harmless() {
    each_server_that_unloads(|server| {
        let (mut holder, mut idle) = (server.connect(), server.connect());
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        granted(&idle.run("ATOMIC.LOCK l me 1000000 BIND"));
        holder.run("PING");
        let refused = unload(server);
        assert!(refused.error().contains("timer"), "{refused}");
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(0));
        assert_eq!(unload(server), Value::ok());
        idle.expect_close();
        close(server, holder);
        load(server);
        for key in ["k", "l"] {
            assert_eq!(owners(server, key), ["me"], "no module was loaded to release it: the lease decides");
        }
        expect_reload(server);
    });
}

#[test]
fn a_shutdown_unblocks_waiters_and_keeps_the_holders() {
    for arguments in ["", "SAVE", "NOSAVE", "NOW"] {
        each_server(|server| {
            let mut holder = server.connect();
            granted(&holder.run("ATOMIC.LOCK bound me 1000000 BIND"));
            server.run("ATOMIC.LOCK k me 1000000");
            let mut waiters: Vec<Waiter> =
                (1..=50).map(|n| Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k w{n} 1000000 WAIT 0"))).collect();
            waiters.push(Waiter::queued(server, "bound", 1, "ATOMIC.LOCK bound you 1000000 WAIT 0"));
            server.shut_down(arguments);
            let log = server.log();
            assert!(log.contains("ready to exit, bye bye") && !log.contains("ASSERTION FAILED"), "SHUTDOWN {arguments}: {log}");
            for waiter in &mut waiters {
                assert!(waiter.connection().read().is_err(), "a reply at the end");
            }
            server.start_again();
            let kept: &[&str] = if arguments == "SAVE" { &["me"] } else { &[] };
            assert_eq!(owners(server, "k"), kept, "SHUTDOWN {arguments}");
        });
    }
}

#[test]
fn reloaded_data_keeps_holders_and_waiters() {
    for (setup, reload) in [
        (Setup::with_module(), "DEBUG RELOAD"),
        (Setup::with_module().appendonly("always"), "DEBUG RELOAD"),
        (Setup::with_module().appendonly("always"), "DEBUG LOADAOF"),
        (Setup::with_module().appendonly("always").config("aof-use-rdb-preamble no"), "DEBUG LOADAOF"),
    ] {
        each_server_with(&setup, |server| {
            let mut holder = server.connect();
            granted(&holder.run("ATOMIC.LOCK bound me 1000000 BIND"));
            granted(&server.run("ATOMIC.LOCK k me 1000000"));
            granted(&server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000"));
            // The AOF frees the lock and acquires it again while it loads.
            server.run("ATOMIC.UNLOCK k me");
            granted(&server.run("ATOMIC.LOCK k me 1000000"));
            let mut waiters =
                ["k", "bound"].map(|key| Waiter::queued(server, key, 1, &format!("ATOMIC.LOCK {key} you 1000000 WAIT 0")));
            let mut permit = Waiter::send(server, "ATOMIC.SEMACQUIRE sem 1 you 1000000 WAIT 0");
            eventually("it waits", || {
                (server.run("ATOMIC.SEMINFO sem").field("waiters") == Some(Value::Integer(1))).then_some(())
            });
            let before = ["k", "bound"].map(|key| put(server, key));
            assert_eq!(server.run(reload), Value::ok());
            waiters.iter_mut().for_each(|waiter| expect_silence(waiter.connection()));
            assert_eq!(["k", "bound"].map(|key| put(server, key)), before, "{reload}");
            ["k", "bound"].iter().for_each(|key| await_waiters(server, key, 1));
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
            close(server, holder);
            for waiter in &mut waiters {
                granted(&waiter.reply());
            }
            assert!(!permit.has_reply());
            assert_eq!(server.run("ATOMIC.SEMRELEASE sem me"), Value::Integer(0));
            granted(&permit.reply());
        });
    }
}
