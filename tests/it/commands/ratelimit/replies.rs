//! Replies: units, limits and waits of every policy and option, in both protocols, on primary and replica.

use super::{COMMANDS, MAX, Reply, YEAR, ask, check, denied, granted, impossible};
use crate::commands::{changes_nothing, deadline, timed};
use crate::support::{FakeReplica, RealReplica, Value, each_server};

#[test]
fn every_argument_counts_and_keywords_are_case_insensitive() {
    // The first request on a fresh limiter, and the exact time after which the limiter is full.
    let table = [
        ("BUCKET 10 5 1000", granted(1, 10, 9), 200),
        ("bucket 10 5 1000", granted(1, 10, 9), 200),
        ("BUCKET 20 5 1000", granted(1, 20, 19), 200),
        ("BUCKET 10 4 1000", granted(1, 10, 9), 250),
        ("BUCKET 10 3 1000", granted(1, 10, 9), 334),
        ("BUCKET 10 5 2000", granted(1, 10, 9), 400),
        ("BUCKET 10 5 1000 COST 3", granted(3, 10, 7), 600),
        ("Bucket 10 5 1000 cOsT 10", granted(10, 10, 0), 2000),
        ("BUCKET 10 5 1000 COST 11", impossible(10, 10), 0),
        ("BUCKET 1 1 31536000000", granted(1, 1, 0), YEAR),
        ("BUCKET 1000000000000 1000000000000 31536000000 COST 1000000000000", granted(MAX, MAX, 0), YEAR),
        ("BUCKET 6000 6000 1000 COST 6000", granted(6000, 6000, 0), 1000),
        ("BUCKET 1 1000000000000 1", granted(1, 1, 0), 1),
        ("FIXED 10 1000", granted(1, 10, 9), 1000),
        ("fixed 20 1000", granted(1, 20, 19), 1000),
        ("FIXED 10 31536000000", granted(1, 10, 9), YEAR),
        ("FIXED 10 1000 COST 4", granted(4, 10, 6), 1000),
        ("Fixed 1000000000000 60000 Cost 1000000000000", granted(MAX, MAX, 0), 60_000),
        ("FIXED 10 1000 COST 11", impossible(10, 10), 0),
    ];
    each_server(|server| {
        for name in COMMANDS {
            let connections = &mut [server.connect(), server.connect().resp3()];
            for (arguments, outcome, reset) in table {
                for connection in connections.iter_mut() {
                    connection.run("FLUSHALL");
                    let reply = Reply::read(&connection.run(&format!("{name} k {arguments}")));
                    assert_eq!((reply.outcome, reply.reset), (outcome, reset), "{name} {arguments}");
                }
            }
        }
    });
}

#[test]
fn units_run_out_and_a_denial_changes_nothing() {
    each_server(|server| {
        for policy in ["BUCKET 10 1 31536000000", "FIXED 10 31536000000"] {
            server.run("FLUSHALL");
            let request = |cost: i64| format!("ATOMIC.RATELIMIT k {policy} COST {cost}");
            let refused = |cost: i64| Reply::read(&changes_nothing(server, &request(cost)));
            check(server, &request(4), granted(4, 10, 6));
            let early = refused(7);
            assert_eq!(early.outcome, denied(10, 6));
            assert!(early.retry > YEAR - 60_000, "{early:?}");
            check(server, &request(6), granted(6, 10, 0));
            assert_eq!(refused(1).outcome, denied(10, 0));
            assert_eq!(refused(11).outcome, impossible(10, 0));
            assert_eq!(refused(1_000_000_000_000).outcome, impossible(10, 0));
        }
    });
}

#[test]
fn every_policy_limits_and_returns_when_to_retry() {
    each_server(|server| {
        for policy in
            ["BUCKET 3 1 86400000", "FIXED 3 86400000", "fixed 3 86400000 align", "SLIDING 3 86400000", "LOG 3 86400000"]
        {
            server.run("FLUSHALL");
            let limited = |rest: &str| format!("ATOMIC.RATELIMIT k {policy} {rest}");
            check(server, &limited("COST 2"), granted(2, 3, 1));
            check(server, &limited("COST 2"), denied(3, 1));
            check(server, &limited("COST 4"), impossible(3, 1));
            check(server, &limited(""), granted(1, 3, 0));
            check(server, &limited(""), denied(3, 0));
            let until = server.run("PTTL k").integer();
            let reset = ask(server, &limited("")).reset;
            assert!((reset - until).abs() < 2000, "{policy}: the key lives {until}, the limiter is full in {reset}");
            check(server, &limited("FORCE 3"), granted(3, 3, -3));
            check(server, &limited("FORCE 1"), denied(3, -3));
            check(server, &limited("REFUND 4"), granted(4, 3, 1));
            check(server, &limited("UPTO 9"), granted(1, 3, 0));
            check(server, &limited("UPTO 9"), denied(3, 0));
            assert!(server.run("PTTL k").integer() > 0, "{policy}: a key without a TTL");
            check(server, &limited("RESET"), granted(0, 3, 3));
            assert_eq!(server.run("EXISTS k"), Value::Integer(0));
            check(server, &limited("REFUND 1"), granted(0, 3, 3));
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{policy}: a refund created a key");
            check(server, &limited("COST 1"), granted(1, 3, 2));
            // More than a bucket can refill in between.
            check(server, &limited("REFUND 3"), granted(1, 3, 3));
            assert_eq!(server.run("EXISTS k"), Value::Integer(0), "{policy}: full again and still there");
        }
    });
}

#[test]
fn the_slowest_and_largest_bucket_has_a_ttl_and_limits() {
    each_server(|server| {
        let policy = "BUCKET 1000000000000 1 31536000000";
        let reply = ask(server, &format!("ATOMIC.RATELIMIT k {policy} COST 1000000000000"));
        assert_eq!(reply.outcome, granted(MAX, MAX, 0));
        assert!(reply.reset > 100_000 * YEAR, "{reply:?}");
        assert!(deadline(server, "k") > 100_000 * YEAR);
        let next = ask(server, &format!("ATOMIC.RATELIMIT k {policy}"));
        assert_eq!(next.outcome, denied(MAX, 0));
        assert!((YEAR - 60_000..=YEAR).contains(&next.retry), "{next:?}");
    });
}

#[test]
fn full_shows_every_policy_in_both_protocols() {
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
fn the_read_only_form_replies_the_same_and_changes_nothing() {
    each_server(|server| {
        let mut replica = FakeReplica::attach(server);
        for policy in ["BUCKET 10 1 31536000000", "FIXED 10 31536000000", "SLIDING 10 31536000000"] {
            server.run("FLUSHALL");
            let look = |rest: &str| Reply::read(&changes_nothing(server, &format!("ATOMIC.RATELIMIT_RO {rest}")));
            let charge = |cost: i64| ask(server, &format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
            for (cost, expected) in [(3, granted(3, 10, 7)), (7, granted(7, 10, 0))] {
                let estimated = look(&format!("k {policy} COST {cost}"));
                assert_eq!(estimated.outcome, expected, "{policy}");
                let charged = charge(cost);
                assert_eq!(charged.outcome, expected, "{policy}");
                assert!((estimated.reset - charged.reset).abs() < 60_000, "{policy}");
                // A cost of 0 shows what is left; a larger cost is denied.
                assert_eq!(look(&format!("k {policy} COST 0")).outcome, granted(0, 10, expected.remaining), "{policy}");
                assert_eq!(look(&format!("k {policy} COST 8")).outcome, denied(10, expected.remaining), "{policy}");
            }
            assert_eq!(look(&format!("k {policy}")).outcome, denied(10, 0), "{policy}");
            assert_eq!(look(&format!("k {policy} COST 11")).outcome, impossible(10, 0), "{policy}");
            assert_eq!(look(&format!("nokey {policy} COST 11")).outcome, impossible(10, 10), "{policy}");
            replica.expect_stream(&["FLUSHALL", "SET k <state> PXAT <t>", "SET k <state> PXAT <t>"]);
        }
    });
}

#[test]
fn the_read_only_form_works_on_a_replica() {
    each_server(|server| {
        server.run("ATOMIC.RATELIMIT bucket BUCKET 10 7 40000000 COST 8");
        server.run("ATOMIC.RATELIMIT fixed FIXED 10 60000000 COST 8");
        let replica = RealReplica::with_module(server);
        let mut connections = [server.connect(), replica.server.connect()];
        for request in ["bucket BUCKET 10 7 40000000 COST 4", "fixed FIXED 10 60000000 COST 4"] {
            let asked = connections.each_mut().map(|connection| timed(connection, &format!("ATOMIC.RATELIMIT_RO {request}")));
            let replies = asked.each_ref().map(|asked| Reply::read(&asked.reply));
            for wait in [replies.map(|reply| reply.retry), replies.map(|reply| reply.reset)] {
                let [mut primary, replica] = [0, 1].map(|side| asked[side].moment(wait[side]));
                primary.expect_same(replica);
            }
            assert_eq!(replies.map(|reply| reply.outcome), [denied(10, 2); 2], "{request}");
            let refused = replica.server.run(&format!("ATOMIC.RATELIMIT {request}"));
            assert!(refused.error().starts_with("READONLY "), "{refused}");
        }
        replica.expect_same_data();
    });
}
