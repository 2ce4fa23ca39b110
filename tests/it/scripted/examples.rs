//! The commands of `lua/commands`: their replies, writes, replication and refusals.

use super::{Directory, examples};
use crate::support::{FakeReplica, RealReplica, Server, Value, argv, each_installed, each_server_with};

/// Setup commands, a call, its reply, and its stream.
struct Row(&'static [&'static str], &'static str, Value, &'static [&'static str]);

fn check(rows: &[Row]) {
    each_server_with(&examples(), |server| {
        let mut replica = FakeReplica::attach(server);
        for Row(before, call, reply, stream) in rows {
            server.run("FLUSHALL");
            before.iter().for_each(|command| drop(server.run(command)));
            replica.stream();
            assert_eq!(server.run(call), *reply, "{before:?} {call}");
            replica.expect_stream(stream);
        }
    });
}

fn error(text: &str) -> Value {
    Value::Error(text.to_owned())
}

#[test]
fn inventory_is_reserved_and_the_order_is_counted_or_neither() {
    let bad_stock = || error("ERR stock and order counter must be whole numbers");
    let bad_quantity = || error("ERR quantity must be an integer between 1 and 999999999999999");
    let reserve = "INVENTORY.RESERVE {p}stock {p}orders 2";
    let done: &[&str] = &["MULTI", "DECRBY {p}stock 2", "INCR {p}orders", "EXEC"];
    check(&[
        Row(&["SET {p}stock 5"], reserve, Value::integers(&[1, 3, 1]), done),
        Row(&["SET {p}stock 2", "SET {p}orders 7"], reserve, Value::integers(&[1, 0, 8]), done),
        Row(&["SET {p}stock 1", "SET {p}orders 7"], reserve, Value::integers(&[0, 1, 7]), &[]),
        Row(&[], reserve, Value::integers(&[0, 0, 0]), &[]),
        Row(&["SET {p}stock 5.5"], reserve, bad_stock(), &[]),
        Row(&["SET {p}stock -5"], reserve, bad_stock(), &[]),
        Row(&["SET {p}stock 1234567890123456"], reserve, bad_stock(), &[]),
        Row(&["SET {p}stock 5", "SET {p}orders x"], reserve, bad_stock(), &[]),
        Row(&["SET {p}stock 5"], "INVENTORY.RESERVE {p}stock {p}orders 0", bad_quantity(), &[]),
        Row(&["SET {p}stock 5"], "INVENTORY.RESERVE {p}stock {p}orders -1", bad_quantity(), &[]),
        Row(&["SET {p}stock 5"], "INVENTORY.RESERVE {p}stock {p}orders 0x1", bad_quantity(), &[]),
        Row(&["SET {p}stock 5"], "INVENTORY.RESERVE {p}stock {p}orders 1e0", bad_quantity(), &[]),
        Row(&["SET {p}stock 5"], "INVENTORY.RESERVE {p}stock {p}orders ''", bad_quantity(), &[]),
    ]);
}

#[test]
fn values_are_pushed_only_if_the_other_key_exists() {
    let push = "PUSH.IFEXISTS {p}open {p}list a b";
    check(&[
        Row(&["SET {p}open yes"], push, Value::Integer(2), &["LPUSH {p}list a b"]),
        Row(&["SADD {p}open any", "RPUSH {p}list x"], push, Value::Integer(3), &["LPUSH {p}list a b"]),
        Row(&["RPUSH {p}list x"], push, Value::Integer(0), &[]),
        Row(&[], push, Value::Integer(0), &[]),
    ]);
}

#[test]
fn integers_at_several_keys_are_added_up() {
    let not_integer = || error("ERR not every key holds an integer of at most 15 characters");
    check(&[
        Row(&["MSET {p}a 5 {p}b -7"], "SUM.KEYS 3 {p}a {p}b {p}none", Value::Integer(-2), &[]),
        Row(&["SET {p}a 5"], "SUM.KEYS 2 {p}a {p}a", Value::Integer(10), &[]),
        Row(&["SET {p}a 1.5"], "SUM.KEYS 1 {p}a", not_integer(), &[]),
        Row(&["SET {p}a 1234567890123456"], "SUM.KEYS 1 {p}a", not_integer(), &[]),
        Row(&["SET {p}a ''"], "SUM.KEYS 1 {p}a", not_integer(), &[]),
        Row(&["SET {p}a 5"], "SUM.KEYS 1 {p}a {p}b", error("ERR numkeys must count all keys"), &[]),
        Row(&["SET {p}a 5"], "SUM.KEYS 3 {p}a {p}b", error("ERR numkeys must be an integer between 1 and 2"), &[]),
        Row(&["SET {p}a 5"], "SUM.KEYS 0 {p}a", error("ERR numkeys must be an integer between 1 and 1"), &[]),
        Row(&["SET {p}a 5"], "SUM.KEYS x {p}a", error("ERR numkeys must be an integer between 1 and 1"), &[]),
    ]);
}

#[test]
fn counters_of_the_highest_scores_are_incremented() {
    const SCORES: &str = "ZADD {p}scores 1 low 2 middle 3 high";
    let reply = |pairs: &[(&str, i64)]| {
        Value::Array(pairs.iter().flat_map(|(name, count)| [Value::bulk(name), Value::Integer(*count)]).collect())
    };
    let stream = |by: &'static str| match by {
        "1" => &["MULTI", "HINCRBY {p}n high 1", "HINCRBY {p}n middle 1", "EXEC"],
        _ => &["MULTI", "HINCRBY {p}n high -5", "HINCRBY {p}n middle -5", "EXEC"],
    };
    let not_integer = || error("ERR not every counter is an integer of at most 15 characters");
    let bad_increment = || error("ERR increment must be one integer of at most 15 characters");
    let bad_count = || error("ERR count must be an integer between 1 and 1000");
    check(&[
        Row(&[SCORES, "HSET {p}n high 6"], "TOP.INCR {p}scores {p}n 2", reply(&[("high", 7), ("middle", 1)]), stream("1")),
        Row(&[SCORES], "TOP.INCR {p}scores {p}n 2 -5", reply(&[("high", -5), ("middle", -5)]), stream("-5")),
        Row(&["ZADD {p}scores 1 low"], "TOP.INCR {p}scores {p}n 1000", reply(&[("low", 1)]), &["HINCRBY {p}n low 1"]),
        Row(&[], "TOP.INCR {p}scores {p}n 5", Value::Array(Vec::new()), &[]),
        Row(&[SCORES, "HSET {p}n middle x"], "TOP.INCR {p}scores {p}n 2", not_integer(), &[]),
        Row(&[SCORES], "TOP.INCR {p}scores {p}n 0", bad_count(), &[]),
        Row(&[SCORES], "TOP.INCR {p}scores {p}n 1001", bad_count(), &[]),
        Row(&[SCORES], "TOP.INCR {p}scores {p}n 2 1.5", bad_increment(), &[]),
        Row(&[SCORES], "TOP.INCR {p}scores {p}n 2 1 1", bad_increment(), &[]),
    ]);
}

/// A value of another type at each key: the server's error, and no write.
#[test]
fn keys_of_another_type_are_refused_before_the_first_write() {
    each_server_with(&examples(), |server| {
        for (before, call) in [
            ("RPUSH {p}a x", "INVENTORY.RESERVE {p}a {p}b 1"),
            ("RPUSH {p}b x", "INVENTORY.RESERVE {p}a {p}b 1"),
            ("SET {p}b x", "PUSH.IFEXISTS {p}a {p}b v"),
            ("RPUSH {p}b x", "SUM.KEYS 2 {p}a {p}b"),
            ("SET {p}b x", "TOP.INCR {p}scores {p}b 1"),
            ("SADD {p}b x", "TOP.INCR {p}b {p}c 1"),
        ] {
            server.run("FLUSHALL");
            server.run(before);
            server.run("SET {p}a 5 NX");
            server.run("ZADD {p}scores 1 m");
            let mut replica = FakeReplica::attach(server);
            let reply = server.run(call);
            assert!(reply.error().starts_with("WRONGTYPE "), "{before}, {call}: {reply}");
            replica.expect_stream(&[]);
        }
    });
}

/// With any bytes in an argument the reply is well formed, and an error changes nothing.
#[test]
fn hostile_arguments_are_refused_or_used_unchanged() {
    let bytes: &[&[u8]] =
        &[b"", b"\0", b"\xff\xfe", b"\r\n-ERR x\r\n", b"-1", b"01", b"9223372036854775808", b"nan", b"%s", "\u{4e00}".as_bytes()];
    each_server_with(&examples(), |server| {
        let mut connection = server.connect();
        for call in ["INVENTORY.RESERVE {p}a {p}b 1", "PUSH.IFEXISTS {p}a {p}b v", "SUM.KEYS 1 {p}a", "TOP.INCR {p}z {p}h 1 1"] {
            let words = argv(call);
            for at in 1..words.len() {
                for hostile in bytes {
                    let mut words = words.clone();
                    words[at] = hostile.to_vec();
                    let before = state(server);
                    if let Value::Error(text) = connection.call(&words) {
                        assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)), "{text:?}");
                        assert!(text.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
                        assert_eq!(state(server), before, "{words:?}: {text}");
                    }
                }
            }
        }
        assert_eq!(connection.run("PING"), Value::Status("PONG".to_owned()));
    });
}

fn state(server: &Server) -> (Value, String) {
    (server.run("DEBUG DIGEST"), server.info("rdb_changes_since_last_save"))
}

#[test]
fn replicas_without_the_module_hold_the_same_data() {
    each_server_with(&examples(), |server| {
        let replica = RealReplica::without_module(server);
        server.run("MSET {p}stock 100 {p}open 1");
        server.run("ZADD {p}scores 1 a 2 b 3 c");
        for round in 0..20 {
            server.run(&format!("INVENTORY.RESERVE {{p}}stock {{p}}orders {}", round % 9));
            server.run(&format!("PUSH.IFEXISTS {{p}}open {{p}}list {round}"));
            server.run(&format!("TOP.INCR {{p}}scores {{p}}n {} {round}", round % 4));
        }
        replica.expect_same_data();
        assert_eq!(server.run("LLEN {p}list"), Value::Integer(20));
    });
}

/// The example command on the documentation page, and the error that the page shows.
#[test]
fn the_example_of_the_page_works() {
    let page = std::fs::read_to_string(crate::support::installed::root().join("docs/commands/scripted.md")).unwrap();
    let code = page.split("```lua\n").nth(1).and_then(|rest| rest.split("```").next()).expect("no Lua on the page");
    let directory = Directory::new(&[("greeting.lua", code)]);
    each_installed(|binary| {
        let server = Server::start(binary, &directory.setup());
        server.run("SET k Ann");
        assert_eq!(server.run("GREET k Hello"), Value::bulk("Hello, Ann"));
        assert_eq!(server.run("GREET none Hello"), Value::bulk("Hello, stranger"));
    });
    let directory = Directory::new(&[("greeting.lua", &code.replace("arity = 3", "arity = '3'"))]);
    each_installed(|binary| {
        let log = Server::try_start(binary, &directory.setup()).err().expect("the server started");
        let said = log.lines().find_map(|line| line.split_once("<atomic> ").filter(|(_, text)| text.starts_with("not loaded")));
        assert!(page.contains(&format!("\n{}\n", said.expect("no refusal").1)), "{log}");
    });
}
