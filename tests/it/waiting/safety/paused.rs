//! Periods in which the server forbids every write, and aborts when a module still writes: a pause, a failover, a shutdown
//! that waits for a replica. Nothing is written then, and everything is handed off afterwards.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::{Waiter, in_one_write, owners};
use crate::commands::{await_micros, deadline, micros};
use crate::support::locks::{close, granted, not_granted, quiet, vanish};
use crate::support::{Connection, FakeReplica, RealReplica, Server, Value, each_server_with, eventually};

/// Locks that become free without a command, and clients that wait for them.
struct Scene<'a> {
    server: &'a Server,
    /// Holds `bound` with BIND.
    holder: Connection,
    /// Waits for `bound`.
    bound: Waiter,
    /// First in the queue for `leased`, and will vanish.
    gone: Waiter,
    /// Second in the queue for `leased`.
    leased: Waiter,
    /// Waits for the only permit of `sem`.
    permit: Waiter,
}

impl<'a> Scene<'a> {
    #[track_caller]
    fn set(server: &'a Server) -> Self {
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK bound me 1000000 BIND"));
        granted(&server.run("ATOMIC.LOCK leased me 1000000"));
        granted(&server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000"));
        let bound = Waiter::queued(server, "bound", 1, "ATOMIC.LOCK bound you 1000000 WAIT 0");
        let gone = Waiter::queued(server, "leased", 1, "ATOMIC.LOCK leased gone 1000000 WAIT 0");
        let leased = Waiter::queued(server, "leased", 2, "ATOMIC.LOCK leased you 1000000 WAIT 0");
        let permit = Waiter::send(server, "ATOMIC.SEMACQUIRE sem 1 you 1000000 WAIT 0");
        eventually("it waits", || (server.run("ATOMIC.SEMINFO sem").field("waiters") == Some(Value::Integer(1))).then_some(()));
        Self { server, holder, bound, gone, leased, permit }
    }

    /// Lets the leases end soon, and runs `begin` before they do. Then closes connections, and returns the waiters when the leases
    /// have ended and timers have had time to run.
    #[track_caller]
    fn free_after(self, begin: impl FnOnce(&mut Connection)) -> [Waiter; 3] {
        let Self { server, holder, bound, gone, leased, permit } = self;
        let mut control = server.connect();
        let renewed = in_one_write(&mut control, &["ATOMIC.LOCKRENEW leased me 300", "ATOMIC.SEMRENEW sem me 300"]);
        assert_eq!(renewed, [Value::Integer(300), Value::Integer(300)]);
        let ends = ["leased", "sem"].map(|key| deadline(server, key)).into_iter().max().unwrap();
        begin(&mut control);
        close(server, holder);
        vanish(server, gone);
        await_micros(&mut control, (ends + 50) * 1000);
        [bound, leased, permit]
    }
}

/// Asserts that each waiter was granted.
#[track_caller]
fn expect_grants(server: &Server, mut waiters: [Waiter; 3]) {
    for waiter in &mut waiters {
        granted(&waiter.reply());
    }
    assert_eq!([owners(server, "bound"), owners(server, "leased")], [["you"], ["you"]]);
    assert_eq!(server.run("ATOMIC.SEMRELEASE sem you"), Value::Integer(0));
}

fn offset(server: &Server) -> String {
    server.info("master_repl_offset")
}

#[test]
fn while_writes_are_paused_nothing_is_written_and_all_is_handed_off_afterwards() {
    each_server_with(&quiet(), |server| {
        let mut replica = FakeReplica::attach(server);
        let scene = Scene::set(server);
        // Times out in the pause, after the lease has ended, when nothing may be written.
        let mut impatient = Waiter::queued(server, "leased", 3, "ATOMIC.LOCK leased impatient 1000000 WAIT 800");
        replica.stream();
        let mut paused = String::new();
        let mut waiters = scene.free_after(|control| {
            control.run("CLIENT PAUSE 1000000 WRITE");
            paused = offset(server);
        });
        not_granted(&impatient.reply());
        assert!(waiters.iter_mut().all(|waiter| !waiter.has_reply()), "granted while paused");
        assert_eq!(offset(server), paused, "written while paused");
        assert_eq!(owners(server, "bound"), ["me"]);
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        expect_grants(server, waiters);
        let stream = replica.stream().join("\n");
        assert!(stream.contains("SET bound ") && stream.contains("SET leased ") && !stream.contains("gone"), "{stream}");
        assert!(!stream.contains("impatient"), "{stream}");
    });
}

#[test]
fn a_lease_that_ends_in_a_pause_is_handed_off_without_another_event() {
    each_server_with(&quiet(), |server| {
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        granted(&server.run("ATOMIC.LOCK k me 1000000"));
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000000 WAIT 0");
        let mut control = server.connect();
        in_one_write(&mut control, &["ATOMIC.LOCKRENEW k me 100", "CLIENT PAUSE 1000000 WRITE"]);
        let paused = micros(&mut control);
        await_micros(&mut control, paused + 200_000);
        assert!(!waiter.has_reply(), "granted while paused");
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        granted(&waiter.reply());
    });
}

#[test]
fn a_pause_of_everything_delays_the_grants() {
    const PAUSE: Duration = Duration::from_millis(400);
    each_server_with(&quiet(), |server| {
        let Scene { holder, bound, gone, leased, permit, .. } = Scene::set(server);
        let pause = format!("CLIENT PAUSE {} ALL", PAUSE.as_millis());
        let commands = ["ATOMIC.LOCKRENEW leased me 50", "ATOMIC.SEMRENEW sem me 50", "TIME", &pause];
        // The pause ends at a whole millisecond of the server's clock, which is also this machine's.
        let time = in_one_write(&mut server.connect(), &commands)[2].clone();
        let [seconds, micros] = [0, 1].map(|at| time.array()[at].text().parse::<u64>().unwrap());
        let end = Duration::from_millis(seconds * 1000 + micros / 1000) + PAUSE;
        drop((holder, gone));
        let mut waiters = [bound, leased, permit];
        for waiter in &mut waiters {
            waiter.connection().has_input(crate::support::DEADLINE);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            assert!(now >= end, "granted {:?} before the end of the pause", end - now);
        }
        expect_grants(server, waiters);
    });
}

fn terminate(server: &Server) {
    assert!(Command::new("kill").args(["-TERM", &server.pid().to_string()]).status().unwrap().success());
}

/// Waits until a server has ended, and asserts that it shut down cleanly.
#[track_caller]
fn expect_clean_end(server: &Server) {
    eventually("the server is gone", || (!server.is_alive()).then_some(()));
    let log = server.log();
    assert!(log.contains("ready to exit, bye bye"), "not a clean end:\n{log}");
    assert!(!log.contains("BUG REPORT") && !log.contains("ASSERTION FAILED"), "{log}");
}

/// The order of the pause and the shutdown.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    /// Only the pause of the shutdown itself.
    ShutDownOnly,
    /// Both before anything becomes free.
    PauseAndShutDownFirst,
    /// The shutdown when everything is free and cannot be handed off.
    ShutDownLast,
}

#[test]
fn a_shutdown_that_waits_for_a_replica_survives_closed_connections_and_ended_leases() {
    for order in [Order::ShutDownOnly, Order::PauseAndShutDownFirst, Order::ShutDownLast] {
        each_server_with(&quiet().config("shutdown-timeout 2"), |server| {
            // It acknowledges the stream before it attached, and nothing after.
            let _stalled = FakeReplica::attach(server);
            let scene = Scene::set(server);
            let shut_down = || {
                terminate(server);
                eventually("the shutdown waits", || {
                    server.run("INFO server").text().contains("shutdown_in_milliseconds:").then_some(())
                });
            };
            let mut forbidden = String::new();
            let mut waiters = scene.free_after(|control| {
                if order != Order::ShutDownOnly {
                    control.run("CLIENT PAUSE 1000000 WRITE");
                }
                if order != Order::ShutDownLast {
                    shut_down();
                }
                forbidden = offset(server);
            });
            if order == Order::ShutDownLast {
                shut_down();
            }
            assert_eq!(owners(server, "bound"), ["me"]);
            assert!(waiters.iter_mut().all(|waiter| !waiter.has_reply()), "granted during the shutdown");
            assert_eq!(offset(server), forbidden, "written during the shutdown");
            expect_clean_end(server);
        });
    }
}

#[test]
fn an_aborted_shutdown_hands_off_freed_locks() {
    each_server_with(&quiet().config("shutdown-timeout 100"), |server| {
        let mut replica = FakeReplica::attach(server);
        let scene = Scene::set(server);
        let waiters = scene.free_after(|_| {
            terminate(server);
            eventually("the shutdown waits", || {
                server.run("INFO server").text().contains("shutdown_in_milliseconds:").then_some(())
            });
        });
        assert_eq!(server.run("SHUTDOWN ABORT"), Value::ok());
        expect_grants(server, waiters);
        assert!(!replica.stream().join("\n").contains("gone"));
    });
}

#[test]
fn a_failed_failover_hands_off_freed_locks() {
    each_server_with(&quiet(), |server| {
        let mut replica = FakeReplica::attach(server);
        let scene = Scene::set(server);
        let state = || server.info("master_failover_state");
        let mut waiters = scene.free_after(|control| {
            // The replica never acknowledges, so the failover waits in vain.
            assert_eq!(control.run("FAILOVER TIMEOUT 1000000"), Value::ok());
            assert_eq!(state(), "waiting-for-sync");
        });
        assert_eq!((state().as_str(), owners(server, "bound")), ("waiting-for-sync", vec!["me".to_owned()]));
        assert!(waiters.iter_mut().all(|waiter| !waiter.has_reply()), "granted during the failover");
        assert_eq!(server.run("FAILOVER ABORT"), Value::ok());
        expect_grants(server, waiters);
        let stream = replica.stream().join("\n");
        assert!(stream.contains("SET bound ") && stream.contains("SET leased ") && !stream.contains("gone"), "{stream}");
    });
}

#[test]
fn a_grant_around_a_failover_is_valid_on_the_new_primary() {
    each_server_with(&quiet(), |server| {
        let replica = RealReplica::with_module(server);
        // Leases from long before the failover until after it.
        let leases: Vec<i64> = (0..40).collect();
        let name = |lease: &i64| format!("k{lease}");
        let mut waiters: Vec<Waiter> = leases
            .iter()
            .map(|lease| {
                granted(&server.run(&format!("ATOMIC.LOCK {} me 1000000", name(lease))));
                Waiter::queued(server, &name(lease), 1, &format!("ATOMIC.LOCK {} you 1000000 WAIT 0", name(lease)))
            })
            .collect();
        let renewals: Vec<String> =
            leases.iter().map(|lease| format!("ATOMIC.LOCKRENEW {} me {}", name(lease), lease + 1)).collect();
        let commands: Vec<&str> = renewals.iter().map(String::as_str).chain(["FAILOVER"]).collect();
        assert_eq!(in_one_write(&mut server.connect(), &commands).last(), Some(&Value::ok()));
        let primary = &replica.server;
        eventually("the replica takes over", || (primary.info("role") == "master").then_some(()));
        for (lease, waiter) in leases.iter().zip(&mut waiters) {
            let reply = waiter.reply();
            if let Value::Error(text) = &reply {
                assert!(text.starts_with("UNBLOCKED "), "{text}");
                assert_ne!(owners(primary, &name(lease)), ["you"], "granted without a word: {text}");
            } else {
                granted(&reply);
                assert_eq!(owners(primary, &name(lease)), ["you"], "the new primary does not know of a grant");
            }
        }
        eventually("the old primary follows", || (server.info("master_link_status") == "up").then_some(()));
    });
}
