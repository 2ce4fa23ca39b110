//! `ATOMIC.GETORSET` and `ATOMIC.HMGETOR`; and what these share with lists and idempotency: types, replication, keyspace events.

use super::idempotency::begin;
use super::rows::{brief, check, check_changes_nothing, check_streams};
use crate::support::{FakeReplica, RealReplica, Value, each_server};

#[test]
fn a_value_is_returned_or_set() {
    each_server(|server| {
        check(
            server,
            &[
                ("", "ATOMIC.GETORSET k v", "[1, \"v\"]", "GET k", "\"v\""),
                ("", "ATOMIC.GETORSET k \"\"", "[1, \"\"]", "GET k", "\"\""),
                ("", "ATOMIC.GETORSET k v", "[1, \"v\"]", "PTTL k", "-1"),
                ("SET k w", "ATOMIC.GETORSET k v", "[0, \"w\"]", "GET k", "\"w\""),
                ("SET k 17", "ATOMIC.GETORSET k v PX 5000", "[0, \"17\"]", "PTTL k", "-1"),
                ("SET k \"\"", "ATOMIC.GETORSET k v", "[0, \"\"]", "GET k", "\"\""),
                (r#"SET k "\x00\xff""#, "ATOMIC.GETORSET k v", r#"[0, "\x00\xff"]"#, "STRLEN k", "2"),
                ("", r#"ATOMIC.GETORSET k "\x00\xff""#, r#"[1, "\x00\xff"]"#, "GET k", r#""\x00\xff""#),
            ],
        );
        for option in ["PX 90000", "EX 90"] {
            server.run("DEL k");
            server.run(&format!("ATOMIC.GETORSET k v {option}"));
            assert!((45000..=90000).contains(&server.run("PTTL k").integer()), "{option}");
        }
        for (call, text) in [
            ("ATOMIC.GETORSET k v PXAT 4102444800000", "ERR syntax error near 'PXAT'"),
            ("ATOMIC.GETORSET k v KEEPTTL", "ERR syntax error near 'KEEPTTL'"),
            ("ATOMIC.GETORSET k v PX 5 EX 5", "ERR syntax error near 'EX'"),
            ("ATOMIC.GETORSET k v EX 0", "ERR EX must be an integer between 1 and 4611686018427387"),
        ] {
            assert_eq!(server.run(call).error(), text);
        }
    });
}

#[test]
fn missing_fields_have_defaults() {
    each_server(|server| {
        check(
            server,
            &[
                ("", "ATOMIC.HMGETOR k f d", "[\"d\"]", "EXISTS k", "0"),
                ("HSET k f v", "ATOMIC.HMGETOR k f d g e", "[\"v\", \"e\"]", "HLEN k", "1"),
                ("HSET k f \"\"", "ATOMIC.HMGETOR k f d f e", "[\"\", \"\"]", "HLEN k", "1"),
                (r#"HSET k "\xff" "\x00""#, r#"ATOMIC.HMGETOR k "\xff" d"#, r#"["\x00"]"#, "HLEN k", "1"),
                ("HSET k f 12", r#"ATOMIC.HMGETOR k g "\x00" f d"#, r#"["\x00", "12"]"#, "HLEN k", "1"),
            ],
        );
        for call in ["ATOMIC.HMGETOR k f", "ATOMIC.HMGETOR k f d g"] {
            assert!(server.run(call).error().starts_with("ERR wrong number of arguments"), "{call}");
        }
        let replica = RealReplica::with_module(server);
        server.run("DEL k");
        server.run("HSET k f v");
        replica.await_sync();
        assert_eq!(brief(&replica.server.run("ATOMIC.HMGETOR k f d g e")), "[\"v\", \"e\"]", "on a replica");
    });
}

#[test]
fn another_type_is_refused_with_the_servers_error() {
    each_server(|server| {
        server.run("SET s v");
        server.run("ZADD z 1 m");
        for key in ["s", "z"] {
            for call in ["HMGETOR KEY f d", "PUSH KEY LEFT 1 VALUES v", "POP KEY LEFT"] {
                let reply = server.run(&format!("ATOMIC.{}", call.replace("KEY", key)));
                assert_eq!(reply.error(), "WRONGTYPE Operation against a key holding the wrong kind of value", "{call}");
            }
        }
        for call in ["GETORSET z v", "ONCE z PX 5", "IDEMBEGIN z f 5", "IDEMEND z t r PX 5", "IDEMABORT z t"] {
            let reply = server.run(&format!("ATOMIC.{call}"));
            assert_eq!(reply.error(), "WRONGTYPE Operation against a key holding the wrong kind of value", "{call}");
        }
    });
}

#[test]
fn the_stream_is_plain_commands_in_absolute_time() {
    each_server(|server| {
        check_streams(
            server,
            &[
                ("", "ATOMIC.GETORSET k v", &["SET k v"]),
                ("", "ATOMIC.GETORSET k v EX 5", &["SET k v PXAT <t>"]),
                ("", "ATOMIC.ONCE k PX 5000 VALUE v", &["SET k v PXAT <t>"]),
                ("", "ATOMIC.ONCE k PX 5000", &["SET k \"\" PXAT <t>"]),
                ("", "ATOMIC.IDEMBEGIN k f 5000", &["SET k <state> PXAT <t>"]),
                ("", "ATOMIC.IDEMBEGIN k f 5000 TOKEN a", &["SET k <state> PXAT <t>"]),
                ("ATOMIC.IDEMBEGIN k f 5000 TOKEN a", "ATOMIC.IDEMEND k a r PX 5000", &["SET k <state> PXAT <t>"]),
                ("", "ATOMIC.PUSH k RIGHT 5 VALUES a b", &["RPUSH k a b"]),
                ("RPUSH k x", "ATOMIC.PUSH k LEFT 2 VALUES a b", &["MULTI", "LPUSH k a b", "RPOP k 1", "EXEC"]),
                (
                    "RPUSH k x",
                    "ATOMIC.PUSH k RIGHT 2 PX 5000 VALUES a b c",
                    &["MULTI", "RPUSH k b c", "PEXPIREAT k <t>", "LPOP k 1", "EXEC"],
                ),
                ("RPUSH k x", "ATOMIC.PUSH k RIGHT 2 PX 5000 RANGE VALUES a", &["MULTI", "RPUSH k a", "PEXPIREAT k <t>", "EXEC"]),
                ("RPUSH k x y z", "ATOMIC.POP k RIGHT COUNT 9 KEEP 1", &["RPOP k 2"]),
                ("RPUSH k x y z", "ATOMIC.POP k LEFT COUNT 3", &["LPOP k 3"]),
            ],
        );
        server.run("FLUSHALL");
        let mut replica = FakeReplica::attach(server);
        let token = begin(server, "f").2.text();
        server.run(&format!("ATOMIC.IDEMEND k {token} r PX 5000"));
        server.run("DEL k");
        let token = begin(server, "f").2.text();
        server.run(&format!("ATOMIC.IDEMABORT k {token}"));
        let state = "SET k <state> PXAT <t>";
        replica.expect_stream(&[state, state, "DEL k", state, "DEL k"]);
    });
}

#[test]
fn a_no_op_is_not_a_write() {
    each_server(|server| {
        let begun = "ATOMIC.IDEMBEGIN k f 90000";
        let named = "ATOMIC.IDEMBEGIN k f 90000 TOKEN a";
        let ended = &format!("{named}; ATOMIC.IDEMEND k a r PX 90000");
        check_changes_nothing(
            server,
            &[
                ("SET k v", "ATOMIC.GETORSET k w PX 5000"),
                ("SET k v PX 90000", "ATOMIC.ONCE k PX 5000 VALUE w"),
                ("HSET k f v", "ATOMIC.HMGETOR k f d g e"),
                ("RPUSH k a", "ATOMIC.PUSH k LEFT 1 REJECT PX 5000 RANGE VALUES b"),
                ("", "ATOMIC.PUSH k LEFT 1 REJECT VALUES a b"),
                ("RPUSH k a", "ATOMIC.POP k LEFT KEEP 1"),
                ("", "ATOMIC.POP k LEFT"),
                ("SET k v", "ATOMIC.POP k LEFT"),
                (begun, begun),
                (begun, "ATOMIC.IDEMBEGIN k g 5000"),
                (named, named),
                (named, "ATOMIC.IDEMBEGIN k f 5000 TOKEN b"),
                (ended, "ATOMIC.IDEMEND k a s PX 5000"),
                (ended, "ATOMIC.IDEMEND k b s PX 5000"),
                (ended, "ATOMIC.IDEMABORT k a"),
                (begun, "ATOMIC.IDEMEND k x r PX 5000"),
                (begun, "ATOMIC.IDEMABORT k x"),
                ("", "ATOMIC.IDEMEND k x r PX 5000"),
                ("SET k foreign", begun),
            ],
        );
    });
}

#[test]
fn changes_of_lists_and_values_cause_keyspace_events() {
    each_server(|server| {
        server.run("CONFIG SET notify-keyspace-events KEA");
        for (prepare, call, events) in [
            ("", "ATOMIC.PUSH k RIGHT 5 VALUES a b", &["rpush"][..]),
            ("RPUSH k x", "ATOMIC.PUSH k LEFT 1 PX 5000 VALUES a", &["lpush", "expire", "rpop"]),
            ("RPUSH k x y", "ATOMIC.POP k LEFT", &["lpop"]),
            ("RPUSH k x", "ATOMIC.POP k RIGHT", &["rpop", "del"]),
            ("", "ATOMIC.ONCE k PX 5000", &["set", "expire"]),
        ] {
            server.run("FLUSHALL");
            if !prepare.is_empty() {
                server.run(prepare);
            }
            let mut listener = server.connect();
            listener.run("SUBSCRIBE __keyspace@0__:k");
            server.run(call);
            for event in events {
                assert_eq!(listener.read().unwrap().array()[2].text(), *event, "{call}");
            }
        }
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        for call in [
            "ATOMIC.GETORSET a v PX 90000",
            "ATOMIC.ONCE b PX 90000 VALUE 17",
            "ATOMIC.PUSH l RIGHT 3 PX 90000 VALUES a b c d",
            "ATOMIC.PUSH l LEFT 3 VALUES e f",
            "ATOMIC.POP l RIGHT COUNT 2",
            "ATOMIC.PUSH gone LEFT 3 VALUES a",
            "ATOMIC.POP gone LEFT",
            "ATOMIC.IDEMBEGIN k f 90000",
        ] {
            assert!(!matches!(server.run(call), Value::Error(_)), "{call}");
        }
        replica.expect_same_data();
        server.run("DEL k");
        let token = begin(server, "f").2.text();
        server.run(&format!(r#"ATOMIC.IDEMEND k {token} "\x00\xff" PX 90000"#));
        replica.expect_same_data();
    });
}
