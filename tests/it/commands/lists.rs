//! `ATOMIC.PUSH` and `ATOMIC.POP`: lists of bounded length.

use super::rows::{brief, check};
use crate::support::{Value, each_server, eventually};

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
            ("k LEFT 0 VALUES a", "ERR maxlen must be an integer between 1 and 1000000"),
            ("k LEFT 1000001 VALUES a", "ERR maxlen must be an integer between 1 and 1000000"),
            ("k LEFT 1 EVICT REJECT VALUES a", "ERR syntax error near 'REJECT'"),
            ("k LEFT 1 RANGE range VALUES a", "ERR syntax error near 'range'"),
            ("k LEFT 1 PX 0 VALUES a", "ERR PX must be an integer between 1 and 4611686018427387903"),
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
fn a_push_sets_or_keeps_the_ttl_of_a_list() {
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
fn a_pop_keeps_at_least_keep_elements() {
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
            ("k LEFT COUNT 0", "ERR COUNT must be an integer between 1 and 1000000"),
            ("k LEFT COUNT 1000001", "ERR COUNT must be an integer between 1 and 1000000"),
            ("k LEFT KEEP -1", "ERR KEEP must be an integer between 0 and 9223372036854775807"),
            ("k LEFT COUNT 1 COUNT 1", "ERR syntax error near 'COUNT'"),
            ("k LEFT 1", "ERR syntax error near '1'"),
        ] {
            assert_eq!(server.run(&format!("ATOMIC.POP {call}")).error(), text, "{call}");
        }
    });
}

#[test]
fn a_push_serves_clients_that_block_on_the_list() {
    each_server(|server| {
        let mut blocked = server.connect();
        blocked.send(&["BLPOP", "k", "0"]).unwrap();
        eventually("the client blocks", || (server.info("blocked_clients") == "1").then_some(()));
        assert_eq!(brief(&server.run("ATOMIC.PUSH k RIGHT 5 VALUES a b")), "[2, 0]");
        assert_eq!(brief(&blocked.read().unwrap()), "[\"k\", \"a\"]");
        assert_eq!(brief(&server.run("LRANGE k 0 -1")), "[\"b\"]");
    });
}
