//! `ATOMIC.INCRBY`, `ATOMIC.HINCRBY` and `ATOMIC.TRANSFER`: bounds, TTLs, replication, events.

use super::rows::{brief, check, check_changes_nothing, check_streams};
use crate::support::{RealReplica, Server, Value, argv, each_server};

/// Whether the server supports TTLs of hash fields.
fn has_field_ttl(server: &Server) -> bool {
    server.binary.is_redis_from(7, 4) || server.binary.is_valkey_from(9, 0)
}

/// A reply of INCRBY or HINCRBY without a TTL: what became of the number, the number now, and the difference.
#[derive(Clone, Copy)]
enum Counted {
    Changed(i64, i64),
    Denied(i64),
    Wrapped(i64, i64),
}

use Counted::{Changed, Denied, Wrapped};

impl Counted {
    /// The reply as [`brief`] shows it.
    fn brief(self) -> String {
        let (code, number, difference) = match self {
            Denied(number) => (0, number, 0),
            Changed(number, difference) => (1, number, difference),
            Wrapped(number, difference) => (2, number, difference),
        };
        format!("[{code}, {number}, {difference}, -1]")
    }
}

/// Rows of: what is stored before, the call, its reply, what is stored after.
///
/// `VERB` is INCRBY on `k`, then HINCRBY on field `f` of `k`; `SET` stores.
const BOUNDS: &[(&str, &str, Counted, &str)] = &[
    ("SET 5", "VERB 3", Changed(8, 3), "\"8\""),
    ("", "VERB 3", Changed(3, 3), "\"3\""),
    ("", "VERB 0", Changed(0, 0), "\"0\""),
    ("", "VERB 3 INIT 40", Changed(43, 3), "\"43\""),
    ("SET 5", "VERB 3 INIT 40", Changed(8, 3), "\"8\""),
    ("SET 5", "VERB 5 MAX 10", Changed(10, 5), "\"10\""),
    ("SET 5", "VERB 6 MAX 10", Denied(5), "\"5\""),
    ("SET 5", "VERB -5 MIN 0", Changed(0, -5), "\"0\""),
    ("SET 5", "VERB -6 MIN 0", Denied(5), "\"5\""),
    ("", "VERB 6 MAX 5", Denied(0), "nil"),
    ("", "VERB 6 MAX 5 INIT 3", Denied(3), "nil"),
    ("SET 5", "VERB 6 max 10 saturate", Changed(10, 5), "\"10\""),
    ("SET 5", "VERB -6 MIN 0 SATURATE", Changed(0, -5), "\"0\""),
    ("SET 50", "VERB 1 MAX 10 SATURATE", Changed(10, -40), "\"10\""),
    ("SET 50", "VERB -1 MAX 10", Denied(50), "\"50\""),
    ("SET 8", "VERB 1 WRAP 0 MAX 10", Changed(9, 1), "\"9\""),
    ("SET 9", "VERB 1 WRAP 0 MAX 10", Wrapped(0, -9), "\"0\""),
    ("SET 9", "VERB 7 MAX 10 WRAP 3", Wrapped(3, -6), "\"3\""),
    ("", "VERB 10 MAX 10 WRAP 3", Wrapped(3, 3), "\"3\""),
    ("SET 9223372036854775807", "VERB 1", Denied(i64::MAX), "\"9223372036854775807\""),
    ("SET -9223372036854775808", "VERB -1 SATURATE", Changed(i64::MIN, 0), "\"-9223372036854775808\""),
    (
        "SET -9223372036854775808",
        "VERB 1 MIN 9223372036854775807 SATURATE",
        Changed(i64::MAX, i64::MAX),
        "\"9223372036854775807\"",
    ),
];

#[test]
fn both_counters_keep_the_bounds() {
    each_server(|server| {
        for (verb, set, get) in [("ATOMIC.INCRBY k", "SET k", "GET k"), ("ATOMIC.HINCRBY k f", "HSET k f", "HGET k f")] {
            for (prepare, call, reply, stored) in BOUNDS {
                let word = |text: &str| text.replace("VERB", verb).replace("SET", set);
                check(server, &[(&word(prepare), &word(call), &reply.brief(), get, stored)]);
            }
        }
    });
}

#[test]
fn both_counters_refuse_wrong_requests_with_the_same_errors() {
    each_server(|server| {
        for verb in ["ATOMIC.INCRBY k", "ATOMIC.HINCRBY k f"] {
            for (options, text) in [
                ("x", "ERR delta must be an integer between -9223372036854775808 and 9223372036854775807"),
                ("1 MIN x", "ERR MIN must be an integer between -9223372036854775808 and 9223372036854775807"),
                ("1 MIN 2 MAX 1", "ERR MIN must not exceed MAX"),
                ("1 WRAP 0", "ERR WRAP requires MAX"),
                ("0 WRAP 0 MAX 1", "ERR WRAP requires a positive delta"),
                ("-1 WRAP 0 MAX 1", "ERR WRAP requires a positive delta"),
                ("1 WRAP 2 MAX 1", "ERR WRAP must be between MIN and MAX"),
                ("1 WRAP 0 MIN 1 MAX 2", "ERR WRAP must be between MIN and MAX"),
                ("1 SATURATE MAX 5 WRAP 0", "ERR syntax error near 'WRAP'"),
                ("1 SATURATE SATURATE", "ERR syntax error near 'SATURATE'"),
                ("1 MIN 1 min 1", "ERR syntax error near 'min'"),
                ("1 INIT 1 INIT 1", "ERR syntax error near 'INIT'"),
                ("1 KEEPTTL", "ERR syntax error near 'KEEPTTL'"),
                ("1 2", "ERR syntax error near '2'"),
            ] {
                assert_eq!(server.run(&format!("{verb} {options}")).error(), text, "{verb} {options}");
            }
            assert_eq!(server.run(&format!("{verb} 1 MIN")).error(), "ERR syntax error near 'MIN'");
        }
        for (options, text) in [
            ("ENX", "ERR ENX requires EX, PX, EXAT or PXAT"),
            ("ENX PERSIST", "ERR ENX requires EX, PX, EXAT or PXAT"),
            ("PERSIST PX 5", "ERR syntax error near 'PX'"),
            ("EX 5 EXAT 5", "ERR syntax error near 'EXAT'"),
            ("PX 5 ENX ENX", "ERR syntax error near 'ENX'"),
            ("PX 0", "ERR PX must be an integer between 1 and 4611686018427387903"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.INCRBY k 1 {options}")).error(), text, "{options}");
        }
        for option in ["PX 5", "PERSIST", "ENX"] {
            let near = option.split(' ').next().unwrap();
            let reply = server.run(&format!("ATOMIC.HINCRBY k f 1 {option}"));
            assert_eq!(reply.error(), format!("ERR syntax error near '{near}'"));
        }
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn a_stored_value_that_is_not_an_integer_is_refused_with_the_servers_error() {
    each_server(|server| {
        for stored in ["x", "1.5", "\"\"", "01", "9223372036854775808", "\"\\xff\""] {
            server.run("DEL k h");
            server.run(&format!("SET k {stored}"));
            server.run(&format!("HSET h f {stored}"));
            let text = "ERR value is not an integer or out of range";
            assert_eq!(server.run("INCRBY k 1").error(), text, "{stored}");
            for call in ["ATOMIC.INCRBY k 1", "ATOMIC.TRANSFER k j 1", "ATOMIC.TRANSFER j k 0"] {
                assert_eq!(server.run(call).error(), text, "{call} {stored}");
            }
            assert_eq!(server.run("ATOMIC.HINCRBY h f 1").error(), server.run("HINCRBY h f 1").error(), "{stored}");
        }
        for call in ["ATOMIC.INCRBY h 1", "ATOMIC.HINCRBY k f 1", "ATOMIC.TRANSFER h k 1", "ATOMIC.TRANSFER k h 1"] {
            server.run("SET k 5");
            assert!(server.run(call).error().starts_with("WRONGTYPE "), "{call}");
        }
    });
}

#[test]
fn the_ttl_of_a_counter_is_kept_set_or_removed() {
    each_server(|server| {
        // The setup, the options, and the TTL afterwards: -1 for none, else at most this many ms and more than half.
        for (prepare, options, ttl) in [
            ("SET k 5", "1", -1),
            ("SET k 5 PX 90000", "1", 90000),
            ("SET k 5 PX 90000", "1 PX 40000", 40000),
            ("SET k 5 PX 90000", "1 EX 40", 40000),
            ("SET k 5 PX 90000", "1 PERSIST", -1),
            ("SET k 5 PX 90000", "1 PX 40000 ENX", 90000),
            ("SET k 5", "1 ENX PX 40000", 40000),
            ("", "1 ENX EX 40", 40000),
            ("SET k 5 PX 90000", "0 PX 40000", 40000),
            ("SET k 5 PX 90000", "0 PERSIST", -1),
            ("SET k 5 PX 90000", "1 MAX 5 PX 40000", 90000),
            ("SET k 5 PX 90000", "1 MAX 6 WRAP 0 PX 40000", 40000),
            ("SET k 5 PX 90000", "1 MAX 5 SATURATE PX 40000", 40000),
        ] {
            server.run("DEL k");
            if !prepare.is_empty() {
                server.run(prepare);
            }
            let told = server.run(&format!("ATOMIC.INCRBY k {options}")).array()[3].integer();
            let real = server.run("PTTL k").integer();
            for found in [told, real] {
                let fits = if ttl < 0 { found == ttl } else { (ttl / 2 + 1..=ttl).contains(&found) };
                assert!(fits, "{options} after {prepare:?}: {told} told, {real} real, {ttl} expected");
            }
        }
        for option in ["EXAT 4102444800", "PXAT 4102444800000"] {
            server.run(&format!("ATOMIC.INCRBY k 1 {option}"));
            assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(4_102_444_800_000), "{option}");
        }
        server.run("SET k 5");
        assert_eq!(brief(&server.run("ATOMIC.INCRBY k 1 EXAT 1")), "[1, 6, 1, 0]");
        assert_eq!(server.run("EXISTS k"), Value::Integer(0), "a time that already passed deletes");
    });
}

#[test]
fn a_hash_keeps_the_ttl_of_the_key_and_of_the_field() {
    each_server(|server| {
        server.run("HSET k f 5");
        server.run("PEXPIRE k 90000");
        let ttl = server.run("ATOMIC.HINCRBY k f 1").array()[3].integer();
        assert!((45000..=90000).contains(&ttl), "{ttl}");
        if !has_field_ttl(server) {
            return;
        }
        for (options, kept) in [
            ("1", true),
            ("9 MAX 7 SATURATE", true),
            ("1 MAX 6 WRAP 0", true),
            ("9 MAX 7", true),
            ("0", true),
            ("1 MIN 9223372036854775807 SATURATE", false),
        ] {
            server.run("DEL k");
            server.run(if kept { "HSET k f 5 g 1" } else { "HSET k f -9223372036854775808 g 1" });
            server.run("HPEXPIRE k 90000 FIELDS 1 f");
            assert!(!matches!(server.run(&format!("ATOMIC.HINCRBY k f {options}")), Value::Error(_)), "{options}");
            let ttl = server.run("HPTTL k FIELDS 1 f").array()[0].integer();
            assert_eq!(ttl > 0, kept, "{options}: {ttl}");
        }
    });
}

#[test]
fn a_transfer_moves_all_or_nothing() {
    each_server(|server| {
        let both = "MGET k j";
        check(
            server,
            &[
                ("SET k 10; SET j 1", "ATOMIC.TRANSFER k j 4", "[1, 6, 5]", both, "[\"6\", \"5\"]"),
                ("SET k 10", "ATOMIC.TRANSFER k j 10", "[1, 0, 10]", both, "[\"0\", \"10\"]"),
                ("SET k 10; SET j 1", "ATOMIC.TRANSFER k j 11", "[0, 10, 1]", both, "[\"10\", \"1\"]"),
                ("", "ATOMIC.TRANSFER k j 1", "[0, 0, 0]", both, "[nil, nil]"),
                ("", "ATOMIC.TRANSFER k j 0", "[1, 0, 0]", both, "[nil, nil]"),
                ("", "ATOMIC.TRANSFER k j 1 MIN -1", "[1, -1, 1]", both, "[\"-1\", \"1\"]"),
                ("SET k 10", "ATOMIC.TRANSFER k j 6 MIN 5", "[0, 10, 0]", both, "[\"10\", nil]"),
                ("SET k 10", "ATOMIC.TRANSFER k j 6 MAX 5", "[0, 10, 0]", both, "[\"10\", nil]"),
                ("SET k 10", "ATOMIC.TRANSFER k j 6 MAX 6 MIN 4", "[1, 4, 6]", both, "[\"4\", \"6\"]"),
                (
                    "SET k 10; SET j 9223372036854775807",
                    "ATOMIC.TRANSFER k j 1",
                    "[0, 10, 9223372036854775807]",
                    "GET k",
                    "\"10\"",
                ),
            ],
        );
        for (call, text) in [
            ("k k 1", "ERR key must not be given twice"),
            ("k j -1", "ERR amount must be an integer between 0 and 9223372036854775807"),
            ("k j 1 MIN 1 MIN 1", "ERR syntax error near 'MIN'"),
            ("k j 1 SATURATE", "ERR syntax error near 'SATURATE'"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.TRANSFER {call}")).error(), text);
        }
        server.run("FLUSHALL");
        server.run("SET k 10 PX 90000");
        server.run("SET j 1 PX 40000");
        server.run("ATOMIC.TRANSFER k j 1");
        assert!(server.run("PTTL k").integer() > 45000 && (20000..=40000).contains(&server.run("PTTL j").integer()));
    });
}

#[test]
fn the_stream_is_plain_commands() {
    each_server(|server| {
        check_streams(
            server,
            &[
                ("SET k 5", "ATOMIC.INCRBY k 3", &["INCRBY k 3"]),
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k -3", &["INCRBY k -3"]),
                ("SET k 5", "ATOMIC.INCRBY k 3 MAX 9", &["SET k 8 KEEPTTL"]),
                ("", "ATOMIC.INCRBY k 3", &["SET k 3"]),
                ("SET k 5", "ATOMIC.INCRBY k 3 PXAT 4102444800000", &["SET k 8 PXAT 4102444800000"]),
                ("SET k 5", "ATOMIC.INCRBY k 3 PX 5000", &["SET k 8 PXAT <t>"]),
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k 3 PX 5000 ENX", &["SET k 8 KEEPTTL"]),
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k 3 PERSIST", &["SET k 8"]),
                ("SET k 5", "ATOMIC.INCRBY k 0 PXAT 4102444800000", &["PEXPIREAT k 4102444800000"]),
                ("SET k 5", "ATOMIC.INCRBY k 1 EXAT 1", &["DEL k"]),
                ("SET k 9", "ATOMIC.INCRBY k 1 MAX 10 WRAP 0", &["SET k 0 KEEPTTL"]),
                ("HSET k f 5", "ATOMIC.HINCRBY k f 9 MAX 7 SATURATE", &["HINCRBY k f 2"]),
                ("HSET k f 9", "ATOMIC.HINCRBY k f 1 MAX 10 WRAP 0", &["HINCRBY k f -9"]),
                ("", "ATOMIC.HINCRBY k f 1 INIT 5", &["HSET k f 6"]),
                ("SET k 5; SET j 5", "ATOMIC.TRANSFER k j 1", &["MULTI", "SET k 4 KEEPTTL", "SET j 6 KEEPTTL", "EXEC"]),
                ("SET k 5", "ATOMIC.TRANSFER k j 1", &["MULTI", "SET k 4 KEEPTTL", "SET j 1", "EXEC"]),
            ],
        );
    });
}

#[test]
fn a_no_op_is_not_a_write() {
    each_server(|server| {
        check_changes_nothing(
            server,
            &[
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k 1 MAX 5 PX 5000"),
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k 1 MAX 5 SATURATE"),
                ("SET k 5", "ATOMIC.INCRBY k 0"),
                ("SET k 5", "ATOMIC.INCRBY k 0 PERSIST"),
                ("SET k 5 PX 90000", "ATOMIC.INCRBY k 0 PX 5000 ENX"),
                ("SET k 5 PXAT 4102444800000", "ATOMIC.INCRBY k 0 PXAT 4102444800000"),
                ("SET k 0", "ATOMIC.INCRBY k 1 MAX 1 WRAP 0"),
                ("", "ATOMIC.INCRBY k 1 MAX 0"),
                ("", "ATOMIC.INCRBY k 1 EXAT 1"),
                ("HSET k f 5", "ATOMIC.HINCRBY k f 1 MAX 5"),
                ("HSET k f 5", "ATOMIC.HINCRBY k f 1 MAX 5 SATURATE"),
                ("HSET k f 5", "ATOMIC.HINCRBY k f 0"),
                ("SET k 5", "ATOMIC.HINCRBY k f 1"),
                ("SET k 5", "ATOMIC.TRANSFER k j 6"),
                ("SET k 5", "ATOMIC.TRANSFER k j 0"),
                ("SET k 5; SET j x", "ATOMIC.TRANSFER k j 1"),
            ],
        );
    });
}

#[test]
fn a_change_touches_watch_and_is_announced() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KEA");
        for (prepare, call, events) in [
            ("SET k 5", "ATOMIC.INCRBY k 1", &["set"][..]),
            ("SET k 5", "ATOMIC.INCRBY k 1 PX 5000", &["set", "expire"]),
            ("SET k 5", "ATOMIC.INCRBY k 0 PX 5000", &["expire"]),
            ("HSET k f 5", "ATOMIC.HINCRBY k f 1", &["hincrby"]),
            ("", "ATOMIC.HINCRBY k f 1", &["hset"]),
        ] {
            server.run("FLUSHALL");
            if !prepare.is_empty() {
                server.run(prepare);
            }
            let (mut watcher, mut listener) = (server.connect(), server.connect());
            watcher.run("WATCH k");
            listener.run("SUBSCRIBE __keyspace@0__:k");
            server.run(call);
            for event in events {
                assert_eq!(listener.read().unwrap().array()[2].text(), *event, "{call}");
            }
            watcher.run("MULTI");
            watcher.run("PING");
            assert_eq!(watcher.run("EXEC"), Value::Null, "{call}");
        }
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        for call in [
            "ATOMIC.INCRBY a 5 PX 90000",
            "ATOMIC.INCRBY a 5",
            "ATOMIC.INCRBY b 5 MAX 3 WRAP 1",
            "ATOMIC.INCRBY b 1 MAX 3 SATURATE EX 90",
            "ATOMIC.HINCRBY h f 5 INIT 2",
            "ATOMIC.HINCRBY h f 5 MAX 8 SATURATE",
            "ATOMIC.HINCRBY h f 5 MAX 8 WRAP 1",
            "ATOMIC.TRANSFER a b 2",
            "ATOMIC.TRANSFER a c 2",
        ] {
            assert!(!matches!(server.run(call), Value::Error(_)), "{call}");
        }
        replica.expect_same_data();
        let binary: [&[u8]; 4] = [b"ATOMIC.HINCRBY", b"\xff\0", b"\0\xfe", b"7"];
        assert_eq!(brief(&server.call(&binary)), "[1, 7, 7, -1]");
        assert_eq!(server.call(&argv(r#"HGET "\xff\x00" "\x00\xfe""#)), Value::bulk("7"));
        replica.expect_same_data();
    });
}
