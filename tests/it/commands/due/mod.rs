//! `ATOMIC.ZPOPDUE`, `ZMOVEDUE` and `ZDONE` without waiting: grammar, which members are due, the exact stream.

use std::collections::BTreeSet;

use super::rows::{brief, check, check_changes_nothing, check_streams};
use super::{OTHER_TYPES, WRONGTYPE, changes_nothing, everything, expect_range, expect_refused, micros};
use crate::support::{Connection, FakeReplica, Server, Value, each_server, eventually};

mod leases;

/// A time that no test reaches, in ms since the epoch.
const LATER: &str = "4102444800000";

/// Two members that are due, and one that is not.
const THREE: &str = "ZADD k 2 b 1 a 4102444800000 c";

fn ms(server: &Server) -> i64 {
    micros(&mut server.connect()) / 1000
}

/// The members and their scores, from the reply of ZPOPDUE or of ZRANGE WITHSCORES in RESP2.
#[track_caller]
pub fn pairs(reply: &Value) -> Vec<(String, f64)> {
    let words: Vec<String> = reply.array().iter().map(Value::text).collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap())).collect()
}

#[test]
fn the_members_that_are_due_are_taken_earliest_first() {
    each_server(|server| {
        let all = "ZRANGE k 0 -1";
        let edges = "ZADD k 5 five 5.5 fraction -inf first +inf never -3 before";
        check(
            server,
            &[
                ("", "ATOMIC.ZPOPDUE k", "[]", "EXISTS k", "0"),
                (THREE, "ATOMIC.ZPOPDUE k", r#"["a", "1"]"#, all, r#"["b", "c"]"#),
                (THREE, "ATOMIC.ZPOPDUE k count 9", r#"["a", "1", "b", "2"]"#, all, r#"["c"]"#),
                (THREE, "ATOMIC.ZPOPDUE k UNIT ms COUNT 2", r#"["a", "1", "b", "2"]"#, all, r#"["c"]"#),
                ("ZADD k 4102444800000 c", "ATOMIC.ZPOPDUE k COUNT 1000", "[]", all, r#"["c"]"#),
                ("ZADD k 1 a", "ATOMIC.ZPOPDUE k", r#"["a", "1"]"#, "EXISTS k", "0"),
                ("ZADD k 7 b 7 a 7 B 7 ''", "ATOMIC.ZPOPDUE k COUNT 3", r#"["", "7", "B", "7", "a", "7"]"#, all, r#"["b"]"#),
                (
                    edges,
                    "ATOMIC.ZPOPDUE k COUNT 9",
                    r#"["first", "-inf", "before", "-3", "five", "5", "fraction", "5.5"]"#,
                    all,
                    r#"["never"]"#,
                ),
                // As milliseconds all of these are in the past. As seconds the last is in the year 2100.
                (
                    "ZADD k 1.25 a -inf b 4102444800 c",
                    "ATOMIC.ZPOPDUE k COUNT 9 UNIT s",
                    r#"["b", "-inf", "a", "1.25"]"#,
                    all,
                    r#"["c"]"#,
                ),
                ("ZADD k 4102444800 c", "ATOMIC.ZPOPDUE k", r#"["c", "4102444800"]"#, "EXISTS k", "0"),
                ("ZADD k -1e300 a 1e300 b", "ATOMIC.ZPOPDUE k COUNT 9", r#"["a", "-1.0000000000000001e+300"]"#, all, r#"["b"]"#),
                (r#"ZADD k 1 "\x00\xff\r\n""#, "ATOMIC.ZPOPDUE k", r#"["\x00\xff\r\n", "1"]"#, "EXISTS k", "0"),
            ]
            .map(|row| if is_shortest(server) { (row.0, row.1, shortest(row.2), row.3, row.4) } else { row }),
        );
    });
}

/// Redis 7.0 prints a double in 17 digits, later servers in as few as read back as the same double.
fn is_shortest(server: &Server) -> bool {
    server.binary.is_valkey || server.binary.is_redis_from(7, 2)
}

fn shortest(reply: &str) -> &str {
    if reply.contains("1.0000000000000001e+300") { r#"["a", "-1e+300"]"# } else { reply }
}

#[test]
fn a_member_is_due_at_its_millisecond_and_not_before() {
    each_server(|server| {
        for (unit, per_second, fraction) in [("MS", 1000.0, 0.5), ("S", 1.0, 0.000_4)] {
            let mut connection = server.connect();
            let due = ms(server) + 40;
            // The fraction of a millisecond rounds up.
            for (key, score) in
                [("whole", due as f64 / 1000.0 * per_second), ("part", due as f64 / 1000.0 * per_second + fraction)]
            {
                server.run(&format!("ZADD {key} {score} m"));
                let first = if key == "whole" { due } else { due + 1 };
                let mut before = 0;
                let reply = loop {
                    let sent = micros(&mut connection);
                    let reply = connection.run(&format!("ATOMIC.ZPOPDUE {key} UNIT {unit}"));
                    if !reply.array().is_empty() {
                        break reply;
                    }
                    before = sent;
                };
                assert!(before < (first + 2) * 1000, "late: not due at {before}, due at {first}: {unit} {key}");
                assert!(micros(&mut connection) >= first * 1000, "early: {reply}, due at {first}: {unit} {key}");
            }
        }
    });
}

#[test]
fn bad_input_names_the_argument_and_changes_nothing() {
    each_server(|server| {
        server.run(THREE);
        for (call, text) in [
            ("ZPOPDUE k COUNT", "syntax error near 'COUNT'"),
            ("ZPOPDUE k COUNT 1 count 1", "syntax error near 'count'"),
            ("ZPOPDUE k UNIT US", "syntax error near 'US'"),
            ("ZPOPDUE k UNIT", "syntax error near 'UNIT'"),
            ("ZPOPDUE k UNIT S UNIT S", "syntax error near 'UNIT'"),
            ("ZPOPDUE k LEASE 5 LEASE 5", "syntax error near 'LEASE'"),
            ("ZPOPDUE k 5", "syntax error near '5'"),
            ("ZPOPDUE k BIND", "syntax error near 'BIND'"),
            ("ZPOPDUE k WAIT 5 BIND", "syntax error near 'BIND'"),
            ("ZPOPDUE k MAXQUEUE 5", "syntax error near 'MAXQUEUE'"),
            ("ZPOPDUE k WAIT 5 WAIT 5", "syntax error near 'WAIT'"),
            ("ZPOPDUE k LEFT", "syntax error near 'LEFT'"),
            ("ZMOVEDUE k k", "key must not be given twice"),
            ("ZMOVEDUE k l LEASE 5", "syntax error near 'LEASE'"),
            ("ZMOVEDUE k l UP", "syntax error near 'UP'"),
            ("ZMOVEDUE k l LEFT RIGHT", "syntax error near 'RIGHT'"),
            ("ZMOVEDUE k l COUNT 1001", "COUNT must be an integer between 1 and 1000"),
            ("ZDONE k a x", "score must be a number"),
            ("ZDONE k a nan", "score must be a number"),
            ("ZDONE k a 0x1", "score must be a number"),
            ("ZDONE k a ''", "score must be a number"),
            ("ZDONE k a 1e400", "score must be a number"),
            ("ZDONE k a 1 AT", "syntax error near 'AT'"),
            ("ZDONE k a 1 AT soon", "AT must be a number"),
            ("ZDONE k a 1 AT nan", "AT must be a number"),
            ("ZDONE k a 1 AT 2 AT 2", "syntax error near 'AT'"),
            ("ZDONE k a 1 2", "syntax error near '2'"),
        ] {
            expect_refused(server, &[(format!("ATOMIC.{call}"), format!("ERR {text}"))]);
        }
        expect_range(server, THREE, "ATOMIC.ZPOPDUE k COUNT %", "COUNT", (1, 1000));
        expect_range(server, THREE, "ATOMIC.ZMOVEDUE k l COUNT %", "COUNT", (1, 1000));
        expect_range(server, THREE, "ATOMIC.ZPOPDUE k LEASE %", "LEASE", (1, 31_536_000_000));
        expect_range(server, THREE, "ATOMIC.ZPOPDUE k WAIT %", "WAIT", (0, 31_536_000_000));
        expect_range(server, THREE, "ATOMIC.ZPOPDUE k WAIT 1 MAXQUEUE %", "MAXQUEUE", (1, 1_000_000));
    });
}

#[test]
fn a_key_of_another_type_is_refused_and_nothing_moves() {
    each_server(|server| {
        for other in OTHER_TYPES.iter().chain(&["SET k v"]).filter(|command| !command.starts_with("ZADD")) {
            server.run("FLUSHALL");
            server.run(other);
            for call in ["ZPOPDUE k", "ZPOPDUE k LEASE 5 COUNT 3", "ZPOPDUE k WAIT 0", "ZMOVEDUE k l", "ZDONE k v 1"] {
                expect_refused(server, &[(format!("ATOMIC.{call}"), WRONGTYPE)]);
            }
            // The list of ZMOVEDUE.
            server.run("ZADD due 1 a");
            let list = other.starts_with("RPUSH");
            if !list {
                expect_refused(server, &[("ATOMIC.ZMOVEDUE due k", WRONGTYPE), ("ATOMIC.ZMOVEDUE due k WAIT 0", WRONGTYPE)]);
            }
        }
        server.run("FLUSHALL");
        server.run("ZADD due 1 a");
        server.run("ZADD k 1 a");
        expect_refused(server, &[("ATOMIC.ZMOVEDUE due k", WRONGTYPE)]);
    });
}

#[test]
fn replies_are_the_same_in_both_protocols() {
    each_server(|server| {
        let expected = Value::Array(["a", "1", "b", "2.5"].map(Value::bulk).to_vec());
        for mut connection in [server.connect(), server.connect().resp3()] {
            server.run("ZADD k 1 a 2.5 b");
            assert_eq!(connection.run("ATOMIC.ZPOPDUE k COUNT 5"), expected);
            server.run("ZADD k 1 a 2.5 b");
            assert_eq!(connection.run("ATOMIC.ZMOVEDUE k l COUNT 5"), expected);
            server.run("ZADD k 1 a");
            let leased = connection.run("ATOMIC.ZPOPDUE k LEASE 50000");
            assert!(matches!(leased.array(), [Value::Bulk(_), Value::Bulk(_)]), "{leased}");
            assert_eq!(connection.run("ATOMIC.ZPOPDUE k"), Value::Array(Vec::new()));
            server.run("DEL k");
        }
    });
}

#[test]
fn members_move_to_the_list_in_order() {
    each_server(|server| {
        let list = "LRANGE l 0 -1";
        let moved = r#"["a", "1", "b", "2"]"#;
        check(
            server,
            &[
                (THREE, "ATOMIC.ZMOVEDUE k l COUNT 9", moved, list, r#"["a", "b"]"#),
                (THREE, "ATOMIC.ZMOVEDUE k l RIGHT COUNT 9", moved, "ZRANGE k 0 -1", r#"["c"]"#),
                (THREE, "ATOMIC.ZMOVEDUE k l COUNT 9 left", moved, list, r#"["b", "a"]"#),
                (THREE, "ATOMIC.ZMOVEDUE k l", r#"["a", "1"]"#, list, r#"["a"]"#),
                ("RPUSH l x;ZADD k 1 a", "ATOMIC.ZMOVEDUE k l", r#"["a", "1"]"#, list, r#"["x", "a"]"#),
                ("RPUSH l x;ZADD k 1 a", "ATOMIC.ZMOVEDUE k l LEFT", r#"["a", "1"]"#, list, r#"["a", "x"]"#),
                ("ZADD k 1 a", "ATOMIC.ZMOVEDUE k l", r#"["a", "1"]"#, "EXISTS k", "0"),
                ("ZADD k 1.5 a", "ATOMIC.ZMOVEDUE k l UNIT S", r#"["a", "1.5"]"#, list, r#"["a"]"#),
                ("ZADD k 4102444800000 c", "ATOMIC.ZMOVEDUE k l", "[]", "EXISTS l", "0"),
                ("", "ATOMIC.ZMOVEDUE k l", "[]", "EXISTS l", "0"),
            ],
        );
        // A client that blocks on the list is served.
        server.run("FLUSHALL");
        let mut blocked = server.connect();
        blocked.send(&["BLPOP", "l", "0"]).unwrap();
        eventually("the client blocks", || (server.info("blocked_clients") == "1").then_some(()));
        server.run("ZADD k 1 a");
        assert_eq!(brief(&server.run("ATOMIC.ZMOVEDUE k l")), r#"["a", "1"]"#);
        assert_eq!(brief(&blocked.read().unwrap()), r#"["l", "a"]"#);
    });
}

#[test]
fn only_what_changes_is_replicated() {
    each_server(|server| {
        check_streams(
            server,
            &[
                (THREE, "ATOMIC.ZPOPDUE k", &["ZPOPMIN k"]),
                (THREE, "ATOMIC.ZPOPDUE k COUNT 9", &["ZREM k a b"]),
                ("ZADD k 1 a", "ATOMIC.ZPOPDUE k", &["ZPOPMIN k"]),
                ("ZADD k 1 a", "ATOMIC.ZPOPDUE k COUNT 1", &["ZREM k a"]),
                (THREE, "ATOMIC.ZPOPDUE k LEASE 50000", &["ZADD k XX <token> a"]),
                ("ZADD k 1 a;ZADD k 2 b", "ATOMIC.ZPOPDUE k LEASE 50000 COUNT 5", &["ZADD k XX <token> a <token> b"]),
                (THREE, "ATOMIC.ZMOVEDUE k l", &["MULTI", "ZREM k a", "RPUSH l a", "EXEC"]),
                (THREE, "ATOMIC.ZMOVEDUE k l LEFT COUNT 9", &["MULTI", "ZREM k a b", "LPUSH l a b", "EXEC"]),
                (THREE, "ATOMIC.ZDONE k a 1", &["ZREM k a"]),
                (THREE, "ATOMIC.ZDONE k a 1 AT 1796083200123.0005", &["ZADD k XX 1796083200123.0005 a"]),
                (THREE, "ATOMIC.ZDONE k a 1 AT -inf", &["ZADD k XX -inf a"]),
            ],
        );
        check_changes_nothing(
            server,
            &[
                ("", "ATOMIC.ZPOPDUE k"),
                ("ZADD k 4102444800000 c", "ATOMIC.ZPOPDUE k COUNT 9 LEASE 5"),
                ("ZADD k 4102444800000 c", "ATOMIC.ZPOPDUE k WAIT 1"),
                ("ZADD k 4102444800000 c", "ATOMIC.ZMOVEDUE k j"),
                ("ZADD k 1 a", "ATOMIC.ZDONE k a 2"),
                ("ZADD k 1 a", "ATOMIC.ZDONE k a 1 AT 1"),
                ("ZADD k 1 a", "ATOMIC.ZDONE k b 1"),
            ],
        );
        // The replicated score is the stored one to the last bit.
        let mut replica = FakeReplica::attach(server);
        server.run("FLUSHALL");
        server.run("ZADD k 1 a 1 b");
        replica.stream();
        server.run("ATOMIC.ZPOPDUE k UNIT S LEASE 50000 COUNT 2");
        let stream = replica.commands();
        assert_eq!(stream.len(), 1);
        for pair in stream[0][3..].chunks(2) {
            let score: f64 = String::from_utf8_lossy(&pair[0]).parse().unwrap();
            assert_eq!(server.call(&[&b"ZSCORE"[..], b"k", &pair[1]]).text().parse(), Ok(score));
        }
    });
}

#[test]
fn events_are_those_of_the_servers_own_commands() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KA");
        let mut subscriber = server.connect();
        subscriber.run("PSUBSCRIBE __keyspace@0__:*");
        for (call, expected) in [
            ("ZADD k 1 a 2 b 3 c 4 d", &["k zadd"][..]),
            ("ATOMIC.ZPOPDUE k", &["k zrem"]),
            ("ATOMIC.ZPOPDUE k LEASE 50000", &["k zadd"]),
            ("ATOMIC.ZPOPDUE missing", &[]),
            ("ATOMIC.ZDONE k c 9", &[]),
            ("ATOMIC.ZDONE k c 3 AT 5", &["k zadd"]),
            ("ATOMIC.ZMOVEDUE k l", &["k zrem", "l rpush"]),
            ("ATOMIC.ZMOVEDUE k l LEFT", &["k zrem", "l lpush"]),
            ("ZADD j 1 a", &["j zadd"]),
            ("ATOMIC.ZDONE j a 1", &["j zrem", "j del"]),
            ("ZADD j 1 a", &["j zadd"]),
            ("ATOMIC.ZMOVEDUE j m", &["j zrem", "j del", "m rpush"]),
        ] {
            server.run(call);
            server.run("PUBLISH __keyspace@0__:end end");
            let mut events = Vec::new();
            loop {
                let message = subscriber.read().unwrap();
                let (channel, event) = (message.array()[2].text(), message.array()[3].text());
                let key = channel.trim_start_matches("__keyspace@0__:").to_owned();
                if key == "end" {
                    break;
                }
                events.push(format!("{key} {event}"));
            }
            assert_eq!(events, expected, "{call}");
        }
    });
}

#[test]
fn both_keys_keep_their_ttl() {
    each_server(|server| {
        server.run(THREE);
        server.run("RPUSH l x");
        server.run(&format!("PEXPIREAT k {LATER}"));
        server.run(&format!("PEXPIREAT l {LATER}"));
        let token = server.run("ATOMIC.ZPOPDUE k LEASE 50000").array()[1].text();
        for call in [&format!("ZDONE k a {token} AT 1"), "ZPOPDUE k", "ZMOVEDUE k l", "ZDONE k none 1"] {
            server.run(&format!("ATOMIC.{call}"));
            let ends = ["k", "l"].map(|key| server.call(&["PEXPIRETIME", key]).integer().to_string());
            assert_eq!(ends, [LATER, LATER], "{call}");
        }
        // A set that was emptied is gone, and a new one has no TTL.
        server.run(&format!("ATOMIC.ZDONE k c {LATER}"));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        server.run("ZADD k 1 a");
        assert_eq!(server.run("PTTL k"), Value::Integer(-1));
    });
}

#[test]
fn a_thousand_members_at_once() {
    each_server(|server| {
        let names: Vec<String> = (0..2500).map(|number| format!("m{number:04}")).collect();
        let scored: Vec<String> = names.iter().map(|name| format!("7 {name}")).collect();
        server.run(&format!("ZADD k {}", scored.join(" ")));
        let first = pairs(&server.run("ATOMIC.ZPOPDUE k COUNT 1000"));
        assert!(first.iter().map(|(member, _)| member).eq(&names[..1000]));
        let moved = pairs(&server.run("ATOMIC.ZMOVEDUE k l COUNT 1000"));
        assert!(moved.iter().map(|(member, _)| member).eq(&names[1000..2000]));
        assert_eq!(server.run("LLEN l"), Value::Integer(1000));
        assert_eq!(server.run("LINDEX l 999"), Value::bulk("m1999"));
        assert_eq!(server.run("ATOMIC.ZPOPDUE k COUNT 1000").array().len(), 1000);
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn wait_does_not_wait_in_a_transaction_or_a_script() {
    each_server(|server| {
        let mut connection = server.connect();
        server.run(&format!("ZADD k {LATER} c"));
        connection.run("MULTI");
        connection.run("ATOMIC.ZPOPDUE k WAIT 0");
        connection.run("ATOMIC.ZMOVEDUE k l WAIT 0");
        assert_eq!(brief(&connection.run("EXEC")), "[[], []]");
        for script in [
            "return redis.call('ATOMIC.ZPOPDUE', KEYS[1], 'WAIT', 0)",
            "return redis.call('ATOMIC.ZMOVEDUE', KEYS[1], KEYS[2], 'WAIT', 0)",
            "return atomic.zpopdue(KEYS[1], {wait = 0})",
            "return atomic.zmovedue(KEYS[1], KEYS[2], {wait = 0, count = 5})",
        ] {
            assert_eq!(brief(&changes_nothing_in(server, script)), "[]", "{script}");
        }
        // What is due is taken there.
        server.run("ZADD k 1 a 2 b 3 d");
        let taken = server.call(&[
            "ATOMIC.EVAL",
            "local a = atomic.zpopdue(KEYS[1], {lease = 50000}) return {atomic.zdone(KEYS[1], a[1], a[2]), a[1], atomic.zpopdue(KEYS[1])}",
            "2",
            "k",
            "l",
        ]);
        assert_eq!(brief(&taken), r#"[1, "a", ["b", "2"]]"#);
    });
}

fn changes_nothing_in(server: &Server, script: &str) -> Value {
    let before = everything(server);
    let reply = server.call(&["ATOMIC.EVAL", script, "2", "k", "l"]);
    assert_eq!(everything(server), before, "{script}");
    reply
}

#[test]
fn a_replica_without_writes_refuses() {
    each_server(|server| {
        server.run("ZADD k 1 a");
        server.run("REPLICAOF 127.0.0.1 1");
        for call in ["ZPOPDUE k", "ZPOPDUE k WAIT 0", "ZMOVEDUE k l", "ZDONE k a 1"] {
            let reply = changes_nothing(server, &format!("ATOMIC.{call}"));
            assert!(reply.error().starts_with("READONLY "), "{call}: {reply}");
        }
    });
}
