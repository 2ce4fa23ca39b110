//! `ATOMIC.RATELIMIT` and `ATOMIC.RATELIMIT_RO`: grammar, replies, the promise of retry-after, state and TTL.

mod limits;

use std::thread;

use super::{
    Moment, OTHER_TYPES, WRONGTYPE, await_micros, changes_nothing, deadline, expect_range, expect_refused, integers, micros,
    pipelined, timed,
};
use crate::support::{Connection, RealReplica, Value, each_server, eventually};

const YEAR: i64 = 31_536_000_000;
const MAX: i64 = 1_000_000_000_000;
const FOREIGN: &str = "WRONGTYPE key does not hold a rate limit (format a1)";
const COMMANDS: [&str; 2] = ["ATOMIC.RATELIMIT", "ATOMIC.RATELIMIT_RO"];

/// What the places of a reply mean.
const REMAINING: usize = 2;
const RETRY: usize = 3;
const RESET: usize = 4;

#[test]
fn ratelimit_refuses_what_it_does_not_know_and_says_where() {
    let near = |what: &str| format!("ERR syntax error near '{what}'");
    each_server(|server| {
        server.run("ATOMIC.RATELIMIT k BUCKET 10 5 1000000");
        for name in COMMANDS {
            let arity = format!("ERR wrong number of arguments for '{}' command", name.to_lowercase());
            let table = [
                ("", &arity),
                (" k", &arity),
                (" k BUCKET 10 5", &near("BUCKET")),
                (" k FIXED 10", &arity),
                (" k FIXED 10 1000 COST", &near("COST")),
                (" k BUCKET 10 5 1000 cost", &near("cost")),
                (" k BUCKETS 10 5 1000", &near("BUCKETS")),
                (" k '' 10 5 1000", &near("")),
                (" k 10 5 1000", &near("10")),
                (" k COST 1 BUCKET 10 5 1000", &near("COST")),
                (" k BUCKET 10 5 1000 COST 1 COST 1", &near("COST")),
                (" k FIXED 10 1000 COST 1 cost 2", &near("cost")),
                (" k BUCKET 10 5 1000 1", &near("1")),
                (" k BUCKET 10 5 1000 COST 1 1", &near("1")),
                (r#" k "\xe4\xb8\x80\r\n\x00" 10 1000"#, &near(r"\xe4\xb8\x80\r\n\x00")),
            ];
            for (arguments, text) in table {
                expect_refused(server, &[(format!("{name}{arguments}"), text)]);
            }
        }
    });
}

#[test]
fn every_number_is_an_integer_in_its_range() {
    each_server(|server| {
        for name in COMMANDS {
            let check = |arguments: &str, argument: &str, range| {
                expect_range(server, "PING", &format!("{name} k {arguments}"), argument, range);
            };
            check("BUCKET % 5 1000", "capacity", (1, MAX));
            check("BUCKET 10 % 1000", "refill", (1, MAX));
            check("BUCKET 10 5 %", "period-ms", (1, YEAR));
            check("FIXED % 1000", "limit", (1, MAX));
            check("FIXED 10 %", "window-ms", (1, YEAR));
            let min = if name == "ATOMIC.RATELIMIT" { 1 } else { 0 };
            check("BUCKET 10 5 1000 COST %", "COST", (min, MAX));
            check("FIXED 10 1000 COST %", "COST", (min, MAX));
        }
    });
}

#[test]
fn every_argument_counts_and_keywords_have_no_case() {
    // The first request of a fresh bucket, whose reply is exact to the millisecond.
    let table = [
        ("BUCKET 10 5 1000", [1, 10, 9, 0, 200, 0]),
        ("bucket 10 5 1000", [1, 10, 9, 0, 200, 0]),
        ("BUCKET 20 5 1000", [1, 20, 19, 0, 200, 0]),
        ("BUCKET 10 4 1000", [1, 10, 9, 0, 250, 0]),
        ("BUCKET 10 3 1000", [1, 10, 9, 0, 334, 0]),
        ("BUCKET 10 5 2000", [1, 10, 9, 0, 400, 0]),
        ("BUCKET 10 5 1000 COST 3", [3, 10, 7, 0, 600, 0]),
        ("Bucket 10 5 1000 cOsT 10", [10, 10, 0, 0, 2000, 0]),
        ("BUCKET 10 5 1000 COST 11", [0, 10, 10, -1, 0, 0]),
        ("BUCKET 1 1 31536000000", [1, 1, 0, 0, YEAR, 0]),
        ("BUCKET 1000000000000 1000000000000 31536000000 COST 1000000000000", [MAX, MAX, 0, 0, YEAR, 0]),
        ("BUCKET 6000 6000 1000 COST 6000", [6000, 6000, 0, 0, 1000, 0]),
        ("BUCKET 1 1000000000000 1", [1, 1, 0, 0, 1, 0]),
    ];
    each_server(|server| {
        for name in COMMANDS {
            let mut resp3 = server.connect().resp3();
            for (arguments, expected) in table {
                server.run("FLUSHALL");
                assert_eq!(server.run(&format!("{name} k {arguments}")), Value::integers(&expected), "{name} {arguments}");
                server.run("FLUSHALL");
                assert_eq!(resp3.run(&format!("{name} k {arguments}")), Value::integers(&expected), "{name} {arguments}");
            }
            for (arguments, expected) in [
                ("FIXED 10 1000", [1, 10, 9, 0, 1000, 0]),
                ("fixed 20 1000", [1, 20, 19, 0, 1000, 0]),
                ("FIXED 10 31536000000", [1, 10, 9, 0, YEAR, 0]),
                ("FIXED 10 1000 COST 4", [4, 10, 6, 0, 1000, 0]),
                ("Fixed 1000000000000 60000 Cost 1000000000000", [MAX, MAX, 0, 0, 60_000, 0]),
            ] {
                server.run("FLUSHALL");
                assert_eq!(server.run(&format!("{name} k {arguments}")), Value::integers(&expected), "{name} {arguments}");
            }
            server.run("FLUSHALL");
            assert_eq!(server.run(&format!("{name} k FIXED 10 1000 COST 11")), Value::integers(&[0, 10, 10, -1, 0, 0]));
        }
    });
}

#[test]
fn units_run_out_and_a_denial_changes_nothing() {
    each_server(|server| {
        for policy in ["BUCKET 10 1 31536000000", "FIXED 10 31536000000"] {
            server.run("FLUSHALL");
            let ask = |cost: i64| integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy} COST {cost}")));
            let denied = |cost: i64| {
                let reply = changes_nothing(server, &format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
                integers(&reply)
            };
            assert_eq!(ask(4)[..4], [4, 10, 6, 0]);
            let refused = denied(7);
            assert_eq!(refused[..3], [0, 10, 6]);
            assert!(refused[RETRY] > YEAR - 60_000, "{refused:?}");
            assert_eq!(ask(6)[..4], [6, 10, 0, 0]);
            assert_eq!(denied(1)[..3], [0, 10, 0]);
            assert_eq!(denied(11)[..4], [0, 10, 0, -1]);
            assert_eq!(denied(1_000_000_000_000)[..4], [0, 10, 0, -1]);
        }
    });
}

#[test]
fn the_slowest_and_largest_bucket_has_a_ttl_and_goes_on() {
    each_server(|server| {
        let policy = "BUCKET 1000000000000 1 31536000000";
        let reply = integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy} COST 1000000000000")));
        assert_eq!(reply[..4], [MAX, MAX, 0, 0]);
        assert!(reply[RESET] > 100_000 * YEAR, "{reply:?}");
        assert!(deadline(server, "k") > 100_000 * YEAR);
        let denied = integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy}")));
        assert_eq!(denied[..3], [0, MAX, 0]);
        assert!((YEAR - 60_000..=YEAR).contains(&denied[RETRY]), "{denied:?}");
    });
}

/// Asks without charging until the limiter grants, and checks every answer on the way against what all the others say. Returns the
/// moment of the grant and how long before it the last denial was, in microseconds.
fn follow(connection: &mut Connection, ask: &str, mut due: Moment) -> i64 {
    let first = due;
    let mut last_denial = i64::MIN;
    loop {
        let asked = timed(connection, ask);
        let reply = asked.integers();
        if reply[0] > 0 {
            assert!(asked.after > due.after, "{ask}: granted at {} or before, which is before {due:?}", asked.after);
            return first.after.max(due.after) - last_denial;
        }
        assert!(asked.before < first.until, "{ask}: still denied at {}, first said {first:?}", asked.before);
        assert!(reply[RETRY] >= 1, "{ask}: denied, and to be retried after {}", reply[RETRY]);
        due.expect_same(asked.moment(reply[RETRY]));
        last_denial = asked.before;
    }
}

#[test]
fn who_waits_retry_after_is_granted_and_nobody_before() {
    each_server(|server| {
        let mut connection = server.connect();
        // In all but the first the grant comes when the key ends: the servers delete keys by a cycle of their own, some of them early.
        let policies =
            [("BUCKET 10 7 400", 10), ("BUCKET 1 1 61", 1), ("FIXED 10 61", 10), ("LOG 10 61", 10), ("SLIDING 1 31", 1)];
        for (policy, cost) in policies.into_iter().cycle().take(4 * policies.len()) {
            // Until the scheduler let us ask within 2 ms before the end.
            eventually("a denial was seen just before the grant", || {
                server.run("FLUSHALL");
                connection.run(&format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
                let denied = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy}"));
                let reply = denied.integers();
                if reply[0] > 0 {
                    return None; // The first unit was back before we asked.
                }
                assert_eq!(reply[..3], [0, cost, 0], "{policy}");
                let due = denied.moment(reply[RETRY]);
                let missed = follow(&mut connection, &format!("ATOMIC.RATELIMIT_RO k {policy}"), due);
                (missed <= 2000).then_some(())
            });
        }
    });
}

#[test]
fn who_sleeps_exactly_retry_after_is_granted_every_time() {
    each_server(|server| {
        let mut connection = server.connect();
        for (policy, cost) in [("BUCKET 3 9 100", 1), ("BUCKET 3 9 100", 3), ("FIXED 3 20", 2)] {
            server.run("FLUSHALL");
            let ask = format!("ATOMIC.RATELIMIT k {policy} COST {cost}");
            let mut waits = 0;
            while waits < 8 {
                let asked = timed(&mut connection, &ask);
                let reply = asked.integers();
                if reply[0] == 0 {
                    await_micros(&mut connection, asked.after + reply[RETRY] * 1000);
                    assert_eq!(integers(&connection.run(&ask))[0], cost, "{ask}: denied after waiting {} ms", reply[RETRY]);
                    waits += 1;
                }
            }
        }
    });
}

#[test]
fn the_key_is_small_and_lives_until_the_limiter_is_full() {
    each_server(|server| {
        let mut connection = server.connect();
        for (policy, bytes) in [("BUCKET 10 7 400000", 25), ("FIXED 10 60001", 15), ("BUCKET 10 1 31536000000", 25)] {
            server.run("FLUSHALL");
            for cost in [1, 3, 6] {
                let asked = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
                let mut full = asked.moment(asked.integers()[RESET]);
                // A server may delete the key as soon as the millisecond begins that its TTL names.
                let ends = deadline(server, "k") * 1000;
                full.expect_same(Moment { after: ends - 1000, until: ends });
                assert_eq!(server.run("STRLEN k"), Value::Integer(bytes), "{policy}");
                assert_eq!(server.run("TYPE k"), Value::Status("string".to_owned()));
            }
        }
    });
}

#[test]
fn an_idle_limiter_leaves_nothing_behind() {
    each_server(|server| {
        for policy in ["BUCKET 2 1 20", "FIXED 2 20"] {
            let ask = format!("ATOMIC.RATELIMIT k {policy} COST 2");
            assert_eq!(integers(&server.run(&ask))[0], 2);
            eventually("the key is gone", || (server.run("DBSIZE") == Value::Integer(0)).then_some(()));
            assert_eq!(integers(&server.run(&ask))[..4], [2, 2, 0, 0], "{policy} is not full when its key is gone");
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn del_resets_a_limiter_and_limiters_do_not_share() {
    each_server(|server| {
        for policy in ["BUCKET 2 1 31536000000", "FIXED 2 31536000000"] {
            for key in [r#""\x00""#, r#""\r\n""#, r#""\xe4\xb8\x80""#, "''", "k"] {
                let ask = format!("ATOMIC.RATELIMIT {key} {policy} COST 2");
                assert_eq!(integers(&server.run(&ask))[0], 2, "{ask}");
                assert_eq!(integers(&server.run(&ask))[0], 0, "{ask}");
                assert_eq!(server.run(&format!("DEL {key}")), Value::Integer(1));
                assert_eq!(integers(&server.run(&ask))[0], 2, "{ask}");
            }
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn the_read_only_form_answers_the_same_and_changes_nothing() {
    each_server(|server| {
        for policy in ["BUCKET 10 1 31536000000", "FIXED 10 31536000000"] {
            server.run("FLUSHALL");
            for (cost, expected) in [(3, [3, 10, 7, 0]), (7, [7, 10, 0, 0])] {
                let estimated = changes_nothing(server, &format!("ATOMIC.RATELIMIT_RO k {policy} COST {cost}"));
                assert_eq!(integers(&estimated)[..4], expected);
                let charged = integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy} COST {cost}")));
                assert_eq!(charged[..4], expected);
                assert!((integers(&estimated)[RESET] - charged[RESET]).abs() < 60_000);
            }
            let nothing = integers(&changes_nothing(server, &format!("ATOMIC.RATELIMIT_RO k {policy} COST 0")));
            assert_eq!(nothing[..4], [0, 10, 0, 0], "a cost of 0 always passes");
            let denied = integers(&changes_nothing(server, &format!("ATOMIC.RATELIMIT_RO k {policy}")));
            assert_eq!(denied[..3], [0, 10, 0]);
            assert!(denied[RETRY] > 0);
            assert_eq!(integers(&server.run(&format!("ATOMIC.RATELIMIT_RO k {policy} COST 11")))[RETRY], -1);
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
        for ask in ["bucket BUCKET 10 7 40000000 COST 4", "fixed FIXED 10 60000000 COST 4"] {
            let asked = connections.each_mut().map(|connection| timed(connection, &format!("ATOMIC.RATELIMIT_RO {ask}")));
            for place in [RETRY, RESET] {
                let moments = asked.each_ref().map(|asked| asked.moment(asked.integers()[place]));
                let [mut primary, replica] = moments;
                primary.expect_same(replica);
            }
            asked.iter().for_each(|asked| assert_eq!(asked.integers()[..3], [0, 10, 2], "{ask}"));
            let refused = replica.server.run(&format!("ATOMIC.RATELIMIT {ask}"));
            assert!(refused.error().starts_with("READONLY "), "{refused}");
        }
        replica.expect_same_data();
    });
}

#[test]
fn a_burst_of_many_clients_gets_exactly_the_capacity() {
    each_server(|server| {
        for policy in ["BUCKET 1000 1 31536000000", "FIXED 1000 31536000000"] {
            let ask = format!("ATOMIC.RATELIMIT k {policy}");
            let granted = |replies: Vec<Value>| replies.iter().filter(|reply| integers(reply)[0] == 1).count();
            let granted: Vec<usize> = thread::scope(|scope| {
                let clients: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| granted(pipelined(&mut server.connect(), &ask, 500)))).collect();
                clients.into_iter().map(|client| client.join().unwrap()).collect()
            });
            assert_eq!(granted.iter().sum::<usize>(), 1000, "{policy}: {granted:?}");
            server.run("DEL k");
            let replies = pipelined(&mut server.connect(), &ask, 1001);
            let remaining: Vec<i64> = replies.iter().map(|reply| integers(reply)[REMAINING]).collect();
            assert_eq!(remaining, (0..1000).rev().chain([0]).collect::<Vec<i64>>());
            server.run("DEL k");
        }
    });
}

#[test]
fn a_saturated_bucket_grants_its_capacity_and_its_rate() {
    each_server(|server| {
        let mut connection = server.connect();
        // All take a second to fill, so that a slow client never finds one full.
        for (capacity, policy) in [(1000, "1000 1000 1000"), (1000, "1000 1 1"), (10_000, "10000 1000000 100000")] {
            let per_second = capacity;
            server.run("FLUSHALL");
            let ask = format!("ATOMIC.RATELIMIT k BUCKET {policy}");
            let first = timed(&mut connection, &format!("{ask} COST {capacity}"));
            let mut granted = first.integers()[0];
            let (mut before, mut after) = (0, 0);
            // Until 200 ms have passed and a pipeline found it dry: then what was granted is known within one unit per bound.
            while after < first.before + 200_000 {
                let mut denied = 0;
                while denied == 0 {
                    before = micros(&mut connection);
                    let grants = pipelined(&mut connection, &ask, 100).iter().filter(|reply| integers(reply)[0] == 1).count();
                    granted += i64::try_from(grants).unwrap();
                    denied = 100 - grants;
                    after = micros(&mut connection);
                }
            }
            let most = capacity + (after - first.before) * per_second / 1_000_000 + 1;
            let least = capacity + (before - first.after) * per_second / 1_000_000 - 1;
            assert!((least..=most).contains(&granted), "{policy}: {granted} units, and not {least}..={most}");
        }
    });
}

#[test]
fn changed_numbers_keep_what_was_used_and_another_kind_starts_full() {
    each_server(|server| {
        let remaining = |policy: &str| integers(&server.run(&format!("ATOMIC.RATELIMIT_RO k {policy} COST 0")))[REMAINING];
        server.run("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000 COST 6");
        assert_eq!(remaining("BUCKET 10 1 31536000000"), 4);
        assert_eq!(remaining("BUCKET 100 1 31536000000"), 94);
        assert_eq!(remaining("BUCKET 100 1 15768000000"), 94);
        // What a larger bucket left is clamped, for the first millisecond up to what refills in one too high.
        assert!((-1..=0).contains(&remaining("BUCKET 5 1 31536000000")));
        assert_eq!(remaining("FIXED 10 1000"), 10);
        // Another kind takes the key over.
        assert_eq!(integers(&server.run("ATOMIC.RATELIMIT k FIXED 10 31536000000 COST 6"))[..4], [6, 10, 4, 0]);
        assert_eq!(server.run("STRLEN k"), Value::Integer(15));
        assert_eq!(remaining("FIXED 100 31536000000"), 94);
        assert_eq!(remaining("FIXED 5 31536000000"), 0);
        assert_eq!(integers(&server.run("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000"))[..4], [1, 10, 9, 0]);
        assert_eq!(server.run("STRLEN k"), Value::Integer(25));
    });
}

#[test]
fn what_is_no_rate_limit_is_refused_and_stays() {
    let good_bucket = r"\xa1\x01\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03\xe8";
    // With its time in microseconds; the others are as they were written when it was in milliseconds.
    let good_new = r"\xa1\x06\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03\xe8";
    let good_fixed = r"\xa1\x02\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01";
    let damaged = [
        String::new(),
        "v".to_owned(),
        "10".to_owned(),
        r"\xa1".to_owned(),
        r"\xa1\x01".to_owned(),
        r"\xa7LK\x01".to_owned(),
        "x".repeat(24),
        "x".repeat(14),
        "x".repeat(45),
        format!(r"{good_bucket}\x00"),
        format!(r"{good_fixed}\x00"),
        good_bucket[..good_bucket.len() - 4].to_owned(),
        good_fixed[..good_fixed.len() - 4].to_owned(),
        good_bucket.replacen(r"\xa1", r"\xa2", 1),
        good_bucket.replacen(r"\xa1\x01", r"\xa1\x03", 1),
        good_bucket.replacen(r"\xa1\x01", r"\xa1\x02", 1),
        good_new.replacen(r"\xa1\x06", r"\xa1\x09", 1),
        good_new.replacen(r"\xa1\x06", r"\xa1\x01", 1),
        format!(r"{good_new}\x00"),
        good_new[..good_new.len() - 4].to_owned(),
        // A period of 0, one beyond a year.
        good_bucket.replacen(r"\x03\xe8", r"\x00\x00", 1),
        good_bucket.replacen(r"\x00\x00\x00\x03\xe8", r"\xff\x00\x00\x03\xe8", 1),
    ];
    each_server(|server| {
        let attempts = COMMANDS.iter().flat_map(|name| ["BUCKET 10 5 1000", "FIXED 10 1000"].map(|of| format!("{name} k {of}")));
        let attempts: Vec<String> = attempts.collect();
        for state in [good_bucket, good_new, good_fixed] {
            server.run(&format!("SET k \"{state}\""));
            let answered = integers(&server.run("ATOMIC.RATELIMIT_RO k BUCKET 10 5 1000"));
            assert_eq!(answered[..2], [1, 10], "the states that the rows damage are no states");
        }
        for state in &damaged {
            for ttl in ["", " PX 60000000"] {
                server.run(&format!("SET k \"{state}\"{ttl}"));
                attempts.iter().for_each(|attempt| expect_refused(server, &[(attempt, FOREIGN)]));
            }
        }
        for setup in OTHER_TYPES {
            server.run("DEL k");
            server.run(setup);
            attempts.iter().for_each(|attempt| expect_refused(server, &[(attempt, WRONGTYPE)]));
        }
    });
}

#[test]
fn a_limiter_without_its_ttl_is_still_a_limiter() {
    each_server(|server| {
        let mut connection = server.connect();
        for policy in ["BUCKET 2 1 15", "FIXED 2 30"] {
            server.run("FLUSHALL");
            let spent = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST 2"));
            server.run("PERSIST k");
            await_micros(&mut connection, spent.after + spent.integers()[RESET] * 1000);
            assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(-1));
            let again = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST 2"));
            assert_eq!(again.integers()[..4], [2, 2, 0, 0], "{policy} is full again by its own clock");
            assert!(deadline(server, "k") * 1000 >= again.before, "the TTL came back");
        }
    });
}

#[test]
fn a_window_is_as_long_as_asked_for() {
    each_server(|server| {
        let mut connection = server.connect();
        for policy in ["FIXED 10 60000", "LOG 10 60000", "BUCKET 1 1 60000"] {
            for _ in 0..20 {
                server.run("FLUSHALL");
                let first = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy}"));
                assert_eq!(first.integers()[RESET], 60_000, "{policy}");
                // FIXED counts from the beginning of a millisecond, the others from the microsecond, and the TTL is rounded up.
                let early = if policy.starts_with("FIXED") { 999 } else { 0 };
                let ends = deadline(server, "k") * 1000;
                assert!(ends >= first.before + 60_000_000 - early, "{policy}: {} us too short", first.before + 60_000_000 - ends);
                assert!(ends <= first.after + 60_000_999 - early, "{policy}: longer than asked for");
            }
        }
    });
}

#[test]
fn a_state_of_the_future_costs_at_most_one_refill_and_yields_at_most_one_capacity() {
    // A bucket of 10 that refills in 1000 s, and a window of 1000 s, used up at a time by a clock that was ahead.
    let bucket = |since: i64| {
        [&b"\xa1\x01"[..], &since.to_be_bytes()[2..], &[0; 3], &10_000_000_000_u64.to_be_bytes(), &[0, 0, 0xf, 0x42, 0x40]]
            .concat()
    };
    let fixed = |start: i64| [&b"\xa1\x02"[..], &start.to_be_bytes()[2..], &[0, 0, 0, 0, 0, 10]].concat();
    each_server(|server| {
        let now = micros(&mut server.connect()) / 1000;
        for (ahead, policy, state) in [
            (500_000, "BUCKET 10 10 1000000", bucket(now + 500_000)),
            (500_000, "FIXED 10 1000000", fixed(now + 500_000)),
            (2_000_000, "BUCKET 10 10 1000000", bucket(now + 2_000_000)),
            (2_000_000, "FIXED 10 1000000", fixed(now + 2_000_000)),
        ] {
            server.call(&[b"SET", &b"k"[..], &state]);
            let reply = integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy} COST 10")));
            if ahead > 1_000_000 {
                assert_eq!(reply[..4], [10, 10, 0, 0], "{policy}: a clock that is gone still counts");
            } else {
                assert_eq!(reply[..3], [0, 10, 0], "{policy} gave units away");
                let whole = ahead + 1_000_000;
                assert!((whole - 60_000..=whole).contains(&reply[RETRY]), "{policy}: {reply:?}");
            }
            assert_eq!(integers(&server.run(&format!("ATOMIC.RATELIMIT k {policy} COST 10")))[0], 0);
        }
    });
}
