//! Every way in which a lock becomes free, is replaced by another value, or only seems to change.

use super::{Waiter, await_nobody_blocked, await_waiters, in_one_write, owners, take, unlock, waiters};
use crate::commands::{WRONGTYPE, await_micros, micros};
use crate::support::resp::encode;
use crate::support::{Connection, Server, Value, argv, each_server, eventually};

const DAMAGED: &str = "WRONGTYPE key does not hold a lock (format LK1)";

/// The release script of the clients that lock with `SET key token NX PX ms`.
const RELEASE: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// Runs the commands of one line, separated by ` ; `, in one write on a new connection.
#[track_caller]
pub fn run_all(server: &Server, commands: &str) -> Vec<Value> {
    let mut connection = server.connect();
    let replies = in_one_write(&mut connection, &commands.split(" ; ").collect::<Vec<_>>());
    for reply in &replies {
        assert!(!matches!(reply, Value::Error(_)), "{commands}: {reply}");
    }
    replies
}

/// `me` holds `k`, and `w` waits for it. Returns the fence of `me`.
#[track_caller]
fn held_and_awaited(server: &Server) -> (i64, Waiter) {
    let fence = take(server, "k me 60000").fence;
    (fence, Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0"))
}

/// Commands that free the lock of `me` at `k`.
pub const FREEING: &[&str] = &[
    "ATOMIC.UNLOCK k me",
    "ATOMIC.UNLOCK k me ALL",
    "ATOMIC.LOCK k me 60000 ; ATOMIC.UNLOCK k me ALL",
    "DEL k",
    "UNLINK k",
    "GETDEL k",
    "DEL missing k other",
    "PEXPIREAT k 1",
    "EXPIREAT k 1",
    "EXPIRE k -1",
    "PEXPIRE k 0",
    "GETEX k PXAT 1",
    "PEXPIRE k 1",
    "PEXPIRE k 20",
    "SET k v PX 1",
    "ATOMIC.LOCKRENEW k me 1",
    "ATOMIC.LOCKRENEW k me 20",
    "RENAME k elsewhere",
    "RENAMENX k elsewhere",
    "MOVE k 1",
    "FLUSHDB",
    "FLUSHDB SYNC",
    "FLUSHDB ASYNC",
    "FLUSHALL",
    "FLUSHALL SYNC",
    "FLUSHALL ASYNC",
    "SELECT 5 ; FLUSHALL",
    "SWAPDB 0 1",
    "SWAPDB 1 0",
    "SELECT 1 ; SWAPDB 0 1",
    "SELECT 1 ; SET k v ; PEXPIRE k 1 ; SWAPDB 0 1",
    "SORT missing STORE k",
    "SDIFFSTORE k missing",
    "ZUNIONSTORE k 1 missing",
    "BITOP AND k missing",
    "MULTI ; DEL k ; EXEC",
    "MULTI ; SET k v ; DEL k ; EXEC",
    "MULTI ; DEL k ; RPUSH k v ; DEL k ; EXEC",
    "MULTI ; RENAME k x ; EXEC",
    "MULTI ; FLUSHALL ; EXEC",
    "MULTI ; SWAPDB 0 1 ; EXEC",
    "EVAL \"return redis.call('DEL', KEYS[1])\" 1 k",
    "EVAL \"return redis.call('ATOMIC.UNLOCK', KEYS[1], 'me')\" 1 k",
    "EVAL \"redis.call('SET', KEYS[1], 'v') return redis.call('GETDEL', KEYS[1])\" 1 k",
    "EVAL \"redis.call('PEXPIRE', KEYS[1], 1)\" 1 k",
    "ATOMIC.EVAL \"return redis.call('DEL', KEYS[1])\" 1 k",
    "ATOMIC.EVAL \"return redis.call('ATOMIC.UNLOCK', KEYS[1], 'me')\" 1 k",
    "ATOMIC.EVAL \"redis.call('SET', KEYS[1], 'v') return redis.call('GETDEL', KEYS[1])\" 1 k",
    "SET k token ; ATOMIC.CAD k token",
    "SET k token ; ATOMIC.DEL k IFEQ token",
    "SET k token ; ATOMIC.UNLOCK k token",
    "SET k token PX 1",
    "SET k token ; ATOMIC.PEXPIRE k 1 XX",
];

#[test]
fn every_command_that_frees_the_key_hands_the_lock_off() {
    each_server(|server| {
        for commands in FREEING {
            let (fence, mut waiter) = held_and_awaited(server);
            run_all(server, commands);
            let grant = waiter.granted();
            assert!(grant.fence > fence, "{commands}: {} after {fence}", grant.fence);
            assert_eq!((grant.holds(), grant.waiters), (1, 0), "{commands}");
            assert_eq!(owners(server, "k"), ["w"], "{commands}");
            unlock(server, "k", "w");
            waiter.expect_nothing_more();
            server.run("FLUSHALL");
        }
        let (_, mut waiter) = held_and_awaited(server);
        let payload = server.run("DUMP k");
        assert_eq!(server.call(&[b"RESTORE", &b"k"[..], b"1", payload.bytes(), b"ABSTTL", b"REPLACE"]), Value::ok());
        waiter.granted();
        await_nobody_blocked(server);
    });
}

/// Commands that store a foreign value at `k`, and the error that waiters get.
const SPOILING: &[(&str, &str)] = &[
    ("RPUSH l v ; RENAME l k", WRONGTYPE),
    ("RPUSH l v ; COPY l k REPLACE", WRONGTYPE),
    ("RPUSH l v ; SORT l STORE k ALPHA", WRONGTYPE),
    ("SADD s v ; SUNIONSTORE k s", WRONGTYPE),
    ("ZADD z 1 v ; ZUNIONSTORE k 1 z", WRONGTYPE),
    ("GEOADD g 1 1 v ; GEOSEARCHSTORE k g FROMMEMBER v BYRADIUS 1 m", WRONGTYPE),
    ("MULTI ; DEL k ; HSET k f v ; EXEC", WRONGTYPE),
    ("MULTI ; DEL k ; XADD k * f v ; EXEC", WRONGTYPE),
    ("EVAL \"redis.call('DEL', KEYS[1]) return redis.call('SADD', KEYS[1], 'v')\" 1 k", WRONGTYPE),
    ("ATOMIC.EVAL \"redis.call('DEL', KEYS[1]) return redis.call('SADD', KEYS[1], 'v')\" 1 k", WRONGTYPE),
    ("SELECT 1 ; RPUSH k v ; SWAPDB 0 1", WRONGTYPE),
    ("SELECT 1 ; RPUSH k v ; SWAPDB 1 0", WRONGTYPE),
    ("SELECT 1 ; RPUSH k v ; SELECT 0 ; MULTI ; RENAME k away ; SELECT 1 ; MOVE k 0 ; EXEC", WRONGTYPE),
    ("APPEND k junk", DAMAGED),
    ("SETRANGE k 5 junk", DAMAGED),
    ("SET k \"\\xa7LK\\x01\"", DAMAGED),
    ("MULTI ; DEL k ; SETBIT k 7 1 ; SET k \"\\xa7LK\\x01\" ; EXEC", DAMAGED),
];

#[test]
fn a_foreign_value_at_the_key_ends_the_wait_with_an_error_and_stays() {
    each_server(|server| {
        for (commands, error) in SPOILING {
            take(server, "k me 60000");
            let mut waiting = vec![Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w0 60000 WAIT 0")];
            waiting.push(Waiter::queued(server, "k", 2, "ATOMIC.LOCK k w1 60000 WAIT 0 SHARED BIND"));
            run_all(server, commands);
            let kept = server.run("DUMP k");
            for waiter in &mut waiting {
                assert_eq!(waiter.reply(), Value::Error((*error).to_owned()), "{commands}");
                waiter.expect_nothing_more();
            }
            drop(waiting);
            assert_eq!(server.run("DUMP k"), kept, "{commands}: what was there was touched");
            server.run("FLUSHALL");
            // The queue is gone, too: the next lock is a new one.
            take(server, "k me 60000");
            server.run("FLUSHALL");
        }
        await_nobody_blocked(server);
    });
}

/// Commands that store a plain string at `k`: the lock of a client that locks with SET.
const FOREIGN: &[&str] = &[
    "SET k token",
    "SET k token PX 60000",
    "SET k token KEEPTTL",
    "SET k token GET",
    "GETSET k token",
    "MSET k token",
    "SETRANGE k 0 token",
    "SET s token ; RENAME s k",
    "SET s token ; COPY s k REPLACE",
    "SET s token PX 60000 ; COPY s k REPLACE",
    "SET s token ; BITOP OR k s",
    "MULTI ; DEL k ; SET k token NX PX 60000 ; EXEC",
    "MULTI ; FLUSHALL ; SET k token ; EXEC",
    "SELECT 1 ; SET k token ; SWAPDB 0 1",
    "SELECT 1 ; SET k token ; SWAPDB 1 0",
    "EVAL \"redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'token')\" 1 k",
    "ATOMIC.EVAL \"redis.call('DEL', KEYS[1]) return redis.call('SET', KEYS[1], 'token')\" 1 k",
    "ATOMIC.SET k token XX",
    "SET k 5 ; INCR k",
];

#[test]
fn waiters_wait_for_a_plain_string_as_another_clients_lock() {
    each_server(|server| {
        for ending in ["DEL k", "PEXPIRE k 5", "EVAL"] {
            for commands in FOREIGN {
                let (_, mut waiter) = held_and_awaited(server);
                run_all(server, commands);
                let info = server.run("ATOMIC.LOCKINFO k");
                assert_eq!(info.field("mode"), Some(Value::bulk("string")), "{commands}");
                assert_eq!(info.field("waiters"), Some(Value::Integer(1)), "{commands}");
                assert!(!waiter.has_reply(), "{commands}");
                let token = server.run("GET k");
                if ending == "EVAL" {
                    let released = server.call(&[b"EVAL", RELEASE.as_bytes(), b"1", b"k", token.bytes()]);
                    assert_eq!(released, Value::Integer(1), "{commands}");
                } else {
                    server.run(ending);
                }
                waiter.granted();
                assert_eq!(owners(server, "k"), ["w"], "{commands} ; {ending}");
                server.run("FLUSHALL");
            }
        }
    });
}

#[test]
fn waiters_wait_for_another_lock_at_the_key() {
    each_server(|server| {
        let payload = |lease: i64| {
            let replies = run_all(server, &format!("ATOMIC.LOCK template other {lease} ; DUMP template ; DEL template"));
            replies[1].bytes().to_vec()
        };
        for way in ["RENAME x k", "COPY x k REPLACE", "SWAPDB", "RESTORE"] {
            let (fence, mut waiter) = held_and_awaited(server);
            match way {
                "RESTORE" => {
                    let bytes = payload(60_000);
                    assert_eq!(server.call(&[b"RESTORE", &b"k"[..], b"60000", &bytes, b"REPLACE"]), Value::ok());
                }
                "SWAPDB" => drop(run_all(server, "SELECT 1 ; ATOMIC.LOCK k other 60000 ; SWAPDB 1 0")),
                _ => drop(run_all(server, &format!("ATOMIC.LOCK x other 60000 ; {way}"))),
            }
            assert_eq!((owners(server, "k"), waiters(server, "k")), (vec!["other".to_owned()], 1), "{way}");
            assert!(!waiter.has_reply(), "{way}");
            let other = server.run("ATOMIC.LOCKINFO k").field("fence").unwrap().integer();
            unlock(server, "k", "other");
            assert!(waiter.granted().fence > other.max(fence), "{way}");
            server.run("FLUSHALL");
        }
        // An ended lease has no owner, whatever TTL the key has.
        let bytes = payload(50);
        let mut clock = server.connect();
        let ended = micros(&mut clock) + 50_000;
        let (_, mut waiter) = held_and_awaited(server);
        await_micros(&mut clock, ended);
        assert_eq!(server.call(&[b"RESTORE", &b"k"[..], b"0", &bytes, b"REPLACE"]), Value::ok());
        waiter.granted();
        assert!(server.run("PTTL k").integer() > 50_000, "the key got the lease of its new owner");
    });
}

#[test]
fn commands_that_keep_the_lock_hand_nothing_off() {
    each_server(|server| {
        let (fence, mut waiter) = held_and_awaited(server);
        let harmless = [
            "GET k ; EXISTS k ; TOUCH k ; OBJECT ENCODING k ; DUMP k ; STRLEN k",
            "COPY k copy ; DEL copy",
            "SET k v NX",
            "SETNX k v",
            "PERSIST k ; PEXPIRE k 60000",
            "PEXPIRE k 90000",
            "SELECT 1 ; DEL k ; SET k v ; FLUSHDB",
            "SELECT 1 ; ATOMIC.LOCK k x 60000 ; ATOMIC.UNLOCK k x",
            "SWAPDB 1 2",
            "SWAPDB 0 0",
            "ATOMIC.UNLOCK k you",
            "ATOMIC.LOCK k you 60000",
            "ATOMIC.CAD k you",
            "ATOMIC.LOCKRENEW k me 60000",
            "ATOMIC.LOCK k me 60000 REENTRANT ; ATOMIC.UNLOCK k me",
            "MULTI ; RENAME k x ; RENAME x k ; EXEC",
        ];
        for commands in harmless {
            run_all(server, commands);
            assert_eq!((owners(server, "k"), waiters(server, "k")), (vec!["me".to_owned()], 1), "{commands}");
            assert!(!waiter.has_reply(), "{commands}");
            assert_eq!(server.run("ATOMIC.LOCKINFO k").field("fence"), Some(Value::Integer(fence)), "{commands}");
        }
        unlock(server, "k", "me");
        waiter.granted();
    });
}

/// A connection that has selected a database.
#[track_caller]
fn in_database(server: &Server, number: i64) -> Connection {
    let mut connection = server.connect();
    assert_eq!(connection.run(&format!("SELECT {number}")), Value::ok());
    connection
}

/// Waits until `n` clients wait for `key` in the database of the connection.
#[track_caller]
fn await_waiters_in(connection: &mut Connection, key: &str, n: i64) {
    eventually("they wait", || {
        let info = connection.run(&format!("ATOMIC.LOCKINFO {key}"));
        (info.field("waiters") == Some(Value::Integer(n))).then_some(())
    });
}

#[test]
fn the_same_name_in_another_database_is_another_lock() {
    each_server(|server| {
        let mut one = in_database(server, 1);
        take(server, "k me 60000");
        super::Grant::read(&one.run("ATOMIC.LOCK k me 60000"));
        let mut here = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
        let mut there = Waiter::on(in_database(server, 1), "ATOMIC.LOCK k w 60000 WAIT 0");
        await_waiters_in(&mut one, "k", 1);
        assert_eq!(waiters(server, "k"), 1);
        one.run("DEL k");
        there.granted();
        assert!(!here.has_reply());
        super::expect_denied(&one.run("ATOMIC.LOCK k me 60000"), 0);
        one.run("FLUSHDB");
        assert_eq!((owners(server, "k"), waiters(server, "k")), (vec!["me".to_owned()], 1));
        unlock(server, "k", "me");
        here.granted();
    });
}

#[test]
fn swapping_databases_serves_the_waiters_of_both() {
    each_server(|server| {
        for swap in ["SWAPDB 0 1", "SWAPDB 1 0"] {
            let mut one = in_database(server, 1);
            take(server, "k me 60000");
            super::Grant::read(&one.run("ATOMIC.LOCK l me 60000"));
            let mut here = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 60000 WAIT 0");
            let mut there = Waiter::on(in_database(server, 1), "ATOMIC.LOCK l w 60000 WAIT 0");
            await_waiters_in(&mut one, "l", 1);
            server.run(swap);
            here.granted();
            there.granted();
            // Each is granted in the database in which it waits; the earlier locks are in the other one.
            assert_eq!((owners(server, "k"), owners(server, "l")), (vec!["w".to_owned()], vec!["me".to_owned()]), "{swap}");
            let info = one.run("ATOMIC.LOCKINFO l").field("owners").unwrap();
            assert_eq!(info.array()[0].array()[0], Value::bulk("w"), "{swap}");
            // The same key in both databases: the waiters wait for the lock that is there now.
            server.run("FLUSHALL");
            take(server, "k a 60000");
            super::Grant::read(&one.run("ATOMIC.LOCK k b 60000"));
            let mut here = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w0 60000 WAIT 0");
            let mut there = Waiter::on(in_database(server, 1), "ATOMIC.LOCK k w1 60000 WAIT 0");
            await_waiters_in(&mut one, "k", 1);
            server.run(swap);
            assert_eq!((owners(server, "k"), waiters(server, "k")), (vec!["b".to_owned()], 1), "{swap}");
            assert!(!here.has_reply() && !there.has_reply());
            unlock(server, "k", "b");
            here.granted();
            assert!(!there.has_reply());
            assert_eq!(one.run("ATOMIC.UNLOCK k a"), Value::Integer(0));
            there.granted();
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn an_evicted_lock_is_handed_over() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut waiter = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k w 900000 WAIT 0");
        server.run("CONFIG SET maxmemory-policy volatile-ttl");
        let used: u64 = server.info("used_memory").parse().unwrap();
        server.run(&format!("CONFIG SET maxmemory {}", used + 2_000_000));
        // Every other key has a longer TTL than the lock, and all can be evicted.
        let filler = "x".repeat(100_000);
        let mut filled = 0;
        eventually("the lock was evicted", || {
            filled += 1;
            server.call(&["SET", &format!("filler{filled}"), &filler, "PX", "800000"]);
            waiter.has_reply().then_some(())
        });
        assert!(server.info("evicted_keys") != "0", "no eviction");
        waiter.granted();
        server.run("CONFIG SET maxmemory 0");
        assert_eq!(owners(server, "k"), ["w"]);
    });
}

#[test]
fn a_full_server_still_hands_off() {
    each_server(|server| {
        let (_, mut waiter) = held_and_awaited(server);
        let mut second = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k second 60000 WAIT 0");
        server.run("CONFIG SET maxmemory 1");
        for late in ["ATOMIC.LOCK k late 60000", "ATOMIC.LOCK k late 60000 WAIT 0"] {
            assert!(server.run(late).error().starts_with("OOM "), "{late}");
        }
        unlock(server, "k", "me");
        waiter.granted();
        assert_eq!(server.run("DEL k"), Value::Integer(1));
        second.granted();
        assert_eq!(owners(server, "k"), ["second"]);
    });
}

#[test]
fn one_flush_serves_the_waiters_of_all_keys() {
    each_server(|server| {
        for flush in ["FLUSHALL", "FLUSHDB ASYNC", "SWAPDB 0 1"] {
            let mut waiting: Vec<Waiter> = (0..150)
                .map(|n| {
                    take(server, &format!("k{n} me 60000"));
                    Waiter::queued(server, &format!("k{n}"), 1, &format!("ATOMIC.LOCK k{n} w 60000 WAIT 0"))
                })
                .collect();
            server.run(flush);
            for (n, waiter) in waiting.iter_mut().enumerate() {
                waiter.granted();
                assert_eq!(owners(server, &format!("k{n}")), ["w"], "{flush}");
            }
            server.run("FLUSHALL");
        }
        await_nobody_blocked(server);
    });
}

#[test]
fn a_hand_off_touches_watched_keys() {
    each_server(|server| {
        for lease in [60_000, 60] {
            take(server, &format!("k me {lease}"));
            let mut watcher = server.connect();
            assert_eq!(watcher.run("WATCH k"), Value::ok());
            let mut waiter = Waiter::send(server, "ATOMIC.LOCK k w 60000 WAIT 0");
            if lease == 60_000 {
                await_waiters(server, "k", 1);
                assert_eq!(in_one_write(&mut watcher, &["MULTI", "PING", "EXEC"])[2].array().len(), 1, "waiting is no change");
                watcher.run("WATCH k");
                unlock(server, "k", "me");
            }
            waiter.granted();
            assert_eq!(in_one_write(&mut watcher, &["MULTI", "PING", "EXEC"])[2], Value::Null, "lease {lease}");
            server.run("DEL k");
        }
    });
}

#[test]
fn a_client_with_replies_off_gets_the_lock_and_no_reply() {
    each_server(|server| {
        take(server, "k me 60000");
        let mut silent = server.connect();
        silent.send_raw(&encode(&argv("CLIENT REPLY OFF"))).unwrap();
        let mut waiter = Waiter::on(silent, "ATOMIC.LOCK k w 60000 WAIT 0");
        await_waiters(server, "k", 1);
        unlock(server, "k", "me");
        eventually("it has the lock", || (owners(server, "k") == ["w"]).then_some(()));
        assert_eq!(waiter.connection().run("CLIENT REPLY ON"), Value::ok());
        waiter.expect_nothing_more();
        unlock(server, "k", "w");
    });
}

#[test]
fn the_event_listener_moves_no_client_to_another_database() {
    each_server(|server| {
        let (_, _waiter) = held_and_awaited(server);
        let mut connection = in_database(server, 2);
        // Early Valkey 8.1 does it with any module that listens (valkey PR 4024), and COPY does not say which database its client had.
        let copies: &[&str] = if server.binary.is_of("valkey-8.1") { &[] } else { &["COPY x y DB 3", "COPY x y DB 3 REPLACE"] };
        for command in ["MOVE x 3", "SWAPDB 2 3"].iter().chain(copies) {
            connection.run("SET x v");
            connection.run(command);
            assert!(connection.run("CLIENT INFO").text().contains(" db=2 "), "{command} left the client elsewhere");
        }
    });
}

#[test]
fn clients_that_lock_with_set_and_clients_that_wait_share_one_lock() {
    each_server(|server| {
        let release = |token: &str| server.call(&["EVAL", RELEASE, "1", "k", token]);
        // A client that locks with SET holds the lock and others wait; then a waiter holds it, and SET is refused until it is free.
        assert_eq!(server.run("SET k token NX PX 60000"), Value::ok());
        let mut first = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k first 60000 WAIT 0");
        let mut second = Waiter::queued(server, "k", 2, "ATOMIC.LOCK k second 60000 WAIT 0");
        assert_eq!(release("wrong"), Value::Integer(0));
        assert_eq!(server.run("SET k other NX PX 60000"), Value::Null);
        assert!(!first.has_reply());
        assert_eq!(release("token"), Value::Integer(1));
        first.granted();
        assert_eq!(server.run("SET k other NX PX 60000"), Value::Null);
        for token in ["token", "first", ""] {
            assert_eq!(release(token), Value::Integer(0));
        }
        unlock(server, "k", "first");
        assert_eq!(server.run("SET k other NX PX 60000"), Value::Null, "the client overtook a waiter");
        second.granted();
        unlock(server, "k", "second");
        assert_eq!(server.run("SET k other NX PX 60000"), Value::ok());
        // A client that locks with SET crashes: its TTL ends, and the lock is handed off.
        let mut third = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k third 60000 WAIT 0");
        server.run("SET k other XX PX 10");
        third.granted();
        // Renewing a string lock moves the end for its waiters.
        unlock(server, "k", "third");
        server.run("SET k other NX PX 60000");
        let mut fourth = Waiter::queued(server, "k", 1, "ATOMIC.LOCK k fourth 60000 WAIT 0");
        assert_eq!(server.run("ATOMIC.LOCKRENEW k other 10"), Value::Integer(10));
        fourth.granted();
        await_waiters(server, "k", 0);
    });
}
