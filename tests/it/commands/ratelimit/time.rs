//! Times: the promise of retry-after, the end of a window, a clock that was set.

use super::{DAY, Reply, ask, denied, granted};
use crate::commands::{Moment, await_micros, deadline, micros, timed};
use crate::support::{Connection, each_server, eventually};

/// Asks without charging until the limiter grants, and checks that all replies agree on the moment of the grant. Returns how long
/// before that moment the last denial was, in microseconds.
fn follow(connection: &mut Connection, ask: &str, mut due: Moment) -> i64 {
    let first = due;
    let mut last_denial = i64::MIN;
    loop {
        let asked = timed(connection, ask);
        let reply = Reply::read(&asked.reply);
        if reply.outcome.granted > 0 {
            assert!(asked.after > due.after, "{ask}: granted at {} or before, which is before {due:?}", asked.after);
            return first.after.max(due.after) - last_denial;
        }
        assert!(asked.before < first.until, "{ask}: still denied at {}, first said {first:?}", asked.before);
        assert!(reply.retry >= 1, "{ask}: denied, and to be retried after {}", reply.retry);
        due.expect_same(asked.moment(reply.retry));
        last_denial = asked.before;
    }
}

#[test]
fn a_client_that_waits_retry_after_is_granted_and_not_earlier() {
    each_server(|server| {
        let mut connection = server.connect();
        // In all but the first the grant comes when the key expires: servers delete keys in a cycle of their own, some of them early.
        let policies =
            [("BUCKET 10 7 400", 10), ("BUCKET 1 1 61", 1), ("FIXED 10 61", 10), ("LOG 10 61", 10), ("SLIDING 1 31", 1)];
        for (policy, cost) in policies.into_iter().cycle().take(4 * policies.len()) {
            // Until the scheduler lets us ask within the last 2 ms.
            eventually("a denial was seen just before the grant", || {
                server.run("FLUSHALL");
                connection.run(&format!("ATOMIC.RATELIMIT k {policy} COST {cost}"));
                let asked = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy}"));
                let reply = Reply::read(&asked.reply);
                if reply.outcome.granted > 0 {
                    return None; // The first unit refilled before we asked.
                }
                assert_eq!(reply.outcome, denied(cost, 0), "{policy}");
                let due = asked.moment(reply.retry);
                let missed = follow(&mut connection, &format!("ATOMIC.RATELIMIT_RO k {policy}"), due);
                (missed <= 2000).then_some(())
            });
        }
    });
}

#[test]
fn a_client_that_waits_exactly_retry_after_is_granted_every_time() {
    each_server(|server| {
        let mut connection = server.connect();
        for (policy, cost) in [
            ("BUCKET 3 9 100", 1),
            ("BUCKET 3 9 100", 3),
            ("FIXED 3 20", 2),
            ("FIXED 2 20 ALIGN", 2),
            ("SLIDING 2 20", 2),
            ("LOG 2 20", 2),
        ] {
            server.run("FLUSHALL");
            let request = format!("ATOMIC.RATELIMIT k {policy} COST {cost}");
            let mut waits = 0;
            while waits < 8 {
                let asked = timed(&mut connection, &request);
                let reply = Reply::read(&asked.reply);
                if reply.outcome.granted == 0 {
                    await_micros(&mut connection, asked.after + reply.retry * 1000);
                    assert_eq!(
                        Reply::read(&connection.run(&request)).outcome.granted,
                        cost,
                        "{request}: denied after waiting {} ms",
                        reply.retry
                    );
                    waits += 1;
                }
            }
        }
    });
}

#[test]
fn an_aligned_window_ends_with_its_multiple() {
    each_server(|server| {
        let now = server.run("TIME").array()[0].text().parse::<i64>().unwrap() * 1000;
        let reset = ask(server, &format!("ATOMIC.RATELIMIT k FIXED 3 {DAY} ALIGN")).reset;
        assert!(reset <= 86_400_000 - now % 86_400_000 + 1000, "an aligned day ends in {reset}");
        let whole = ask(server, &format!("ATOMIC.RATELIMIT l FIXED 3 {DAY}")).reset;
        assert!(whole >= 86_400_000, "a day from the first hit on ends in {whole}");
    });
}

#[test]
fn a_window_is_as_long_as_requested() {
    each_server(|server| {
        let mut connection = server.connect();
        for policy in ["FIXED 10 60000", "LOG 10 60000", "BUCKET 1 1 60000"] {
            for _ in 0..20 {
                server.run("FLUSHALL");
                let first = timed(&mut connection, &format!("ATOMIC.RATELIMIT k {policy}"));
                assert_eq!(Reply::read(&first.reply).reset, 60_000, "{policy}");
                // FIXED counts from the beginning of a millisecond, the others from the microsecond; the TTL is rounded up.
                let early = if policy.starts_with("FIXED") { 999 } else { 0 };
                let ends = deadline(server, "k") * 1000;
                assert!(ends >= first.before + 60_000_000 - early, "{policy}: {} us too short", first.before + 60_000_000 - ends);
                assert!(ends <= first.after + 60_000_999 - early, "{policy}: longer than requested");
            }
        }
    });
}

#[test]
fn a_state_from_the_future_costs_at_most_one_refill_and_grants_at_most_one_capacity() {
    // A bucket of 10 that refills in 1000 s, and a window of 1000 s. Both were used up while the clock was ahead.
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
            let reply = ask(server, &format!("ATOMIC.RATELIMIT k {policy} COST 10"));
            if ahead > 1_000_000 {
                assert_eq!(reply.outcome, granted(10, 10, 0), "{policy}: the clock that was ahead still counts");
            } else {
                assert_eq!(reply.outcome, denied(10, 0), "{policy} gave units away");
                let whole = ahead + 1_000_000;
                assert!((whole - 60_000..=whole).contains(&reply.retry), "{policy}: {reply:?}");
            }
            assert_eq!(ask(server, &format!("ATOMIC.RATELIMIT k {policy} COST 10")).outcome.granted, 0);
        }
    });
}
