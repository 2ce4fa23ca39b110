//! `ATOMIC.GETORSET`, `ATOMIC.HMGETOR`, `ATOMIC.PUSH`, `ATOMIC.POP`, `ATOMIC.ONCE` and `ATOMIC.IDEMBEGIN`, `IDEMEND`, `IDEMABORT`.

use super::counters::{brief, check, check_changes_nothing, check_streams};
use crate::support::{RealReplica, Server, Value, each_server, eventually};

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
            ("ATOMIC.GETORSET k v EX 0", "ERR EX must be an integer in 1..=4611686018427387"),
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
fn a_list_never_grows_beyond_its_length() {
    each_server(|server| {
        let all = "LRANGE k 0 -1";
        check(
            server,
            &[
                ("", "ATOMIC.PUSH k RIGHT 3 VALUES a b", "[2, 0]", all, "[\"a\", \"b\"]"),
                ("", "ATOMIC.PUSH k left 3 values a b", "[2, 0]", all, "[\"b\", \"a\"]"),
                ("RPUSH k x y z", "ATOMIC.PUSH k RIGHT 3 VALUES a", "[3, 1]", all, "[\"y\", \"z\", \"a\"]"),
                ("RPUSH k x y z", "ATOMIC.PUSH k LEFT 3 EVICT VALUES a b", "[3, 2]", all, "[\"b\", \"a\", \"x\"]"),
                ("RPUSH k x", "ATOMIC.PUSH k RIGHT 2 VALUES a b c", "[2, 2]", all, "[\"b\", \"c\"]"),
                ("RPUSH k x y z", "ATOMIC.PUSH k RIGHT 1 VALUES a", "[1, 3]", all, "[\"a\"]"),
                ("RPUSH k x y", "ATOMIC.PUSH k RIGHT 3 REJECT VALUES a b", "[2, 2]", all, "[\"x\", \"y\"]"),
                ("RPUSH k x y", "ATOMIC.PUSH k RIGHT 3 REJECT VALUES a", "[3, 0]", all, "[\"x\", \"y\", \"a\"]"),
                ("", "ATOMIC.PUSH k RIGHT 1 REJECT VALUES a b", "[0, 2]", "EXISTS k", "0"),
                ("RPUSH k x", "ATOMIC.PUSH k RIGHT 9 RANGE VALUES a", "[2, 0, [\"x\", \"a\"]]", all, "[\"x\", \"a\"]"),
                ("RPUSH k x", "ATOMIC.PUSH k LEFT 9 RANGE VALUES a", "[2, 0, [\"a\", \"x\"]]", all, "[\"a\", \"x\"]"),
                ("RPUSH k x", "ATOMIC.PUSH k LEFT 1 REJECT RANGE VALUES a", "[1, 1, [\"x\"]]", all, "[\"x\"]"),
                ("", "ATOMIC.PUSH k LEFT 1 REJECT RANGE VALUES a b", "[0, 2, []]", "EXISTS k", "0"),
                ("", "ATOMIC.PUSH k RIGHT 5 VALUES VALUES PX", "[2, 0]", all, "[\"VALUES\", \"PX\"]"),
                (
                    "",
                    r#"ATOMIC.PUSH k RIGHT 5 RANGE VALUES "\x00\xff" "" 12"#,
                    r#"[3, 0, ["\x00\xff", "", "12"]]"#,
                    "LLEN k",
                    "3",
                ),
            ],
        );
        let long: Vec<String> = (0..500).map(|number| format!("value-{number}")).collect();
        server.run("FLUSHALL");
        assert_eq!(brief(&server.run(&format!("ATOMIC.PUSH k RIGHT 300 VALUES {}", long.join(" ")))), "[300, 200]");
        assert_eq!((server.run("LINDEX k 0"), server.run("LINDEX k -1")), (Value::bulk("value-200"), Value::bulk("value-499")));
        for (call, text) in [
            ("k UP 1 VALUES a", "ERR syntax error near 'UP'"),
            ("k LEFT 0 VALUES a", "ERR maxlen must be an integer in 1..=1000000"),
            ("k LEFT 1000001 VALUES a", "ERR maxlen must be an integer in 1..=1000000"),
            ("k LEFT 1 EVICT REJECT VALUES a", "ERR syntax error near 'REJECT'"),
            ("k LEFT 1 RANGE range VALUES a", "ERR syntax error near 'range'"),
            ("k LEFT 1 PX 0 VALUES a", "ERR PX must be an integer in 1..=4611686018427387903"),
            ("k LEFT 1 a b", "ERR syntax error near 'a'"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.PUSH {call}")).error(), text, "{call}");
        }
        for call in ["ATOMIC.PUSH k LEFT 1 RANGE VALUES", "ATOMIC.PUSH k LEFT 1 EVICT RANGE"] {
            assert!(server.run(call).error().starts_with("ERR wrong number of arguments"), "{call}");
        }
    });
}

#[test]
fn the_ttl_of_a_list_is_set_on_every_push_or_kept() {
    each_server(|server| {
        let ttl = |low, high, what: &str| {
            let ttl = server.run("PTTL k").integer();
            assert!((low..=high).contains(&ttl), "{what}: {ttl}");
        };
        server.run("ATOMIC.PUSH k RIGHT 2 PX 90000 VALUES a");
        ttl(45000, 90000, "set on the first push");
        server.run("ATOMIC.PUSH k RIGHT 2 VALUES b c d");
        ttl(45000, 90000, "kept, even when nothing old stays");
        server.run("ATOMIC.PUSH k RIGHT 2 REJECT PX 500000 VALUES a");
        ttl(45000, 90000, "a refusal leaves it");
        server.run("ATOMIC.PUSH k RIGHT 2 PX 40000 VALUES a");
        ttl(20000, 40000, "set on every push");
        server.run("ATOMIC.POP k LEFT");
        ttl(20000, 40000, "kept by a pop");
    });
}

#[test]
fn a_pop_leaves_what_must_stay() {
    each_server(|server| {
        let (five, all) = ("RPUSH k a b c d e", "LRANGE k 0 -1");
        check(
            server,
            &[
                (five, "ATOMIC.POP k LEFT", "[\"a\"]", all, "[\"b\", \"c\", \"d\", \"e\"]"),
                (five, "ATOMIC.POP k RIGHT COUNT 2", "[\"e\", \"d\"]", all, "[\"a\", \"b\", \"c\"]"),
                (five, "ATOMIC.POP k LEFT COUNT 9 KEEP 3", "[\"a\", \"b\"]", all, "[\"c\", \"d\", \"e\"]"),
                (five, "ATOMIC.POP k left keep 5", "[]", "LLEN k", "5"),
                (five, "ATOMIC.POP k LEFT KEEP 9", "[]", "LLEN k", "5"),
                (five, "ATOMIC.POP k RIGHT COUNT 5", "[\"e\", \"d\", \"c\", \"b\", \"a\"]", "EXISTS k", "0"),
                (five, "ATOMIC.POP k LEFT KEEP 4 COUNT 9", "[\"a\"]", "LLEN k", "4"),
                ("", "ATOMIC.POP k LEFT", "[]", "EXISTS k", "0"),
                (r#"RPUSH k "\x00\xff" 12"#, "ATOMIC.POP k LEFT COUNT 2", r#"["\x00\xff", "12"]"#, "EXISTS k", "0"),
            ],
        );
        for (call, text) in [
            ("k UP", "ERR syntax error near 'UP'"),
            ("k LEFT COUNT 0", "ERR COUNT must be an integer in 1..=1000000"),
            ("k LEFT COUNT 1000001", "ERR COUNT must be an integer in 1..=1000000"),
            ("k LEFT KEEP -1", "ERR KEEP must be an integer in 0..=9223372036854775807"),
            ("k LEFT COUNT 1 COUNT 1", "ERR syntax error near 'COUNT'"),
            ("k LEFT 1", "ERR syntax error near '1'"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.POP {call}")).error(), text, "{call}");
        }
    });
}

#[test]
fn only_the_first_is_first() {
    each_server(|server| {
        check(
            server,
            &[
                ("", "ATOMIC.ONCE k PX 90000 VALUE v", "[1, 90000, \"v\"]", "GET k", "\"v\""),
                ("", "ATOMIC.ONCE k value v px 90000", "[1, 90000, \"v\"]", "GET k", "\"v\""),
                ("", "ATOMIC.ONCE k PX 90000", "[1, 90000, \"\"]", "GET k", "\"\""),
                ("SET k w", "ATOMIC.ONCE k PX 90000 VALUE v", "[0, -1, \"w\"]", "PTTL k", "-1"),
                (r#"SET k "\xff""#, "ATOMIC.ONCE k PX 90000", r#"[0, -1, "\xff"]"#, "STRLEN k", "1"),
            ],
        );
        server.run("DEL k");
        server.run("ATOMIC.ONCE k PX 90000 VALUE v");
        let again = server.run("ATOMIC.ONCE k PX 500000 VALUE w");
        let ttl = again.array()[1].integer();
        assert!((45000..=90000).contains(&ttl) && server.run("PTTL k").integer() <= 90000, "{again}");
        assert_eq!((again.array()[0].integer(), again.array()[2].text()), (0, "v".to_owned()));
        server.run("DEL k");
        server.run("ATOMIC.ONCE k PX 1");
        eventually("the period is over", || (server.run("ATOMIC.ONCE k PX 90000").array()[0].integer() == 1).then_some(()));
        for (call, text) in [
            ("ATOMIC.ONCE k VALUE v", "ERR PX is required"),
            ("ATOMIC.ONCE k PX 0", "ERR PX must be an integer in 1..=4611686018427387903"),
            ("ATOMIC.ONCE k PX 5 PX 5", "ERR syntax error near 'PX'"),
            ("ATOMIC.ONCE k PX 5 VALUE v VALUE v", "ERR syntax error near 'VALUE'"),
            ("ATOMIC.ONCE k EX 5", "ERR syntax error near 'EX'"),
        ] {
            assert_eq!(server.run(call).error(), text, "{call}");
        }
    });
}

fn begin(server: &Server, fingerprint: &str) -> (i64, i64, Value) {
    let reply = server.run(&format!("ATOMIC.IDEMBEGIN k {fingerprint} 90000"));
    let items = reply.array();
    assert_eq!(items.len(), 3, "{reply}");
    (items[0].integer(), items[1].integer(), items[2].clone())
}

#[test]
fn a_request_is_carried_out_once() {
    each_server(|server| {
        let (phase, ttl, token) = begin(server, "f");
        assert_eq!((phase, ttl), (1, 90000));
        let (phase, ttl, nothing) = begin(server, "f");
        assert!(phase == 2 && (45000..=90000).contains(&ttl) && nothing == Value::Null);
        let (phase, ttl, nothing) = begin(server, "g");
        assert!(phase == 4 && (45000..=90000).contains(&ttl) && nothing == Value::Null);
        assert!((45000..=90000).contains(&server.run("PTTL k").integer()), "the key lives as long as the lease");
        let end = |token: &str, ms| server.run(&format!(r#"ATOMIC.IDEMEND k {token} "\x00\xff" PX {ms}"#)).integer();
        assert_eq!(end("wrong", 500_000), 0);
        assert_eq!(end(&token.text(), 500_000), 1);
        assert!((250_000..=500_000).contains(&server.run("PTTL k").integer()));
        assert_eq!(end(&token.text(), 5), 0, "a response is stored once");
        assert_eq!(server.run(&format!("ATOMIC.IDEMABORT k {}", token.text())), Value::Integer(0));
        let (phase, ttl, response) = begin(server, "f");
        assert!(phase == 3 && (250_000..=500_000).contains(&ttl) && response == Value::bulk(b"\x00\xff"));
        assert_eq!(begin(server, "g").0, 4);
        server.run("PERSIST k");
        assert_eq!(begin(server, "f").1, -1);
        server.run("DEL k");
        assert_eq!(end(&token.text(), 5), -1);
        assert_eq!(server.run("ATOMIC.IDEMABORT k x"), Value::Integer(-1));
    });
}

#[test]
fn a_request_that_is_given_up_or_forgotten_begins_anew() {
    each_server(|server| {
        let first = begin(server, "f").2.text();
        assert_eq!(server.run("ATOMIC.IDEMABORT k x"), Value::Integer(0));
        assert_eq!(server.run(&format!("ATOMIC.IDEMABORT k {first}")), Value::Integer(1));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
        server.run("ATOMIC.IDEMBEGIN k f 1");
        let second = eventually("the lease is over", || Some(begin(server, "g")).filter(|begun| begun.0 == 1)).2.text();
        assert!(second.parse::<u64>().unwrap() > first.parse::<u64>().unwrap(), "tokens are never used twice");
        assert_eq!(server.run(&format!("ATOMIC.IDEMEND k {first} r PX 5")), Value::Integer(0));
        // A lease is over when it is over, even if the key was made to live on.
        server.run("DEL k");
        server.run("MULTI");
        server.run("ATOMIC.IDEMBEGIN k f 20");
        server.run("PERSIST k");
        let token = server.run("EXEC").array()[0].array()[2].text();
        let begun = eventually("the lease is over", || Some(begin(server, "f")).filter(|begun| begun.0 == 1));
        assert_ne!(begun.2.text(), token);
        assert_eq!(server.run(&format!("ATOMIC.IDEMEND k {token} r PX 5")), Value::Integer(0));
    });
}

#[test]
fn requests_that_are_no_requests_are_refused() {
    each_server(|server| {
        let long = "x".repeat(256);
        let fingerprint = "ERR fingerprint must be 1 to 255 bytes";
        for (call, text) in [
            ("ATOMIC.IDEMBEGIN k \"\" 5", fingerprint),
            (&format!("ATOMIC.IDEMBEGIN k {long} 5"), fingerprint),
            ("ATOMIC.IDEMBEGIN k f 0", "ERR lease-ms must be an integer in 1..=31536000000"),
            ("ATOMIC.IDEMBEGIN k f 31536000001", "ERR lease-ms must be an integer in 1..=31536000000"),
            ("ATOMIC.IDEMEND k t r PX 0", "ERR PX must be an integer in 1..=4611686018427387903"),
            ("ATOMIC.IDEMEND k t r EX 5", "ERR syntax error near 'EX'"),
        ] {
            assert_eq!(server.run(call).error(), text);
        }
        assert_eq!(server.run(&format!("ATOMIC.IDEMBEGIN k {} 5", &long[1..])).array()[0].integer(), 1);
        for value in ["", "foreign", "10", "\\xa7ID\\x01", "\\xa7LK\\x01"] {
            server.run(&format!("SET k \"{value}\""));
            for call in ["ATOMIC.IDEMBEGIN k f 5", "ATOMIC.IDEMEND k t r PX 5", "ATOMIC.IDEMABORT k t"] {
                let reply = server.run(call);
                assert_eq!(reply.error(), "WRONGTYPE key does not hold an idempotency record (format ID1)", "{call}");
            }
        }
    });
}

#[test]
fn another_type_is_refused_in_the_words_of_the_server() {
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
        let mut replica = crate::support::FakeReplica::attach(server);
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
fn what_changes_nothing_is_no_write() {
    each_server(|server| {
        let begun = "ATOMIC.IDEMBEGIN k f 90000";
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
                (begun, "ATOMIC.IDEMEND k x r PX 5000"),
                (begun, "ATOMIC.IDEMABORT k x"),
                ("", "ATOMIC.IDEMEND k x r PX 5000"),
                ("SET k foreign", begun),
            ],
        );
    });
}

#[test]
fn clients_that_block_on_a_list_are_served_by_a_push() {
    each_server(|server| {
        let mut blocked = server.connect();
        blocked.send(&["BLPOP", "k", "0"]).unwrap();
        eventually("the client blocks", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(brief(&server.run("ATOMIC.PUSH k RIGHT 5 VALUES a b")), "[2, 0]");
        assert_eq!(brief(&blocked.read().unwrap()), "[\"k\", \"a\"]");
        assert_eq!(brief(&server.run("LRANGE k 0 -1")), "[\"b\"]");
    });
}

#[test]
fn changes_of_lists_are_announced() {
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
fn replica_without_the_module_holds_the_same_values() {
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
