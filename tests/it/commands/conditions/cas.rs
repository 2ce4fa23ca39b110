//! `ATOMIC.CAS` and `ATOMIC.CAD`: grammar, comparison byte for byte, TTL.

use crate::commands::{OTHER_TYPES, WRONGTYPE, changes_nothing, command, deadline, expect_range, expect_refused, timed};
use crate::support::{Value, each_server};

const MAX_SECONDS: i64 = i64::MAX / 2000;
const MAX_MILLIS: i64 = 4_611_686_018_427_387_903;

/// Values of every length and encoding of the server: integers, embedded strings, raw strings.
fn values() -> Vec<Vec<u8>> {
    let long = |length: usize| (0..=255).cycle().take(length).collect::<Vec<u8>>();
    let shapes: [&[u8]; 12] = [
        b"",
        b"\0",
        b"\r\n",
        b"a\0b\xff\xfe",
        "\u{4e00}".as_bytes(),
        b"0",
        b"10",
        b"-1",
        b"10000",
        b"9223372036854775807",
        b"-9223372036854775808",
        b"1.50",
    ];
    let mut values: Vec<Vec<u8>> = shapes.iter().map(|shape| shape.to_vec()).collect();
    values.extend([44, 45, 100 * 1024].map(long));
    values
}

#[test]
fn cas_refuses_unknown_options_and_names_them() {
    let arity = "ERR wrong number of arguments for 'atomic.cas' command";
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    let table = [
        ("ATOMIC.CAS", arity.to_owned()),
        ("ATOMIC.CAS k", arity.to_owned()),
        ("ATOMIC.CAS k v", arity.to_owned()),
        ("ATOMIC.CAS k v n EX", near("EX")),
        ("ATOMIC.CAS k v n PX", near("PX")),
        ("ATOMIC.CAS k v n EXAT", near("EXAT")),
        ("ATOMIC.CAS k v n PXAT", near("PXAT")),
        ("ATOMIC.CAS k v n NX", near("NX")),
        ("ATOMIC.CAS k v n PERSIST", near("PERSIST")),
        ("ATOMIC.CAS k v n GET", near("GET")),
        ("ATOMIC.CAS k v n ''", near("")),
        ("ATOMIC.CAS k v n EXX 10", near("EXX")),
        ("ATOMIC.CAS k v n EX 10 junk", near("junk")),
        ("ATOMIC.CAS k v n junk EX 10", near("junk")),
        ("ATOMIC.CAS k v n KEEPTTL 10", near("10")),
        ("ATOMIC.CAS k v n EX 10 EX 10", near("EX")),
        ("ATOMIC.CAS k v n EX 10 px 10", near("px")),
        ("ATOMIC.CAS k v n PX 10 EXAT 4102444800", near("EXAT")),
        ("ATOMIC.CAS k v n EXAT 4102444800 PXAT 4102444800000", near("PXAT")),
        ("ATOMIC.CAS k v n KEEPTTL KEEPTTL", near("KEEPTTL")),
        ("ATOMIC.CAS k v n KEEPTTL EX 10", near("EX")),
        ("ATOMIC.CAS k v n PXAT 4102444800000 KeepTTL", near("KeepTTL")),
        (r#"ATOMIC.CAS k v n "\xe4\xb8\x80\x00\r\n""#, near(r"\xe4\xb8\x80\x00\r\n")),
    ];
    each_server(|server| {
        server.run("SET k v PX 60000");
        expect_refused(server, &table);
        let (fits, long) = ("o".repeat(64), "o".repeat(65));
        expect_refused(server, &[(format!("ATOMIC.CAS k v n {fits}"), near(&fits))]);
        expect_refused(server, &[(format!("ATOMIC.CAS k v n {long}"), near(&format!("{fits}...")))]);
        // A malformed request is refused before the key is read.
        expect_refused(server, &[("ATOMIC.CAS missing v n junk", near("junk")), ("ATOMIC.CAS k mismatch n junk", near("junk"))]);
        server.run("RPUSH list v");
        expect_refused(server, &[("ATOMIC.CAS list v n junk", near("junk")), ("ATOMIC.CAS list v n", WRONGTYPE.to_owned())]);
    });
}

#[test]
fn cad_accepts_only_a_key_and_a_value() {
    let arity = "ERR wrong number of arguments for 'atomic.cad' command";
    each_server(|server| {
        server.run("SET k v");
        expect_refused(server, &[("ATOMIC.CAD", arity), ("ATOMIC.CAD k", arity), ("ATOMIC.CAD k v ALL", arity)]);
    });
}

#[test]
fn cas_expiry_times_are_integers_in_their_range() {
    each_server(|server| {
        for (option, max) in [("EX", MAX_SECONDS), ("PX", MAX_MILLIS), ("EXAT", MAX_SECONDS), ("PXAT", MAX_MILLIS)] {
            expect_range(server, "SET k v", &format!("ATOMIC.CAS k v n {option} %"), option, (1, max));
        }
    });
}

#[test]
fn a_key_of_another_type_is_refused_and_stays() {
    each_server(|server| {
        for setup in OTHER_TYPES {
            server.run("FLUSHALL");
            server.run(setup);
            let commands = ["ATOMIC.CAS k v n", "ATOMIC.CAS k v n KEEPTTL", "ATOMIC.CAS k v n PXAT 1", "ATOMIC.CAD k v"];
            expect_refused(server, &commands.map(|command| (command, WRONGTYPE)));
        }
    });
}

#[test]
fn only_the_exact_bytes_of_the_expected_value_are_replaced() {
    each_server(|server| {
        let values = values();
        for (position, old) in values.iter().enumerate() {
            let new = &values[(position + 5) % values.len()];
            server.call(&[b"SET", &b"k"[..], old]);
            for other in values.iter().filter(|other| *other != old) {
                let attempt = command(&[b"ATOMIC.CAS", b"k", other, new]);
                assert_eq!(changes_nothing(server, &attempt), Value::Integer(0));
                assert_eq!(server.call(&[b"ATOMIC.CAD", &b"k"[..], other]), Value::Integer(0));
            }
            assert_eq!(server.call(&[b"ATOMIC.CAS", &b"k"[..], old, new]), Value::Integer(1));
            assert_eq!(server.run("GET k"), Value::bulk(new));
            assert_eq!(server.call(&[b"ATOMIC.CAD", &b"k"[..], old]), Value::Integer(0));
            assert_eq!(server.call(&[b"ATOMIC.CAD", &b"k"[..], new]), Value::Integer(1));
            assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        }
    });
}

#[test]
fn a_value_of_the_same_length_a_prefix_or_another_spelling_is_not_equal() {
    let table = [
        ("v1", &["v2", "v", "v11", "V1", "1v"][..]),
        ("10", &["010", "+10", "10.0", "11", " 10"]),
        ("", &[" ", "0"]),
        ("9223372036854775807", &["9223372036854775806", "-9223372036854775807"]),
    ];
    each_server(|server| {
        for (value, others) in table {
            server.call(&["SET", "k", value]);
            for other in others {
                assert_eq!(server.call(&["ATOMIC.CAS", "k", other, "n"]), Value::Integer(0), "{value:?} and {other:?}");
                assert_eq!(server.call(&["ATOMIC.CAD", "k", other]), Value::Integer(0), "{value:?} and {other:?}");
            }
            assert_eq!(server.run("GET k"), Value::bulk(value));
        }
    });
}

#[test]
fn a_missing_key_is_not_equal_and_not_created() {
    each_server(|server| {
        for attempt in
            ["ATOMIC.CAS k '' n", "ATOMIC.CAS k v n EX 10", "ATOMIC.CAS k v n KEEPTTL", "ATOMIC.CAD k ''", "ATOMIC.CAD k v"]
        {
            assert_eq!(changes_nothing(server, attempt), Value::Integer(-1), "{attempt}");
        }
        server.run("DEBUG SET-ACTIVE-EXPIRE 0");
        for attempt in ["ATOMIC.CAS gone v n", "ATOMIC.CAD gone v"] {
            let mut connection = server.connect();
            server.run("SET gone v PX 1");
            let now = crate::commands::micros(&mut connection);
            crate::commands::await_micros(&mut connection, now + 2000);
            assert_eq!(server.run(attempt), Value::Integer(-1), "{attempt} saw a key that is over");
        }
    });
}

#[test]
fn the_ttl_follows_the_option() {
    each_server(|server| {
        let mut connection = server.connect();
        for had in ["", " PX 5000000"] {
            for (option, min_ms, max_ms) in [
                ("EX 100", 100_000, 100_000),
                ("ex 100", 100_000, 100_000),
                ("PX 100000", 100_000, 100_000),
                ("Px 1500", 1500, 1500),
                ("EX 4611686018427387", 4_611_686_018_427_387_000, 4_611_686_018_427_387_000),
                ("PX 4611686018427387903", MAX_MILLIS, MAX_MILLIS),
            ] {
                server.run(&format!("SET k v{had}"));
                let set = timed(&mut connection, &format!("ATOMIC.CAS k v n {option}"));
                assert_eq!(set.reply, Value::Integer(1));
                let ends = deadline(server, "k");
                let around = set.before / 1000 + min_ms..=set.after / 1000 + max_ms;
                assert!(around.contains(&ends), "{option}: {ends} is not in {around:?}");
                assert_eq!(server.run("GET k"), Value::bulk("n"));
            }
            for (option, expected) in [
                ("EXAT 4102444800", 4_102_444_800_000),
                ("exat 4611686018427387", 4_611_686_018_427_387_000),
                ("PXAT 4102444800123", 4_102_444_800_123),
                ("pxat 4611686018427387903", MAX_MILLIS),
                ("", -1),
            ] {
                server.run(&format!("SET k v{had}"));
                assert_eq!(server.run(&format!("ATOMIC.CAS k v n {option}")), Value::Integer(1));
                assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(expected), "{option:?} on{had:?}");
                assert_eq!(server.run("GET k"), Value::bulk("n"));
            }
        }
    });
}

#[test]
fn keepttl_keeps_the_ttl_and_the_absence_of_one() {
    each_server(|server| {
        for (setup, expected) in [("SET k v PXAT 4102444800123", 4_102_444_800_123), ("SET k v", -1)] {
            // Same length, shorter, longer than an embedded string.
            for new in ["n", "", &"n".repeat(100)] {
                for option in ["KEEPTTL", "keepttl"] {
                    server.run(setup);
                    assert_eq!(server.run(&format!("ATOMIC.CAS k v '{new}' {option}")), Value::Integer(1));
                    assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(expected), "{setup}, {new:?}");
                    assert_eq!(server.run("GET k"), Value::bulk(new));
                }
            }
        }
    });
}

#[test]
fn a_time_that_has_passed_deletes_the_key_when_the_value_is_the_expected_one() {
    each_server(|server| {
        for option in ["EXAT 1", "PXAT 1", "EXAT 1700000000", "PXAT 1700000000000"] {
            server.run("SET k v PX 60000");
            assert_eq!(changes_nothing(server, &format!("ATOMIC.CAS k other n {option}")), Value::Integer(0));
            assert_eq!(server.run(&format!("ATOMIC.CAS k v n {option}")), Value::Integer(1), "{option}");
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{option}");
            assert_eq!(server.run(&format!("ATOMIC.CAS k v n {option}")), Value::Integer(-1), "{option}");
        }
    });
}

#[test]
fn a_mismatch_keeps_value_and_ttl_with_every_option() {
    each_server(|server| {
        server.run("SET k v PXAT 4102444800123");
        for option in ["", "EX 10", "PX 10", "EXAT 4102444800", "PXAT 1", "KEEPTTL"] {
            assert_eq!(changes_nothing(server, &format!("ATOMIC.CAS k w n {option}")), Value::Integer(0), "{option}");
        }
        assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(4_102_444_800_123));
    });
}

#[test]
fn a_new_value_is_an_ordinary_string_of_the_server() {
    each_server(|server| {
        server.run("SET n 10");
        assert_eq!(server.run("ATOMIC.CAS n 10 11"), Value::Integer(1));
        assert_eq!(server.run("INCR n"), Value::Integer(12));
        assert_eq!(server.run("ATOMIC.CAS n 12 twelve"), Value::Integer(1));
        assert_eq!(server.run("APPEND n !"), Value::Integer(7));
        assert_eq!(server.run("ATOMIC.CAS n twelve! v"), Value::Integer(1));
        assert_eq!(server.run("SETRANGE n 1 w"), Value::Integer(2));
        assert_eq!(server.run("ATOMIC.CAS n vw vw"), Value::Integer(1));
        assert_eq!(server.run("ATOMIC.CAD n vw"), Value::Integer(1));
    });
}

#[test]
fn keys_are_bytes() {
    each_server(|server| {
        for key in [&b""[..], b"\0", b"\r\n", "\u{4e00}".as_bytes(), b"\xff\xfe", b"a b"] {
            server.call(&[b"SET", key, b"v"]);
            assert_eq!(server.call(&[b"ATOMIC.CAS", key, b"v", b"n"]), Value::Integer(1));
            assert_eq!(server.call(&[b"GET", key]), Value::bulk("n"));
            assert_eq!(server.call(&[b"ATOMIC.CAD", key, b"n"]), Value::Integer(1));
            assert_eq!(server.run("DBSIZE"), Value::Integer(0));
        }
    });
}
