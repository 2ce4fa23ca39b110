//! Waiting on a replica and in the AOF: each hand-off is one plain write, and nothing else replicates.

use super::{Waiter, await_waiters, in_one_write, owners};
use crate::commands::integers;
use crate::support::line::line;
use crate::support::locks::{close, expect_unblocked, fence, granted, not_granted, put, vanish};
use crate::support::{FakeReplica, RealReplica, Server, Setup, Value, argv, each_server, each_server_with, eventually};

type Command = Vec<Vec<u8>>;

fn shown(commands: &[Command]) -> Vec<String> {
    commands.iter().map(|command| line(command)).collect()
}

/// True where a module can write in the execution unit of the command that caused an event: from 7.2 on.
fn has_jobs(server: &Server) -> bool {
    server.binary.is_valkey || server.binary.is_redis_from(7, 2)
}

/// The replicated commands without the MULTI and EXEC around an execution unit. `one_unit`: they must all be in one unit.
#[track_caller]
fn unwrapped(recorded: Vec<Command>, one_unit: bool) -> Vec<Command> {
    let is = |command: &Command, word: &[u8]| command[0].eq_ignore_ascii_case(word);
    let brackets = recorded.iter().filter(|command| is(command, b"MULTI") || is(command, b"EXEC")).count();
    if one_unit && recorded.len() > 1 {
        let ends = [recorded.first(), recorded.last()].map(Option::unwrap);
        assert!(brackets == 2 && is(ends[0], b"MULTI") && is(ends[1], b"EXEC"), "not one transaction: {:#?}", shown(&recorded));
    }
    recorded.into_iter().filter(|command| !is(command, b"MULTI") && !is(command, b"EXEC")).collect()
}

#[test]
fn an_unlock_with_a_waiter_is_one_write_of_the_next_holder() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for _ in 0..2 {
            server.run("ATOMIC.LOCK k me 1000000 REENTRANT");
        }
        replica.stream();
        let mut second = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k second 2000000 WAIT 0");
        let mut third = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k third 3000000 WAIT 0");
        replica.expect_stream(&[]);
        for (unlock, left, owner) in [("k me", 1, "me"), ("k me", 0, "second"), ("k second ALL", 0, "third")] {
            assert_eq!(server.run(&format!("ATOMIC.UNLOCK {unlock}")), Value::Integer(left));
            assert_eq!(shown(&replica.commands()), shown(&[put(server, "k")]), "UNLOCK {unlock}");
            assert_eq!(owners(server, "k"), [owner]);
        }
        assert!(granted(&third.reply()) > granted(&second.reply()));
        server.run("ATOMIC.UNLOCK k third");
        replica.expect_stream(&["DEL k"]);
    });
}

#[test]
fn in_a_transaction_and_in_a_script_a_hand_off_is_in_order() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let script = "redis.call('SET', KEYS[1], 'b') redis.call('ATOMIC.UNLOCK', KEYS[2], 'me') redis.call('SET', KEYS[3], 'a')";
        let forms: [&dyn Fn(); 3] = [
            &|| drop(in_one_write(&mut server.connect(), &["MULTI", "SET x b", "ATOMIC.UNLOCK k me", "SET y a", "EXEC"])),
            &|| drop(server.call(&["EVAL", script, "3", "x", "k", "y"])),
            &|| drop(server.call(&["ATOMIC.EVAL", script, "3", "x", "k", "y"])),
        ];
        for (form, run) in forms.iter().enumerate() {
            server.run("ATOMIC.LOCK k me 1000000");
            let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 2000000 WAIT 0");
            replica.stream();
            run();
            granted(&waiter.reply());
            let expected = [argv("SET x b"), put(server, "k"), argv("SET y a")];
            assert_eq!(shown(&unwrapped(replica.commands(), true)), shown(&expected), "form {form}");
            server.run("ATOMIC.UNLOCK k you");
        }
    });
}

#[test]
fn a_hand_off_at_the_end_of_a_lease_is_one_write_after_the_end_of_the_key() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        // With the server's own expiry, and with our timer alone.
        for active in [0, 1] {
            server.run(&format!("DEBUG SET-ACTIVE-EXPIRE {active}"));
            server.run("ATOMIC.LOCK k me 1000000");
            let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 2000000 WAIT 0");
            replica.stream();
            server.run("ATOMIC.LOCKRENEW k me 20");
            granted(&waiter.reply());
            let mut recorded = unwrapped(replica.commands(), false);
            assert_eq!(recorded.remove(0)[..2], argv("SET k"), "the renewal");
            // In the millisecond in which the lease ends the server does not yet treat the key as expired: then the write overwrites it.
            recorded.retain(|command| !["DEL k", "UNLINK k"].map(argv).contains(command));
            assert_eq!(shown(&recorded), shown(&[put(server, "k")]), "with active expiry {active}");
            server.run("ATOMIC.UNLOCK k you");
        }
    });
}

#[test]
fn a_lock_that_another_command_frees_is_handed_off_after_it() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for command in ["DEL k", "UNLINK k", "GETDEL k", "PEXPIRE k 0", "RENAME k gone", "MOVE k 1", "FLUSHDB", "FLUSHALL"] {
            server.run("FLUSHALL");
            server.run("ATOMIC.LOCK k me 1000000");
            let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 2000000 WAIT 0");
            replica.stream();
            server.run(command);
            granted(&waiter.reply());
            let keyed = !command.starts_with("FLUSH");
            let recorded = shown(&unwrapped(replica.commands(), keyed && has_jobs(server)));
            assert_eq!(recorded.len(), 2, "{command}: {recorded:#?}");
            let freed = [command, "DEL k", "UNLINK k"].iter().any(|words| recorded[0].eq_ignore_ascii_case(words));
            assert!(freed, "{command}: {recorded:#?}");
            assert_eq!(recorded[1], line(&put(server, "k")), "{command}");
        }
    });
}

#[test]
fn the_end_of_a_bind_connection_is_one_write() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK k me 1000000 BIND"));
        granted(&holder.run("ATOMIC.LOCK alone me 1000000 BIND"));
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 2000000 WAIT 0");
        replica.stream();
        close(server, holder);
        granted(&waiter.reply());
        eventually("the lock without waiters is free", || owners(server, "alone").is_empty().then_some(()));
        let mut recorded = shown(&unwrapped(replica.commands(), false));
        recorded.sort();
        assert_eq!(recorded, ["DEL alone".to_owned(), line(&put(server, "k"))]);
    });
}

#[test]
fn a_batch_of_readers_is_one_write() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("ATOMIC.LOCK k me 1000000");
        let mut readers: Vec<Waiter> = (1..=5)
            .map(|n| Waiter::queued(server, "k", n, &format!("ATOMIC.LOCK k r{n} {} WAIT 0 SHARED", 1_000_000 + n)))
            .collect();
        let mut writer = Waiter::queued(server, "k", 6, "ATOMIC.LOCK k w 1000000 WAIT 0");
        let _late = Waiter::queued(server, "k", 7, "ATOMIC.LOCK k late 1000000 WAIT 0 SHARED");
        replica.stream();
        server.run("ATOMIC.UNLOCK k me");
        let fences: Vec<i64> = readers.iter_mut().map(|reader| granted(&reader.reply())).collect();
        assert_eq!(shown(&replica.commands()), shown(&[put(server, "k")]));
        assert!(fences.is_sorted_by(|a, b| a < b), "{fences:?}");
        for left in (0..5).rev() {
            assert_eq!(server.run(&format!("ATOMIC.UNLOCK k r{}", left + 1)), Value::Integer(0));
            // The last reader makes room for the writer, in the same write.
            assert_eq!(shown(&replica.commands()), shown(&[put(server, "k")]), "{left} readers left");
        }
        granted(&writer.reply());
        server.run("DEL k");
    });
}

#[test]
fn readers_that_do_not_wait_are_one_write_each() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for command in [
            "LOCK k a 1000000 SHARED",
            "LOCK k b 1000000 SHARED",
            "LOCK k a 2000000 SHARED REENTRANT",
            "UNLOCK k a",
            "UNLOCK k a",
        ] {
            server.run(&format!("ATOMIC.{command}"));
            assert_eq!(shown(&replica.commands()), shown(&[put(server, "k")]), "{command}");
        }
        server.run("ATOMIC.UNLOCK k b");
        replica.expect_stream(&["DEL k"]);
    });
}

#[test]
fn several_locks_at_once_are_one_transaction_or_nothing() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        granted(&server.run("ATOMIC.MLOCK me 1000000 {m}a {m}b {m}c"));
        let puts = ["{m}a", "{m}b", "{m}c"].map(|key| put(server, key));
        assert_eq!(shown(&unwrapped(replica.commands(), true)), shown(&puts));
        assert_eq!(integers(&server.run("ATOMIC.MLOCK you 1000000 {m}x {m}b {m}y"))[..2], [0, 1]);
        replica.expect_stream(&[]);
        assert_eq!(server.run("DBSIZE"), Value::Integer(3));
    });
}

#[test]
fn waiting_and_leaving_replicate_nothing() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        server.run("ATOMIC.LOCK k me 1000000");
        server.run("ATOMIC.SEMACQUIRE sem 1 me 1000000");
        replica.stream();
        let mut timed_out = Waiter::send(server, "ATOMIC.LOCK k a 1000 WAIT 20");
        not_granted(&timed_out.reply());
        not_granted(&Waiter::send(server, "ATOMIC.SEMACQUIRE sem 1 a 1000 WAIT 20").reply());
        let gone = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k b 1000 WAIT 0");
        not_granted(&server.run("ATOMIC.LOCK k c 1000 WAIT 0 MAXQUEUE 1"));
        not_granted(&server.run("ATOMIC.LOCK k c 1000"));
        vanish(server, gone);
        await_waiters(server, "k", 0);
        let mut connection = server.connect();
        connection.run("MULTI");
        connection.run("ATOMIC.LOCK k d 1000 WAIT 0");
        not_granted(&connection.run("EXEC").array()[0]);
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_permit_that_is_handed_off_is_a_change_of_members() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        granted(&server.run("ATOMIC.SEMACQUIRE sem 2 a 1000000"));
        granted(&server.run("ATOMIC.SEMACQUIRE sem 2 b 1000000"));
        replica.stream();
        let mut waiter = Waiter::send(server, "ATOMIC.SEMACQUIRE sem 2 c 2000000 WAIT 0");
        eventually("it waits", || (semaphore(server, "waiters") == Some(Value::Integer(1))).then_some(()));
        replica.expect_stream(&[]);
        server.run("ATOMIC.SEMRELEASE sem a");
        granted(&waiter.reply());
        let recorded = unwrapped(replica.commands(), true);
        let plain = ["ZADD", "ZREM", "PEXPIREAT"];
        let named = |command: &Command| String::from_utf8_lossy(&command[0]).into_owned();
        assert!(recorded.iter().all(|command| plain.contains(&named(command).as_str())), "{:#?}", shown(&recorded));
        let count = |name: &str| recorded.iter().filter(|command| named(command) == name).count();
        assert_eq!([count("ZADD"), count("ZREM")], [1, 1], "{:#?}", shown(&recorded));
        assert_eq!(semaphore(server, "in-use"), Some(Value::Integer(2)));
    });
}

fn semaphore(server: &Server, field: &str) -> Option<Value> {
    server.run("ATOMIC.SEMINFO sem").field(field)
}

/// Hand-offs of every kind on keys that stay.
fn hand_over_everything(server: &Server) {
    let mut holder = server.connect();
    for key in ["unlocked", "ended", "deleted", "read"] {
        server.run(&format!("ATOMIC.LOCK {key} me 1000000"));
    }
    holder.run("ATOMIC.LOCK bound me 1000000 BIND");
    server.run("ATOMIC.SEMACQUIRE sem 3 me 1000000 PERMITS 3");
    let exclusive = ["unlocked", "ended", "deleted", "bound"];
    let mut waiters: Vec<Waiter> =
        exclusive.iter().map(|key| Waiter::queued(server, key, 1, &format!("ATOMIC.LOCK {key} you 2000000 WAIT 0"))).collect();
    waiters.extend((1..=3).map(|n| Waiter::queued(server, "read", n, &format!("ATOMIC.LOCK read r{n} 2000000 WAIT 0 SHARED"))));
    waiters.extend((1..=2).map(|n| {
        let waiter = Waiter::send(server, &format!("ATOMIC.SEMACQUIRE sem 3 s{n} 2000000 WAIT 0 PERMITS {n}"));
        eventually("it waits", || (semaphore(server, "waiters") == Some(Value::Integer(n))).then_some(()));
        waiter
    }));
    server.run("ATOMIC.UNLOCK unlocked me");
    server.run("ATOMIC.UNLOCK read me");
    server.run("ATOMIC.LOCKRENEW ended me 10");
    server.run("DEL deleted");
    server.run("ATOMIC.SEMRELEASE sem me PERMITS 3");
    close(server, holder);
    for waiter in &mut waiters {
        granted(&waiter.reply());
    }
    server.run("ATOMIC.MLOCK me 1000000 {m}a {m}b");
    assert_eq!(server.run("DBSIZE"), Value::Integer(8));
}

#[test]
fn a_replica_without_the_module_follows_every_hand_off() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        hand_over_everything(server);
        replica.expect_same_data();
        assert!(replica.server.run("ATOMIC.LOCKINFO read").error().starts_with("ERR unknown command"), "it has the module");
    });
}

#[test]
fn the_holder_after_a_hand_off_holds_the_lock_after_kill_9() {
    each_server_with(&Setup::with_module().appendonly("always"), |server| {
        hand_over_everything(server);
        let keys = ["unlocked", "ended", "deleted", "bound", "read", "{m}a", "{m}b"];
        let held = || keys.map(|key| (owners(server, key), put(server, key)));
        let permits = || [server.run("ZRANGE sem 0 -1 WITHSCORES"), server.run("PEXPIRETIME sem")];
        let before = (held(), permits());
        server.kill_9();
        server.start_again();
        assert_eq!((held(), permits()), before);
        assert_eq!(owners(server, "ended"), ["you"]);
        assert_eq!(owners(server, "read"), ["r1", "r2", "r3"]);
        // The queue is gone with its connections, and a new queue works.
        let mut waiter = Waiter::queued(server, "bound", 1, "ATOMIC.LOCK bound next 1000 WAIT 0");
        let earlier = fence(server, "bound");
        assert_eq!(server.run("ATOMIC.UNLOCK bound you"), Value::Integer(0));
        assert!(granted(&waiter.reply()) > earlier);
    });
}

#[test]
fn a_demoted_primary_unblocks_its_waiters_and_grants_nothing() {
    each_server(|server| {
        let mut holder = server.connect();
        holder.run("ATOMIC.LOCK bound me 1000000 BIND");
        server.run("ATOMIC.LOCK leased me 1000000");
        let mut waiters =
            ["bound", "leased"].map(|key| Waiter::queued(server, key, 1, &format!("ATOMIC.LOCK {key} you 1000 WAIT 0")));
        // No primary there: it stays a replica with its data.
        let replies = in_one_write(&mut server.connect(), &["ATOMIC.LOCKRENEW leased me 50", "REPLICAOF 127.0.0.1 1"]);
        assert_eq!(replies, [Value::Integer(50), Value::ok()]);
        let bound = server.run("GET bound");
        waiters.iter_mut().for_each(|waiter| expect_unblocked(waiter.connection()));
        let refused = server.run("ATOMIC.LOCK bound you 1000 WAIT 0");
        assert!(refused.error().starts_with("READONLY"), "{refused}");
        close(server, holder);
        eventually("the lease has ended", || owners(server, "leased").is_empty().then_some(()));
        assert_eq!((server.run("GET bound"), owners(server, "bound")), (bound, vec!["me".to_owned()]));
        // A primary again: the bound connection closed while nothing could be released, so the lease decides.
        assert_eq!(server.run("REPLICAOF NO ONE"), Value::ok());
        not_granted(&server.run("ATOMIC.LOCK bound you 1000"));
        let mut next = Waiter::queued(server, "bound", 1, "ATOMIC.LOCK bound next 1000 WAIT 0");
        assert_eq!(server.run("ATOMIC.UNLOCK bound me"), Value::Integer(0));
        granted(&next.reply());
        granted(&server.run("ATOMIC.LOCK leased you 1000"));
    });
}

#[test]
fn a_primary_that_becomes_a_replica_forgets_its_queue() {
    each_server(|server| {
        let primary = Server::start(&server.binary, &Setup::with_module());
        primary.run("ATOMIC.LOCK k theirs 1000000");
        server.run("ATOMIC.LOCK k me 1000000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k you 1000 WAIT 0");
        server.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port()));
        expect_unblocked(waiter.connection());
        eventually("it holds what the primary holds", || (owners(server, "k") == ["theirs"]).then_some(()));
        primary.run("ATOMIC.UNLOCK k theirs");
        eventually("the lock is free", || owners(server, "k").is_empty().then_some(()));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn a_promoted_replica_keeps_its_holders() {
    each_server(|server| {
        let replica = RealReplica::with_module(server);
        hand_over_everything(server);
        let issued = ["unlocked", "ended", "bound", "read", "{m}a"].map(|key| fence(server, key)).into_iter().max().unwrap();
        replica.expect_same_data();
        server.kill_9();
        let promoted = &replica.server;
        assert_eq!(promoted.run("REPLICAOF NO ONE"), Value::ok());
        not_granted(&promoted.run("ATOMIC.LOCK ended other 1000"));
        assert_eq!(promoted.run("ATOMIC.LOCKRENEW ended you 60000"), Value::Integer(60_000));
        let mut waiter = Waiter::queued(promoted, "ended", 1, "ATOMIC.LOCK ended other 1000 WAIT 0");
        assert_eq!(promoted.run("ATOMIC.UNLOCK ended you"), Value::Integer(0));
        assert!(granted(&waiter.reply()) > issued, "fences went back");
        let mut writer = Waiter::queued(promoted, "read", 1, "ATOMIC.LOCK read w 1000 WAIT 0");
        for reader in ["r2", "r1", "r3"] {
            assert!(!writer.has_reply(), "granted beside readers");
            assert_eq!(promoted.run(&format!("ATOMIC.UNLOCK read {reader}")), Value::Integer(0));
        }
        granted(&writer.reply());
        assert_eq!(promoted.run("ATOMIC.SEMRELEASE sem s2 PERMITS 2"), Value::Integer(0));
        granted(&promoted.run("ATOMIC.SEMACQUIRE sem 3 new 1000 PERMITS 2"));
    });
}
