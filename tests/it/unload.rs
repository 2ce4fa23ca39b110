//! MODULE UNLOAD: the server frees the commands and keeps pointers to them. So the module refuses where a freed command would run, and
//! closes the connections with such a pointer; with ATOMIC.DRAIN it can be unloaded at any time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::support::locks::{granted, not_granted};
use crate::support::resp::encode;
use crate::support::{
    Connection, FakeReplica, Server, Setup, Value, argv, each_server, each_server_that_unloads, each_server_with, eventually,
    module_path,
};
use crate::waiting::{Waiter, await_waiters};

const REFUSED: &str = "ERR Error unloading module: operation not possible.";

fn load(server: &Server) {
    let path = module_path();
    assert_eq!(server.call(&["MODULE", "LOAD", path.to_str().unwrap()]), Value::ok(), "{}", server.log());
}

#[track_caller]
fn unload(server: &Server) {
    assert_eq!(server.run("MODULE UNLOAD atomic"), Value::ok(), "{}", server.log());
}

/// Asserts that the server keeps the module, and logs why.
#[track_caller]
fn expect_refusal(server: &Server, why: &str) {
    let reply = server.run("MODULE UNLOAD atomic");
    assert!(matches!(&reply, Value::Error(_)), "unloaded, though {why}");
    assert!(server.log().contains(why), "the log does not say {why:?}:\n{}", server.log());
}

/// Makes the server reuse freed memory, in the sizes of a command's structures.
fn reuse_memory(server: &Server) {
    let mut connection = server.connect();
    for length in [16, 24, 40, 60, 100, 200, 300, 400, 450, 500, 600] {
        for key in 0..200 {
            connection.send(&["SET".to_owned(), format!("reuse:{length}:{key}"), "A".repeat(length)]).unwrap();
        }
        (0..200).for_each(|_| assert_eq!(connection.read().unwrap(), Value::ok()));
    }
}

fn id(connection: &mut Connection) -> i64 {
    connection.run("CLIENT ID").integer()
}

fn await_blocked(server: &Server, client: i64) {
    let list = || server.run(&format!("CLIENT LIST ID {client}")).text();
    eventually("the client is blocked", || {
        list().split(' ').any(|field| field.starts_with("flags=") && field.contains('b')).then_some(())
    });
}

#[test]
fn a_transaction_with_commands_in_its_queue_keeps_the_module() {
    each_server_that_unloads(|server| {
        let mut client = server.connect();
        let id = id(&mut client);
        client.run("MULTI");
        client.run("ATOMIC.CAS k a b");
        expect_refusal(
            server,
            &format!("not unloaded: clients have commands queued in MULTI, and EXEC would run freed commands: id={id};"),
        );
        reuse_memory(server);
        assert_eq!(client.run("EXEC"), Value::integers(&[-1]));
        // Nothing is queued, so nothing keeps the module.
        client.run("MULTI");
        unload(server);
        reuse_memory(server);
        assert!(server.run("CLIENT LIST").text().contains("cmd=client|list"));
    });
}

#[test]
fn a_transaction_cannot_unload_its_own_commands() {
    each_server_that_unloads(|server| {
        let mut client = server.connect();
        for command in ["MULTI", "ATOMIC.CAS k a b", "MODULE UNLOAD atomic", "ATOMIC.CAS k a b"] {
            client.run(command);
        }
        let replies = client.run("EXEC");
        assert_eq!(replies.array()[1], Value::Error(REFUSED.to_owned()), "{replies}");
        assert_eq!(replies.array()[2], Value::Integer(-1));
    });
}

#[test]
fn drop_in_mode_keeps_the_module() {
    each_server_that_unloads(|server| {
        server.run("CONFIG SET atomic.intercept yes");
        let mut client = server.connect();
        client.run("MULTI");
        client.run("EVAL 'return 1' 0");
        expect_refusal(server, "not unloaded: drop-in mode is on; run CONFIG SET atomic.intercept no, then try again");
        server.run("CONFIG SET atomic.intercept no");
        expect_refusal(server, "not unloaded: clients have commands queued in MULTI");
        assert_eq!(client.run("EXEC"), Value::integers(&[1]));
        unload(server);
        reuse_memory(server);
        assert_eq!(server.run("EVAL 'return 1' 0"), Value::Integer(1));
    });
}

#[test]
fn a_client_whose_command_is_held_back_keeps_the_module() {
    each_server_that_unloads(|server| {
        let (mut plain, mut queueing) = (server.connect(), server.connect());
        let ids = [id(&mut plain), id(&mut queueing)];
        queueing.run("MULTI");
        assert_eq!(server.run("CLIENT PAUSE 60000 WRITE"), Value::ok());
        for (client, id) in [&mut plain, &mut queueing].into_iter().zip(ids) {
            client.send(&argv("ATOMIC.CAS k a b")).unwrap();
            await_blocked(server, id);
        }
        let [one, other] = ids;
        expect_refusal(server, &format!("not unloaded: paused clients hold commands of this module: id={one} id={other};"));
        reuse_memory_while_paused(server);
        assert_eq!(server.run("CLIENT UNPAUSE"), Value::ok());
        assert_eq!(plain.read().unwrap(), Value::Integer(-1));
        assert_eq!(queueing.read().unwrap(), Value::Status("QUEUED".to_owned()));
        assert_eq!(queueing.run("EXEC"), Value::integers(&[-1]));
        unload(server);
    });
}

fn reuse_memory_while_paused(server: &Server) {
    for user in 0..200 {
        server.run(&format!("ACL SETUSER u{user} ~{}", "k".repeat(user * 3 + 10)));
    }
}

#[test]
fn an_unload_that_was_held_back_sees_a_client_that_was_held_back_after_it() {
    each_server_that_unloads(|server| {
        // Such a pause cannot end early. If it ended before both had sent, it was too short for this machine.
        for pause in [200, 400, 800, 1600, 3200, 6400] {
            let (mut operator, mut client) = (server.connect(), server.connect());
            assert_eq!(server.run(&format!("CLIENT PAUSE {pause} ALL")), Value::ok());
            operator.send(&argv("MODULE UNLOAD atomic")).unwrap();
            client.send(&argv("ATOMIC.CAS k a b")).unwrap();
            let (unloaded, reply) = (operator.read().unwrap(), client.read().unwrap());
            if unloaded == Value::Error(REFUSED.to_owned()) {
                assert_eq!(reply, Value::Integer(-1));
                return;
            }
            assert_eq!(unloaded, Value::ok());
            assert!(reply.error().starts_with("ERR unknown command"), "{reply}");
            load(server);
        }
        panic!("an unload that was held before a command was never refused");
    });
}

#[test]
fn only_connections_whose_last_command_is_unloaded_are_closed() {
    each_server_that_unloads(|server| {
        server.run("PING");
        let mut other = server.connect();
        other.run("GET k");
        let commands =
            ["ATOMIC.CAS k a b", "atomic.lock l me 1000", "ATOMIC.SCRIPT EXISTS x", "ATOMIC.COMMANDS LIST", "ATOMIC.NOSUCH"];
        let mut users: Vec<Connection> = commands.map(|_| server.connect()).into();
        users.iter_mut().zip(commands).for_each(|(user, command)| drop(user.run(command)));
        // A hold that ends with its connection has a timer, until the server drains.
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK bound me 60000 BIND"));
        other.run("ATOMIC.DRAIN ON");
        other.run("GET k");
        unload(server);
        assert!(server.log().contains("unloading: closing 5 connections"), "{}", server.log());
        reuse_memory(server);
        let mut last = users.pop().unwrap();
        users.iter_mut().chain([&mut holder]).for_each(Connection::expect_close);
        for connection in [&mut other, &mut last] {
            assert_eq!(connection.run("PING"), Value::Status("PONG".to_owned()));
        }
        let list = server.run("CLIENT LIST").text();
        assert!(list.lines().all(|line| line.contains(" cmd=")) && !list.contains("cmd=atomic"), "{list}");
        load(server);
        assert_eq!(server.run("ATOMIC.UNLOCK bound me"), Value::Integer(0), "a bound hold becomes a plain lease");
    });
}

/// Redis from 8.4 and Valkey from 9 look up commands on arrival, before the client may run them.
#[test]
fn commands_that_a_blocked_client_sent_ahead_do_not_run_from_freed_memory() {
    each_server_that_unloads(|server| {
        let mut client = server.connect();
        let id = id(&mut client);
        let sent: Vec<u8> = ["BLPOP list 0", "ATOMIC.CAS k a b"].iter().flat_map(|line| encode(&argv(line))).collect();
        client.send_raw(&sent).unwrap();
        await_blocked(server, id);
        unload(server);
        reuse_memory(server);
        server.run("RPUSH list x");
        if !client.is_closed() {
            assert_eq!(client.read().unwrap().array().len(), 2);
            assert!(client.read().unwrap().error().starts_with("ERR unknown command"));
        }
        assert_eq!(server.run("PING"), Value::Status("PONG".to_owned()));
    });
}

#[test]
fn io_threads_do_not_keep_freed_commands() {
    each_server_with(&Setup::with_module().config("io-threads 3"), |server| {
        if !server.unloads() {
            return;
        }
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        // Any outcome is right (refused, closed, unknown) as long as the server survives.
                        let Ok(mut connection) = Connection::open(server.port()) else { continue };
                        for _ in 0..20 {
                            let sent = connection.send(&["ATOMIC.CAS", "k", "a", "b"]).and_then(|()| connection.read());
                            if sent.is_err() {
                                break;
                            }
                        }
                    }
                });
            }
            for _ in 0..3 {
                eventually("the module is unloaded", || (server.run("MODULE UNLOAD atomic") == Value::ok()).then_some(()));
                reuse_memory(server);
                load(server);
            }
            over.store(true, Ordering::Relaxed);
        });
        assert!(server.is_alive(), "{}", server.log());
    });
}

#[test]
fn a_load_that_the_server_reverts_leaves_nothing() {
    each_server_with(&Setup::without_module(), |server| {
        let mut client = server.connect();
        client.run("MULTI");
        client.run("GET k");
        let path = module_path();
        let command =
            ["MODULE", "LOADEX", path.to_str().unwrap(), "CONFIG", "atomic.intercept", "yes", "CONFIG", "atomic.nonsense", "1"];
        let reply = server.call(&command);
        assert!(matches!(&reply, Value::Error(_)), "{reply}");
        if server.unloads() {
            server.run("MULTI");
            server.call(&command);
            let replies = server.run("EXEC");
            assert!(matches!(&replies.array()[0], Value::Error(_)), "{replies}");
        }
        let patched = server.unloads();
        let modules = server.run("MODULE LIST");
        assert_eq!(modules.array().iter().any(|module| module.field("name") == Some(Value::bulk("atomic"))), !patched);
        if patched {
            assert!(!server.log().contains("not unloaded"), "{}", server.log());
            load(server);
            assert_eq!(server.run("ATOMIC.CAS k a b"), Value::Integer(-1));
        }
    });
}

#[test]
fn drain_replies_to_waiters_and_accepts_no_new_ones() {
    each_server(|server| {
        granted(&server.run("ATOMIC.LOCK l holder 60000"));
        granted(&server.run("ATOMIC.SEMACQUIRE s 1 holder 60000"));
        let mut holder = server.connect();
        granted(&holder.run("ATOMIC.LOCK bound me 60000 BIND"));
        let mut lock = Waiter::queued(server, "l", 1, "ATOMIC.LOCK l a 60000 WAIT 0");
        let mut bound = Waiter::queued(server, "l", 2, "ATOMIC.LOCK l b 60000 WAIT 60000 BIND SHARED");
        let mut permits = Waiter::send(server, "ATOMIC.SEMACQUIRE s 1 c 60000 WAIT 0");
        eventually("three wait", || (server.info("atomic_locks_waiting_clients") == "3").then_some(()));
        assert_eq!(server.info("atomic_locks_draining"), "0");
        server.run("SELECT 5");
        assert_eq!(server.run("ATOMIC.DRAIN on"), Value::Integer(3));
        assert_eq!(server.run("EXISTS l"), Value::Integer(0), "the caller's database is another one now");
        server.run("SELECT 0");
        for waiter in [&mut lock, &mut bound] {
            let reply = waiter.reply();
            not_granted(&reply);
            assert!((1..=60_000).contains(&reply.array()[2].integer()), "{reply}");
        }
        not_granted(&permits.reply());
        for figure in ["atomic_locks_waiting_clients", "atomic_locks_bound_to_connections"] {
            assert_eq!(server.info(figure), "0", "{figure}");
        }
        assert_eq!(server.info("atomic_locks_draining"), "1");
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(0));
        for command in [
            "ATOMIC.LOCK l d 60000 WAIT 0",
            "ATOMIC.LOCK free d 60000 WAIT 10",
            "ATOMIC.LOCK free d 60000 BIND",
            "ATOMIC.SEMACQUIRE s 1 d 60000 WAIT 0",
            "ATOMIC.SEMACQUIRE free 1 d 60000 BIND",
        ] {
            assert!(server.run(command).error().starts_with("TRYAGAIN draining"), "{command}");
        }
        // Everything else still works.
        not_granted(&server.run("ATOMIC.LOCK l d 60000"));
        not_granted(&server.run("ATOMIC.EVAL 'return redis.call(\"ATOMIC.LOCK\", KEYS[1], \"d\", 60000, \"WAIT\", 0)' 1 l"));
        assert_eq!(server.run("ATOMIC.UNLOCK l holder"), Value::Integer(0));
        granted(&server.run("ATOMIC.LOCK l d 60000"));
        assert_eq!(server.run("ATOMIC.DRAIN OFF"), Value::Integer(0));
        let mut again = Waiter::queued(server, "l", 1, "ATOMIC.LOCK l e 60000 WAIT 0");
        assert_eq!(server.run("ATOMIC.UNLOCK l d"), Value::Integer(0));
        again.granted();
    });
}

#[test]
fn drain_writes_nothing_and_works_while_clients_are_paused() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        granted(&server.run("ATOMIC.LOCK l holder 60000"));
        replica.stream();
        let mut waiter = Waiter::queued(server, "l", 1, "ATOMIC.LOCK l a 60000 WAIT 0");
        server.run("CLIENT PAUSE 60000 WRITE");
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(1));
        not_granted(&waiter.reply());
        server.run("CLIENT UNPAUSE");
        replica.expect_stream(&[]);
    });
}

#[test]
fn drain_needs_admin_rights_and_is_refused_in_transactions_and_scripts() {
    each_server(|server| {
        server.run("MULTI");
        server.run("ATOMIC.DRAIN ON");
        let replies = server.run("EXEC");
        assert!(
            replies.array()[0].error().starts_with("ERR ATOMIC.DRAIN is not allowed in transactions or in calls"),
            "{replies}"
        );
        let reply = server.call(&["ATOMIC.EVAL", "return redis.call('ATOMIC.DRAIN', 'ON')", "0"]);
        assert!(reply.error().contains(" command is not allowed from script"), "{reply}");
        assert_eq!(server.info("atomic_locks_draining"), "0");
        for command in ["ATOMIC.DRAIN", "ATOMIC.DRAIN MAYBE", "ATOMIC.DRAIN ON ON"] {
            assert!(matches!(server.run(command), Value::Error(_)), "{command}");
        }
        let rules = ["+@all -@dangerous", "+@all -@admin", "+@all -module", "+@all -atomic.drain"];
        let with_categories = !server.binary.is_redis_from(7, 0) || server.binary.is_redis_from(7, 2);
        for (number, rule) in rules.iter().enumerate() {
            assert_eq!(server.run(&format!("ACL SETUSER u{number} reset on nopass ~* {rule}")), Value::ok());
            let mut user = server.connect();
            user.run(&format!("AUTH u{number} x"));
            let reply = user.run("ATOMIC.DRAIN ON");
            if *rule == "+@all -module" && with_categories {
                assert_eq!(reply, Value::Integer(0));
                server.run("ATOMIC.DRAIN OFF");
            } else {
                assert!(matches!(&reply, Value::Error(text) if text.starts_with("NOPERM")), "{rule}: {reply}");
            }
        }
        assert_eq!(server.info("atomic_locks_draining"), "0");
    });
}

/// Clients begin to wait all the time while the module is unloaded and loaded.
#[test]
fn with_drain_the_module_is_unloaded_and_loaded_under_load() {
    each_server_that_unloads(|server| {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for number in 0..6 {
                let over = &over;
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let Ok(mut connection) = Connection::open(server.port()) else { continue };
                        let bind = if number % 2 == 0 { " BIND" } else { "" };
                        for _ in 0..50 {
                            let lock = argv(&format!("ATOMIC.LOCK l w{number} 200 WAIT 0{bind}"));
                            let unlock = argv(&format!("ATOMIC.UNLOCK l w{number} ALL"));
                            let asked = connection.send(&lock).and_then(|()| connection.read());
                            if asked.and_then(|_| connection.send(&unlock)).and_then(|()| connection.read()).is_err() {
                                break;
                            }
                        }
                    }
                });
            }
            for round in 0..6 {
                eventually("a client waits", || (server.info("atomic_locks_waiting_clients") != "0").then_some(()));
                assert!(server.run("ATOMIC.DRAIN ON").integer() >= 0);
                // The waiters need one turn of the event loop; a connection that closed meanwhile needs another.
                let mut tries = 0;
                eventually("the module is unloaded", || {
                    tries += 1;
                    (server.run("MODULE UNLOAD atomic") == Value::ok()).then_some(())
                });
                assert!(tries <= 50, "round {round}: {tries} tries");
                reuse_memory(server);
                assert!(server.run("CLIENT LIST").text().contains("cmd="));
                load(server);
                assert_eq!(server.info("atomic_locks_draining"), "0");
            }
            over.store(true, Ordering::Relaxed);
            server.run("ATOMIC.DRAIN ON");
        });
        assert!(server.is_alive(), "{}", server.log());
    });
}

#[test]
fn a_waiter_keeps_the_module_until_the_drain() {
    each_server_that_unloads(|server| {
        granted(&server.run("ATOMIC.LOCK l holder 60000"));
        let mut waiter = Waiter::send(server, "ATOMIC.LOCK l a 60000 WAIT 0");
        await_waiters(server, "l", 1);
        assert!(server.run("MODULE UNLOAD atomic").error().contains("blocked clients"));
        assert_eq!(server.run("ATOMIC.DRAIN ON"), Value::Integer(1));
        unload(server);
        not_granted(&waiter.reply());
        waiter.connection().expect_close();
    });
}
