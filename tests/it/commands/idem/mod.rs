//! `ATOMIC.IDEM`: a command runs once, and every repetition gets its reply.

mod permissions; // a replay is for users that may run the command
mod places; // MULTI, scripts, functions, replicas, clusters, drop-in mode
mod refusals; // commands that cannot run inside
mod replies; // both protocols, sizes, nesting, crafted records

use super::rows::{brief, check, check_changes_nothing, check_streams};
use super::{OTHER_TYPES, WRONGTYPE, deadline, expect_range, micros};
use crate::support::{FakeReplica, Server, Setup, Value, each_server, each_server_with, eventually};

pub const MISMATCH: &str = "ERR mismatch: the key belongs to a call with other words";
pub const FOREIGN: &str = "WRONGTYPE key does not hold a stored reply (format RP1)";

/// Runs `command` twice at `key`. Asserts that it ran now and then was replayed with the same reply, and that the repetition changed
/// nothing; returns the reply.
#[track_caller]
pub fn once(server: &Server, key: &str, command: &str) -> Value {
    let call = format!("ATOMIC.IDEM {key} 600000 {command}");
    let first = server.run(&call);
    let again = super::changes_nothing(server, &call);
    let [code, reply] = first.array() else { panic!("{call}: {first}") };
    assert_eq!((code, again.array()), (&Value::Integer(0), &[Value::Integer(1), reply.clone()][..]), "{call}");
    reply.clone()
}

#[test]
fn the_first_call_runs_and_a_repetition_returns_its_reply() {
    each_server(|server| {
        check(
            server,
            &[
                ("", "ATOMIC.IDEM k 90000 INCR n", "[0, 1]", "GET n", "\"1\""),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCR n", "[1, 1]", "GET n", "\"1\""),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 5 INCR n", "[1, 1]", "GET n", "\"1\""),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM j 90000 INCR n", "[0, 2]", "GET n", "\"2\""),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCR m", MISMATCH, "EXISTS m", "0"),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCRBY n 1", MISMATCH, "GET n", "\"1\""),
                ("ATOMIC.IDEM k 90000 ECHO ''", "ATOMIC.IDEM k 90000 PING", MISMATCH, "GET n", "nil"),
                ("SET n v", "ATOMIC.IDEM k 90000 GET n", "[0, \"v\"]", "GET n", "\"v\""),
                ("ATOMIC.IDEM k 90000 GET n;SET n v", "ATOMIC.IDEM k 90000 GET n", "[1, nil]", "GET n", "\"v\""),
                ("", r#"ATOMIC.IDEM "\x00\xff" 90000 SET "\xff" "\x00""#, "[0, OK]", r#"GET "\xff""#, r#""\x00""#),
                ("", "atomic.idem k 90000 incr n", "[0, 1]", "GET n", "\"1\""),
                ("", "ATOMIC.IDEM k 90000 FLUSHALL", "[0, OK]", "EXISTS k", "1"),
                ("SET n v", "ATOMIC.IDEM k 90000 RENAME n k2", "[0, OK]", "GET k2", "\"v\""),
            ],
        );
    });
}

/// Other commands of this module run inside, too; a denial is a reply.
#[test]
fn a_denial_is_stored_and_an_error_is_not() {
    each_server(|server| {
        check(
            server,
            &[
                ("SET n a", "ATOMIC.IDEM k 90000 ATOMIC.CAS n a b", "[0, 1]", "GET n", "\"b\""),
                ("SET n x", "ATOMIC.IDEM k 90000 ATOMIC.CAS n a b", "[0, 0]", "GET n", "\"x\""),
                (
                    "SET n x;ATOMIC.IDEM k 90000 ATOMIC.CAS n a b;SET n a",
                    "ATOMIC.IDEM k 90000 ATOMIC.CAS n a b",
                    "[1, 0]",
                    "GET n",
                    "\"a\"",
                ),
                ("SET n x", "ATOMIC.IDEM k 90000 LPUSH n v", WRONGTYPE, "EXISTS k", "0"),
                ("SET n x;ATOMIC.IDEM k 90000 LPUSH n v;DEL n", "ATOMIC.IDEM k 90000 LPUSH n v", "[0, 1]", "LLEN n", "1"),
                ("", "ATOMIC.IDEM k 90000 SET n", "ERR wrong number of arguments for 'set' command", "EXISTS k", "0"),
                (
                    "",
                    "ATOMIC.IDEM k 90000 ATOMIC.CAS n a",
                    "ERR wrong number of arguments for 'atomic.cas' command",
                    "EXISTS k",
                    "0",
                ),
                ("", "ATOMIC.IDEM k 90000 NOSUCH n", "ERR unknown command 'NOSUCH'", "EXISTS k", "0"),
                ("", "ATOMIC.IDEM k 90000 ATOMIC.SEMRELEASE n me", "[0, -1]", "EXISTS k", "1"),
            ],
        );
        server.run("FLUSHALL");
        assert_eq!(brief(&once(server, "k", "ATOMIC.RATELIMIT r FIXED 1 600000"))[..4], *"[1, ");
        assert_eq!(brief(&once(server, "j", "ATOMIC.RATELIMIT r FIXED 1 600000"))[..4], *"[0, ");
        assert_eq!(once(server, "l", "ATOMIC.LOCK lock me 600000").array()[3], Value::Integer(1));
        let held = server.run("ATOMIC.LOCKINFO lock");
        assert_eq!(held.field("owners").unwrap().array()[0].array()[1], Value::Integer(1), "{held}");
    });
}

#[test]
fn the_record_lives_for_the_ttl_of_the_first_call() {
    each_server(|server| {
        let mut connection = server.connect();
        let before = micros(&mut connection) / 1000;
        connection.run("ATOMIC.IDEM k 90000 PING");
        let after = micros(&mut connection) / 1000 + 1;
        let first = deadline(server, "k");
        assert!((before + 90_000..=after + 90_000).contains(&first), "{before} {first} {after}");
        connection.run("ATOMIC.IDEM k 5 PING");
        assert_eq!(deadline(server, "k"), first, "a repetition moved the deadline");
        assert_eq!(brief(&server.run("ATOMIC.IDEM short 1 INCR n")), "[0, 1]");
        eventually("the record is gone", || (server.run("EXISTS short") == Value::Integer(0)).then_some(()));
        assert_eq!(brief(&server.run("ATOMIC.IDEM short 600000 INCR n")), "[0, 2]");
        assert_eq!(brief(&server.run("ATOMIC.IDEM short 600000 INCR n")), "[1, 2]");
        expect_range(server, "PING", "ATOMIC.IDEM k % PING", "ttl-ms", (1, 31_536_000_000));
        for call in ["ATOMIC.IDEM", "ATOMIC.IDEM k", "ATOMIC.IDEM k 5"] {
            assert_eq!(server.run(call).error(), "ERR wrong number of arguments for 'atomic.idem' command", "{call}");
        }
    });
}

#[test]
fn the_effects_and_the_record_are_one_transaction_of_the_stream() {
    const RECORD: &str = "SET k <record> PXAT <t>";
    each_server(|server| {
        check_streams(
            server,
            &[
                ("", "ATOMIC.IDEM k 90000 INCR n", &["MULTI", "INCR n", RECORD, "EXEC"]),
                ("", "ATOMIC.IDEM k 90000 SET n v EX 50", &["MULTI", "SET n v PXAT <t>", RECORD, "EXEC"]),
                ("SET n v", "ATOMIC.IDEM k 90000 GET n", &[RECORD]),
                ("", "ATOMIC.IDEM k 90000 ATOMIC.CAS n a b", &[RECORD]),
                ("", "ATOMIC.IDEM k 90000 ATOMIC.INCRBY n 2", &["MULTI", "SET n 2", RECORD, "EXEC"]),
                (
                    "RPUSH n a",
                    "ATOMIC.IDEM k 90000 ATOMIC.PUSH n LEFT 1 VALUES b",
                    &["MULTI", "LPUSH n b", "RPOP n 1", RECORD, "EXEC"],
                ),
                (
                    "",
                    "ATOMIC.IDEM k 90000 EVAL \"redis.call('SET', KEYS[1], 1) return redis.call('INCR', KEYS[1])\" 1 n",
                    &["MULTI", "SET n 1", "INCR n", RECORD, "EXEC"],
                ),
                ("ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCR n", &[]),
            ],
        );
        // An error writes no record: what a script wrote before it stays, and it runs again.
        let mut replica = FakeReplica::attach(server);
        server.run("FLUSHALL");
        replica.stream();
        let script = "redis.call('INCR', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'v')";
        for effects in [&["INCR n"], &["INCR n"]] {
            let reply = server.call(&["ATOMIC.IDEM", "k", "90000", "EVAL", script, "1", "n"]);
            assert!(reply.error().starts_with("WRONGTYPE "), "{reply}");
            replica.expect_stream(effects);
        }
        let reply = server.run("ATOMIC.IDEM k 90000 LPUSH n v");
        assert!(reply.error().starts_with("WRONGTYPE "), "{reply}");
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_repetition_is_no_write() {
    each_server(|server| {
        check_changes_nothing(
            server,
            &[
                ("ATOMIC.IDEM k 90000 INCR j", "ATOMIC.IDEM k 90000 INCR j"),
                ("ATOMIC.IDEM k 90000 INCR j", "ATOMIC.IDEM k 90000 INCR x"),
                ("SET j v", "ATOMIC.IDEM k 90000 INCR j"),
                ("SET k v", "ATOMIC.IDEM k 90000 INCR j"),
                ("", "ATOMIC.IDEM k 90000 BLPOP j 1"),
                ("", "ATOMIC.IDEM k 90000 INCR k"),
            ],
        );
    });
}

#[test]
fn the_record_has_the_events_of_a_string() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KEA");
        let mut subscriber = server.connect();
        subscriber.run("PSUBSCRIBE __keyspace@0__:*");
        for call in ["ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCR n", "ATOMIC.IDEM k 90000 INCR m", "SET end 1"] {
            server.run(call);
        }
        let mut events = Vec::new();
        while !events.contains(&"end set".to_owned()) {
            let message = subscriber.read().unwrap();
            let [_, _, channel, event] = message.array() else { panic!("{message}") };
            events.push(format!("{} {}", channel.text().replace("__keyspace@0__:", ""), event.text()));
        }
        assert_eq!(events, ["n incrby", "k set", "k expire", "end set"]);
    });
}

/// Nothing runs when the key holds something else, and nothing is overwritten.
#[test]
fn another_value_at_the_key_is_refused() {
    each_server(|server| {
        for setup in OTHER_TYPES {
            server.run("FLUSHALL");
            server.run(setup);
            assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM k 5 INCR n").error(), WRONGTYPE, "{setup}");
        }
        for value in ["", "v", "10", "\\xa7RP\\x01", "\\xa7ID\\x01"] {
            server.run("FLUSHALL");
            server.run(&format!("SET k \"{value}\""));
            assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM k 5 INCR n").error(), FOREIGN, "{value}");
        }
        server.run("FLUSHALL");
        server.run("ATOMIC.IDEMBEGIN begun f 90000");
        server.run("ATOMIC.IDEM done 90000 INCR n");
        assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM begun 90000 INCR n").error(), FOREIGN);
        for call in ["IDEMBEGIN done f 90000", "IDEMEND done t r PX 5", "IDEMABORT done t"] {
            let reply = super::changes_nothing(server, &format!("ATOMIC.{call}"));
            assert_eq!(reply.error(), "WRONGTYPE key does not hold an idempotency record (format ID2)", "{call}");
        }
    });
}

/// A script can write to the key without declaring it. The record wins: otherwise the command would run again.
#[test]
fn the_record_replaces_what_the_command_wrote_at_the_key() {
    each_server(|server| {
        for (key, write) in [("a", "'SET', 'a', 'v'"), ("b", "'RPUSH', 'b', 'v'"), ("c", "'ATOMIC.IDEM', 'c', 5, 'PING'")] {
            let script = format!("redis.call({write}) return redis.call('INCR', 'n' .. '{key}')");
            for code in [0, 1] {
                let reply = server.call(&["ATOMIC.IDEM", key, "600000", "ATOMIC.EVAL", &script, "0"]);
                assert_eq!(brief(&reply), format!("[{code}, 1]"), "{key}");
            }
        }
    });
}

/// As in a script, a waiter gets the lock that a command inside releases.
#[test]
fn a_lock_that_is_released_inside_goes_to_the_next_waiter() {
    each_server(|server| {
        server.run("ATOMIC.LOCK l me 600000");
        let mut waiter = server.connect();
        waiter.send(&["ATOMIC.LOCK", "l", "you", "600000", "WAIT", "0"]).unwrap();
        eventually("the client waits", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(brief(&server.run("ATOMIC.IDEM k 600000 ATOMIC.UNLOCK l me")), "[0, 0]");
        assert_eq!(waiter.read().unwrap().array()[0], Value::Integer(1));
    });
}

#[test]
fn a_full_server_refuses_what_it_refuses_outside() {
    const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
    each_server(|server| {
        server.run("SET n v");
        server.run("CONFIG SET maxmemory-policy noeviction");
        server.run("CONFIG SET maxmemory 1");
        assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM a 600000 SET n w").error(), OOM);
        assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM a 600000 ATOMIC.CAS n v w").error(), OOM);
        assert_eq!(super::changes_nothing(server, "ATOMIC.IDEM a 600000 ATOMIC.RATELIMIT r FIXED 1 1000").error(), OOM);
        assert_eq!(brief(&once(server, "a", "DEL n")), "1");
        // A script that has written may go on.
        for eval in ["EVAL", "ATOMIC.EVAL"] {
            let script = "redis.call('DEL', 'n') return redis.call('ATOMIC.IDEM', KEYS[1], 600000, 'ATOMIC.INCRBY', 'm', 1)";
            let key = format!("key of {eval}");
            server.run("CONFIG SET maxmemory 0");
            server.run("DEL m");
            server.run("SET n v");
            server.run("CONFIG SET maxmemory 1");
            let reply = server.call(&[eval, script, "1", &key]);
            if eval == "ATOMIC.EVAL" {
                assert_eq!(brief(&reply), "[0, [1, 1, 1, -1]]", "{eval}");
            } else {
                // The server does not tell a module that its own script has written.
                assert!(reply.error().starts_with("OOM "), "{reply}");
            }
        }
    });
}

/// What shows commands to an operator shows these, too.
#[test]
fn monitors_the_slow_log_and_tracking_clients_see_the_command() {
    each_server_with(&Setup::with_module().config("slowlog-log-slower-than 0"), |server| {
        let mut monitor = server.connect();
        monitor.run("MONITOR");
        let mut tracking = server.connect().resp3();
        tracking.run("CLIENT TRACKING ON");
        tracking.run("GET n");
        server.run("ATOMIC.IDEM k 90000 INCR n");
        let push = tracking.read().unwrap().to_string();
        assert!(push.contains("invalidate") && push.contains("\"n\""), "{push}");
        let seen = eventually("MONITOR shows it", || {
            let line = monitor.read().unwrap().to_string();
            line.to_lowercase().contains("atomic.idem").then_some(line)
        });
        assert!(seen.contains("k") && seen.contains("INCR"), "{seen}");
        let slow = server.run("SLOWLOG GET 10").to_string();
        assert!(slow.contains("ATOMIC.IDEM"), "{slow}");
        server.run("CLIENT TRACKING ON BCAST");
        assert_eq!(brief(&tracking.run("ATOMIC.IDEM k 90000 INCR n")), "[1, 1]");
    });
}
