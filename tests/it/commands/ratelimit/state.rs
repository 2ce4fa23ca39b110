//! The key: size, TTL, changed arguments, foreign and damaged values.

use super::{COMMANDS, FOREIGN, Reply, ask, granted};
use crate::commands::{Moment, OTHER_TYPES, WRONGTYPE, await_micros, deadline, expect_refused, timed};
use crate::support::{Value, each_server, eventually};

#[test]
fn the_key_is_small_and_lives_until_the_limiter_is_full() {
    each_server(|server| {
        let mut connection = server.connect();
        for (policy, bytes) in [("BUCKET 10 7 400000", 25), ("FIXED 10 60001", 15), ("BUCKET 10 1 31536000000", 25)] {
            server.run("FLUSHALL");
            for cost in [1, 3, 6] {
                let asked = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
                let mut full = asked.moment(Reply::read(&asked.reply).reset);
                // A server may delete the key at the beginning of the millisecond that its TTL names.
                let ends = deadline(server, "k") * 1000;
                full.expect_same(Moment { after: ends - 1000, until: ends });
                assert_eq!(server.run("STRLEN k"), Value::Integer(bytes), "{policy}");
                assert_eq!(server.run("TYPE k"), Value::Status("string".to_owned()));
            }
        }
    });
}

#[test]
fn an_idle_limiter_leaves_no_key() {
    each_server(|server| {
        for policy in ["BUCKET 2 1 20", "FIXED 2 20"] {
            let request = format!("ATOMIC.RATELIMIT k {policy} COST 2");
            assert_eq!(ask(server, &request).outcome.granted, 2);
            eventually("the key is gone", || (server.run("DBSIZE") == Value::Integer(0)).then_some(()));
            assert_eq!(ask(server, &request).outcome, granted(2, 2, 0), "{policy} is not full when its key is gone");
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn del_resets_a_limiter_and_limiters_do_not_share() {
    each_server(|server| {
        for policy in ["BUCKET 2 1 31536000000", "FIXED 2 31536000000"] {
            for key in [r#""\x00""#, r#""\r\n""#, r#""\xe4\xb8\x80""#, "''", "k"] {
                let request = format!("ATOMIC.RATELIMIT {key} {policy} COST 2");
                assert_eq!(ask(server, &request).outcome.granted, 2, "{request}");
                assert_eq!(ask(server, &request).outcome.granted, 0, "{request}");
                assert_eq!(server.run(&format!("DEL {key}")), Value::Integer(1));
                assert_eq!(ask(server, &request).outcome.granted, 2, "{request}");
            }
            server.run("FLUSHALL");
        }
    });
}

#[test]
fn changed_numbers_keep_the_used_units_and_another_policy_starts_full() {
    each_server(|server| {
        let remaining = |policy: &str| ask(server, &format!("ATOMIC.RATELIMIT_RO k {policy} COST 0")).outcome.remaining;
        server.run("ATOMIC.RATELIMIT k BUCKET 10 1 31536000000 COST 6");
        assert_eq!(remaining("BUCKET 10 1 31536000000"), 4);
        assert_eq!(remaining("BUCKET 100 1 31536000000"), 94);
        assert_eq!(remaining("BUCKET 100 1 15768000000"), 94);
        // The larger bucket's level is clamped; in the first millisecond it may be too high by one millisecond's refill.
        assert!((-1..=0).contains(&remaining("BUCKET 5 1 31536000000")));
        assert_eq!(remaining("FIXED 10 1000"), 10);
        // Another policy takes over the key.
        assert_eq!(ask(server, "ATOMIC.RATELIMIT k FIXED 10 31536000000 COST 6").outcome, granted(6, 10, 4));
        assert_eq!(server.run("STRLEN k"), Value::Integer(15));
        assert_eq!(remaining("FIXED 100 31536000000"), 94);
        assert_eq!(remaining("FIXED 5 31536000000"), 0);
        assert_eq!(ask(server, "ATOMIC.RATELIMIT k BUCKET 10 1 31536000000").outcome, granted(1, 10, 9));
        assert_eq!(server.run("STRLEN k"), Value::Integer(25));
    });
}

#[test]
fn a_foreign_or_damaged_value_is_refused_and_kept() {
    let good_bucket = r"\xa1\x01\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03\xe8";
    // Time in microseconds; the other two have the older format with milliseconds.
    let good_new = r"\xa1\x06\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03\xe8";
    let good_fixed = r"\xa1\x02\x01\x93\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01";
    let damaged = [
        String::new(),
        "v".to_owned(),
        "hello".to_owned(),
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
        // A period of 0, and a period beyond a year.
        good_bucket.replacen(r"\x03\xe8", r"\x00\x00", 1),
        good_bucket.replacen(r"\x00\x00\x00\x03\xe8", r"\xff\x00\x00\x03\xe8", 1),
    ];
    each_server(|server| {
        let policies = ["BUCKET 10 5 1000", "FIXED 10 1000", "LOG 5 1000"];
        let attempts = COMMANDS.iter().flat_map(|name| policies.map(|policy| format!("{name} k {policy}")));
        let actions =
            ["RESET", "REFUND 1", "FORCE 1", "UPTO 1"].map(|action| format!("ATOMIC.RATELIMIT k FIXED 5 1000 {action}"));
        let attempts: Vec<String> = attempts.chain(actions).collect();
        for state in [good_bucket, good_new, good_fixed] {
            server.run(&format!("SET k \"{state}\""));
            let outcome = ask(server, "ATOMIC.RATELIMIT_RO k BUCKET 10 5 1000").outcome;
            assert_eq!((outcome.granted, outcome.limit), (1, 10), "the states that the rows damage are not valid");
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
fn a_limiter_without_a_ttl_still_refills() {
    each_server(|server| {
        let mut connection = server.connect();
        for policy in ["BUCKET 2 1 15", "FIXED 2 30"] {
            server.run("FLUSHALL");
            let spent = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST 2"));
            server.run("PERSIST k");
            await_micros(&mut connection, spent.after + Reply::read(&spent.reply).reset * 1000);
            assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(-1));
            let again = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy} COST 2"));
            assert_eq!(Reply::read(&again.reply).outcome, granted(2, 2, 0), "{policy} is full again by its own clock");
            assert!(deadline(server, "k") * 1000 >= again.before, "the TTL came back");
        }
    });
}
