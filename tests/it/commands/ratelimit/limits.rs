//! ATOMIC.RATELIMIT, ATOMIC.RATELIMIT_RO and ATOMIC.MRATELIMIT on real servers: grammar, every option, replies in both protocols, and
//! the exact replicated stream.

use crate::support::{FakeReplica, RealReplica, Server, Value, each_server, eventually};

const DAY: &str = "86400000";

/// Runs a command and reads its integers.
#[track_caller]
fn ask(server: &Server, command: &str) -> Vec<i64> {
    let reply = server.run(command);
    let Value::Array(items) = &reply else { panic!("{command}: {reply}") };
    items.iter().map(Value::integer).collect()
}

/// Asserts on granted, limit, remaining and index, and on the sign of the wait.
#[track_caller]
fn check(server: &Server, command: &str, [granted, limit, remaining, retry, index]: [i64; 5]) {
    let found = ask(server, command);
    assert_eq!(
        [found[0], found[1], found[2], found[3].signum(), found[5]],
        [granted, limit, remaining, retry, index],
        "{command}: {found:?}"
    );
}

#[track_caller]
fn text(server: &Server, command: &str) -> String {
    server.run(command).error().to_owned()
}

#[test]
fn every_malformed_request_says_what_is_wrong() {
    each_server(|server| {
        let nine = "FIXED 1 1 ".repeat(9);
        let long = format!("FIXED 1 1 AS {}", "n".repeat(65));
        let both = ["ATOMIC.RATELIMIT k", "ATOMIC.RATELIMIT_RO k", "ATOMIC.MRATELIMIT 1 k"];
        for (policy, error) in [
            ("BUCKET 0 1 1", "ERR capacity must be an integer in 1..=1000000000000"),
            ("BUCKET 1 1000000000001 1", "ERR refill must be an integer in 1..=1000000000000"),
            ("BUCKET 1 1 31536000001", "ERR period-ms must be an integer in 1..=31536000000"),
            ("FIXED -1 1", "ERR limit must be an integer in 1..=1000000000000"),
            ("SLIDING 1 0", "ERR window-ms must be an integer in 1..=31536000000"),
            ("LOG 10001 1", "ERR limit must be an integer in 1..=10000"),
            ("LEAKY 1 1", "ERR syntax error near 'LEAKY'"),
            ("COST 1 FIXED 1 1", "ERR syntax error near 'COST'"),
            ("FIXED 1 1 AS ''", "ERR name must be 1 to 64 bytes"),
            (long.as_str(), "ERR name must be 1 to 64 bytes"),
            ("LOG 1 1 ALIGN", "ERR syntax error near 'ALIGN'"),
            ("FIXED 1 1 AS a ALIGN", "ERR syntax error near 'ALIGN'"),
            ("FIXED 1 1 AS a AS b", "ERR syntax error near 'AS'"),
            ("FIXED 1 1 FULL FULL", "ERR syntax error near 'FULL'"),
            ("FIXED 1 1 FULL FIXED 1 1", "ERR syntax error near 'FIXED'"),
            ("FIXED 1 1 COST 1 COST 1", "ERR syntax error near 'COST'"),
            ("FIXED 1 1 COST x", "ERR COST must be an integer in "),
            (nine.as_str(), "ERR syntax error near 'FIXED'"),
        ] {
            for command in both {
                let found = text(server, &format!("{command} {policy}"));
                assert!(found.starts_with(error), "{command} {policy}: {found}");
            }
        }
        for (command, error) in [
            ("ATOMIC.RATELIMIT k FIXED 1 1 COST 0", "ERR COST must be an integer in 1..=1000000000000"),
            ("ATOMIC.RATELIMIT_RO k FIXED 1 1 COST -1", "ERR COST must be an integer in 0..=1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 UPTO 0", "ERR UPTO must be an integer in 1..=1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 FORCE 0", "ERR FORCE must be an integer in 1..=1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 REFUND 0", "ERR REFUND must be an integer in 1..=1000000000000"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 COST 1 RESET", "ERR syntax error near 'RESET'"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 RESET UPTO 1", "ERR syntax error near 'UPTO'"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 FORCE 1 REFUND 1", "ERR syntax error near 'REFUND'"),
            ("ATOMIC.RATELIMIT_RO k FIXED 1 1 UPTO 1", "ERR syntax error near 'UPTO'"),
            ("ATOMIC.RATELIMIT_RO k FIXED 1 1 RESET", "ERR syntax error near 'RESET'"),
            ("ATOMIC.MRATELIMIT 1 k FIXED 1 1 FORCE 1", "ERR syntax error near 'FORCE'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 FULL", "ERR syntax error near 'FULL'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 FIXED 1 1 FIXED 1 1", "ERR syntax error near 'FIXED'"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1", "ERR wrong number of arguments for 'ATOMIC.MRATELIMIT' command"),
            ("ATOMIC.MRATELIMIT 2 a a FIXED 1 1 FIXED 1 1", "ERR key must not be given twice"),
            ("ATOMIC.MRATELIMIT 2 a b FIXED 1 1 AS n FIXED 1 1 AS n", "ERR name must not be given twice"),
            ("ATOMIC.MRATELIMIT 0 a FIXED 1 1", "ERR numkeys must be an integer in 1..=128"),
            ("ATOMIC.RATELIMIT k BUCKET 1 1", "ERR syntax error near 'BUCKET'"),
            ("ATOMIC.RATELIMIT k FIXED 1 1 UPTO", "ERR syntax error near 'UPTO'"),
        ] {
            assert!(text(server, command).eq_ignore_ascii_case(error), "{command}: {}", text(server, command));
        }
        assert_eq!(server.run("DBSIZE"), Value::Integer(0));
    });
}

#[test]
fn every_policy_limits_and_says_when_to_come_back() {
    each_server(|server| {
        for policy in
            ["BUCKET 3 1 86400000", "FIXED 3 86400000", "fixed 3 86400000 align", "SLIDING 3 86400000", "LOG 3 86400000"]
        {
            server.run("FLUSHALL");
            let limited = |rest: &str| format!("ATOMIC.RATELIMIT k {policy} {rest}");
            check(server, &limited("COST 2"), [2, 3, 1, 0, 0]);
            check(server, &limited("COST 2"), [0, 3, 1, 1, 0]);
            check(server, &limited("COST 4"), [0, 3, 1, -1, 0]);
            check(server, &limited(""), [1, 3, 0, 0, 0]);
            check(server, &limited(""), [0, 3, 0, 1, 0]);
            let until = server.run("PTTL k").integer();
            let reset = ask(server, &limited(""))[4];
            assert!((reset - until).abs() < 2000, "{policy}: the key lives {until}, all is back in {reset}");
            check(server, &limited("FORCE 3"), [3, 3, -3, 0, 0]);
            check(server, &limited("FORCE 1"), [0, 3, -3, 1, 0]);
            check(server, &limited("REFUND 4"), [4, 3, 1, 0, 0]);
            check(server, &limited("UPTO 9"), [1, 3, 0, 0, 0]);
            check(server, &limited("UPTO 9"), [0, 3, 0, 1, 0]);
            assert!(server.run("PTTL k").integer() > 0, "{policy}: a key without a TTL");
            check(server, &limited("RESET"), [0, 3, 3, 0, 0]);
            assert_eq!(server.run("EXISTS k"), Value::Integer(0));
            check(server, &limited("REFUND 1"), [0, 3, 3, 0, 0]);
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{policy}: a refund created a key");
            check(server, &limited("COST 1"), [1, 3, 2, 0, 0]);
            // More than a bucket can refill meanwhile.
            check(server, &limited("REFUND 3"), [1, 3, 3, 0, 0]);
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{policy}: full again and still there");
        }
    });
}

#[test]
fn who_waits_as_told_is_granted() {
    each_server(|server| {
        for policy in ["BUCKET 2 2 100", "FIXED 2 100", "FIXED 2 100 ALIGN", "SLIDING 2 100", "LOG 2 100"] {
            let limited = format!("ATOMIC.RATELIMIT {{w}}{} {policy} COST 2", policy.len());
            eventually("a denial", || (ask(server, &limited)[0] == 0).then_some(()));
            eventually("a grant", || (ask(server, &limited)[0] == 2).then_some(()));
        }
    });
}

#[test]
fn an_aligned_window_ends_with_its_multiple() {
    each_server(|server| {
        let now = server.run("TIME").array()[0].text().parse::<i64>().unwrap() * 1000;
        let reset = ask(server, &format!("ATOMIC.RATELIMIT k FIXED 3 {DAY} ALIGN"))[4];
        assert!(reset <= 86_400_000 - now % 86_400_000 + 1000, "an aligned day ends in {reset}");
        let whole = ask(server, &format!("ATOMIC.RATELIMIT l FIXED 3 {DAY}"))[4];
        assert!(whole >= 86_400_000, "a day from the first hit on ends in {whole}");
    });
}

#[test]
fn several_policies_pass_together_and_are_known_by_name() {
    each_server(|server| {
        let both = format!("ATOMIC.RATELIMIT k FIXED 5 {DAY} AS burst LOG 3 {DAY} AS day");
        check(server, &format!("{both} COST 2"), [2, 3, 1, 0, 1]);
        check(server, &format!("{both} COST 2"), [0, 3, 1, 1, 1]);
        check(server, &format!("{both} COST 4"), [0, 3, 1, -1, 1]);
        let swapped = format!("ATOMIC.RATELIMIT_RO k LOG 3 {DAY} AS day FIXED 5 {DAY} AS burst");
        check(server, &format!("{swapped} COST 0"), [0, 3, 1, 0, 0]);
        check(server, &format!("ATOMIC.RATELIMIT_RO k FIXED 5 {DAY} AS other COST 0"), [0, 5, 5, 0, 0]);
        check(server, &format!("ATOMIC.RATELIMIT_RO k FIXED 5 {DAY} COST 0"), [0, 5, 3, 0, 0]);
        let name = "n".repeat(64);
        check(server, &format!("ATOMIC.RATELIMIT j FIXED 5 {DAY} AS {name}"), [1, 5, 4, 0, 0]);
        let eight = format!("LOG 5 {DAY} ").repeat(8);
        check(server, &format!("ATOMIC.RATELIMIT i {eight}"), [1, 5, 4, 0, 0]);
    });
}

#[test]
fn the_read_only_form_answers_the_same_and_charges_nothing() {
    each_server(|server| {
        let limit = format!("SLIDING 5 {DAY}");
        server.run(&format!("ATOMIC.RATELIMIT k {limit} COST 2"));
        let mut replica = FakeReplica::attach(server);
        let before = server.run("DUMP k");
        check(server, &format!("ATOMIC.RATELIMIT_RO k {limit}"), [1, 5, 2, 0, 0]);
        check(server, &format!("ATOMIC.RATELIMIT_RO k {limit} COST 0"), [0, 5, 3, 0, 0]);
        check(server, &format!("ATOMIC.RATELIMIT_RO k {limit} COST 4"), [0, 5, 3, 1, 0]);
        check(server, &format!("ATOMIC.RATELIMIT_RO nokey {limit} COST 6"), [0, 5, 5, -1, 0]);
        assert_eq!(server.run("DUMP k"), before);
        replica.expect_stream(&[]);
    });
}

#[test]
fn full_names_every_policy_in_both_protocols() {
    each_server(|server| {
        let command = "ATOMIC.RATELIMIT k BUCKET 10 5 1000 FIXED 3 60000 ALIGN AS minute COST 2 FULL";
        let expect = |reply: &Value, granted: i64, left: [i64; 2]| {
            assert_eq!(reply.field("granted"), Some(Value::Integer(granted)));
            let policies = reply.field("policies").unwrap();
            for (policy, (name, limit, remaining, window)) in
                policies.array().iter().zip([("bucket:0", 10, left[0], 2000), ("minute", 3, left[1], 60_000)])
            {
                let names: Vec<String> = policy.pairs().into_iter().map(|(name, _)| name).collect();
                assert_eq!(names, ["name", "limit", "remaining", "retry-after-ms", "reset-after-ms", "window-ms"]);
                assert_eq!(policy.field("name"), Some(Value::bulk(name)));
                assert_eq!(policy.field("limit"), Some(Value::Integer(limit)));
                assert_eq!(policy.field("remaining"), Some(Value::Integer(remaining)));
                assert_eq!(policy.field("window-ms"), Some(Value::Integer(window)));
                assert!(policy.field("reset-after-ms").unwrap().integer() > 0);
            }
            assert_eq!(policies.array().len(), 2);
        };
        let reply = server.run(command);
        assert!(matches!(reply, Value::Array(_)), "RESP2: {reply}");
        expect(&reply, 2, [8, 1]);
        let reply = server.connect().resp3().run(command);
        assert!(matches!(reply, Value::Map(_)), "RESP3: {reply}");
        let policies = reply.field("policies").unwrap();
        assert!(matches!(policies.array()[0], Value::Map(_)), "RESP3: {reply}");
        assert_eq!(policies.array()[0].field("retry-after-ms"), Some(Value::Integer(0)));
        assert!(policies.array()[1].field("retry-after-ms").unwrap().integer() > 0);
        assert_eq!(reply.field("granted"), Some(Value::Integer(0)));
        let reply = server.connect().resp3().run("ATOMIC.MRATELIMIT 2 a b FIXED 1 9000 LOG 2 9000 FULL");
        assert_eq!(reply.field("policies").unwrap().array()[1].field("name"), Some(Value::bulk("log:1")));
    });
}

#[test]
fn several_limiters_are_charged_all_or_none() {
    each_server(|server| {
        let both = format!("ATOMIC.MRATELIMIT 2 {{u}}user {{u}}org FIXED 5 {DAY} LOG 3 {DAY}");
        let mut replica = FakeReplica::attach(server);
        check(server, &format!("{both} COST 2"), [2, 3, 1, 0, 1]);
        replica.expect_stream(&["MULTI", "SET {u}user <state> PXAT <t>", "SET {u}org <state> PXAT <t>", "EXEC"]);
        check(server, &format!("{both} COST 2"), [0, 3, 1, 1, 1]);
        replica.expect_stream(&[]);
        check(server, &format!("ATOMIC.RATELIMIT_RO {{u}}user FIXED 5 {DAY} COST 0"), [0, 5, 3, 0, 0]);
        // A foreign value at the last key: the first one is not charged.
        server.run("SET {u}other value");
        let foreign = format!("ATOMIC.MRATELIMIT 2 {{u}}user {{u}}other FIXED 5 {DAY} FIXED 5 {DAY}");
        assert_eq!(text(server, &foreign), "WRONGTYPE key does not hold a rate limit (format a1)");
        check(server, &format!("ATOMIC.RATELIMIT_RO {{u}}user FIXED 5 {DAY} COST 0"), [0, 5, 3, 0, 0]);
        assert_eq!(server.run("GET {u}other"), Value::bulk("value"));
    });
}

#[test]
fn what_replicates_is_the_effect_and_nothing_else() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        let limit = format!("ATOMIC.RATELIMIT k FIXED 5 {DAY} AS a BUCKET 5 1 {DAY} AS b");
        server.run(&format!("{limit} COST 3"));
        replica.expect_stream(&["SET k <state> PXAT <t>"]);
        server.run(&format!("{limit} COST 3"));
        server.run(&format!("{limit} COST 9"));
        replica.expect_stream(&[]);
        server.run(&format!("{limit} UPTO 9"));
        server.run(&format!("{limit} FORCE 2"));
        server.run(&format!("{limit} REFUND 1"));
        replica.expect_stream(&["SET k <state> PXAT <t>"; 3]);
        server.run(&format!("{limit} RESET"));
        replica.expect_stream(&["DEL k"]);
        server.run(&format!("{limit} RESET"));
        server.run(&format!("{limit} REFUND 1"));
        replica.expect_stream(&[]);
        server.run(&format!("{limit} COST 2"));
        server.run(&format!("{limit} REFUND 5"));
        replica.expect_stream(&["SET k <state> PXAT <t>", "DEL k"]);
    });
}

#[test]
fn a_hit_in_a_long_log_replicates_the_change_and_not_the_log() {
    each_server(|server| {
        let limit = format!("ATOMIC.RATELIMIT k LOG 40 {DAY}");
        (0..9).for_each(|_| drop(ask(server, &limit)));
        // Hits at the same microsecond share an entry, so the length says how many there are.
        eventually("a log that is no longer written whole", || {
            ask(server, &limit);
            ask(server, &format!("{limit} REFUND 1"));
            ask(server, &limit);
            (server.run("STRLEN k").integer() >= 15 + 90).then_some(())
        });
        let mut replica = FakeReplica::attach(server);
        let length = server.run("STRLEN k").integer();
        eventually("a hit in a slot of its own", || {
            ask(server, &limit);
            let stream = replica.commands();
            let shown: Vec<(Vec<u8>, Vec<u8>, usize)> = stream
                .iter()
                .map(|command| (command[0].clone(), command.get(2).cloned().unwrap_or_default(), command.last().unwrap().len()))
                .collect();
            let header = (b"SETRANGE".to_vec(), b"1".to_vec(), 14);
            let slot = (b"SETRANGE".to_vec(), length.to_string().into_bytes(), 10);
            assert!(shown.contains(&header), "{shown:?}");
            assert_eq!(stream[stream.len() - 2][0], b"PEXPIREAT");
            shown.contains(&slot).then(|| assert_eq!(stream.len(), 5, "{shown:?}"))
        });
        ask(server, &format!("{limit} COST 40"));
        replica.expect_stream(&[]);
    });
}

#[test]
fn a_replica_without_the_module_holds_the_same() {
    each_server(|server| {
        let replica = RealReplica::without_module(server);
        for (key, policy) in [
            ("{r}a", "BUCKET 30 20 1000"),
            ("{r}b", "FIXED 30 60000 ALIGN AS x SLIDING 25 50000"),
            ("{r}c", "LOG 25 60000 AS day LOG 20 50 AS burst"),
            ("{r}d", "LOG 12 60000"),
        ] {
            for round in 0..120 {
                let asked = ["COST 1", "COST 2", "REFUND 1", "FORCE 2", "UPTO 3"][round % 5];
                ask(server, &format!("ATOMIC.RATELIMIT {key} {policy} {asked}"));
            }
        }
        ask(server, "ATOMIC.MRATELIMIT 2 {r}d {r}e LOG 12 60000 LOG 12 60000 COST 1");
        replica.expect_same_data();
    });
}

#[test]
fn foreign_values_are_refused_and_kept() {
    each_server(|server| {
        server.run("SET s hello");
        server.run("RPUSH l x");
        for command in ["ATOMIC.RATELIMIT", "ATOMIC.RATELIMIT_RO"] {
            assert_eq!(text(server, &format!("{command} s LOG 5 1000")), "WRONGTYPE key does not hold a rate limit (format a1)");
            let list = text(server, &format!("{command} l LOG 5 1000"));
            assert_eq!(list, "WRONGTYPE Operation against a key holding the wrong kind of value");
        }
        for action in ["RESET", "REFUND 1", "FORCE 1", "UPTO 1"] {
            assert!(text(server, &format!("ATOMIC.RATELIMIT s FIXED 5 1000 {action}")).starts_with("WRONGTYPE "));
        }
        assert_eq!(server.run("GET s"), Value::bulk("hello"));
    });
}

#[test]
fn a_transaction_sees_one_time_and_a_denial_does_not_wake_watch() {
    each_server(|server| {
        let limit = format!("ATOMIC.RATELIMIT k LOG 3 {DAY}");
        let mut client = server.connect();
        client.run("MULTI");
        (0..4).for_each(|_| drop(client.run(&limit)));
        let granted: Vec<i64> = client.run("EXEC").array().iter().map(|reply| reply.array()[0].integer()).collect();
        assert_eq!(granted, [1, 1, 1, 0]);
        client.run("WATCH k");
        assert_eq!(ask(server, &limit)[0], 0);
        client.run("MULTI");
        client.run("PING");
        assert_eq!(client.run("EXEC").array().len(), 1, "a denial touched the key");
    });
}
