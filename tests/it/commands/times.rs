//! No time in a reply is longer than what was asked for, nor a TTL but by what a microsecond is rounded up to; and a rate that changes moves none.

use super::integers;
use crate::support::{Value, each_server};

/// A call with `<ms>` in it, and where in the reply times stand, counted from 0.
const CALLS: &[(&str, &[usize])] = &[
    ("ATOMIC.RATELIMIT k FIXED 3 <ms>", &[3, 4]),
    ("ATOMIC.RATELIMIT k LOG 3 <ms>", &[3, 4]),
    ("ATOMIC.RATELIMIT k BUCKET 1 1 <ms>", &[3, 4]),
    ("ATOMIC.RATELIMIT k BUCKET 3 3 <ms> COST 3", &[3, 4]),
    ("ATOMIC.LOCK k me <ms>", &[2]),
    ("ATOMIC.MLOCK me <ms> k", &[2]),
    ("ATOMIC.SEMACQUIRE k 3 me <ms> PERMITS 2", &[3]),
    ("ATOMIC.ONCE k PX <ms>", &[1]),
    ("ATOMIC.IDEMBEGIN k f <ms>", &[1]),
    ("ATOMIC.FENCE k 5 PX <ms>", &[]),
    ("ATOMIC.GETORSET k v PX <ms>", &[]),
    ("ATOMIC.INCRBY k 1 PX <ms>", &[3]),
    ("ATOMIC.PUSH k LEFT 3 PX <ms> VALUES v", &[]),
    ("ATOMIC.SET k v NX PX <ms>", &[]),
];

/// A denial or a look, and where its times stand, behind the call with the same number.
const AFTER: &[(usize, &str, &[usize])] = &[
    (0, "ATOMIC.RATELIMIT k FIXED 3 <ms> COST 3", &[3, 4]),
    (0, "ATOMIC.RATELIMIT_RO k FIXED 3 <ms> COST 3", &[3, 4]),
    (1, "ATOMIC.RATELIMIT k LOG 3 <ms> COST 3", &[3, 4]),
    (2, "ATOMIC.RATELIMIT k BUCKET 1 1 <ms>", &[3, 4]),
    (3, "ATOMIC.RATELIMIT k BUCKET 3 3 <ms> COST 3", &[3, 4]),
    (4, "ATOMIC.LOCK k you 1", &[2]),
    (4, "ATOMIC.LOCKRENEW k me <ms>", &[]),
    (6, "ATOMIC.SEMACQUIRE k 2 you 1", &[3]),
    (6, "ATOMIC.SEMRENEW k me <ms>", &[]),
    (7, "ATOMIC.ONCE k PX <ms>", &[1]),
    (8, "ATOMIC.IDEMBEGIN k f <ms>", &[1]),
];

#[track_caller]
fn expect(reply: &Value, places: &[usize], longest: i64, call: &str) {
    assert!(!matches!(reply, Value::Error(_)), "{call}: {reply}");
    for &place in places {
        let time = reply.array()[place].integer();
        assert!(time <= longest, "{call}: {time} ms at {place} of {reply}");
    }
    if let Value::Integer(answer) = reply {
        assert!(*answer <= longest, "{call}: {answer}");
    }
}

/// The key of a limiter lasts until its policies are full to the microsecond, rounded up; all other times begin with a millisecond.
fn longest_ttl(call: &str, ms: i64) -> i64 {
    let to_the_microsecond = call.contains("RATELIMIT") && !call.contains("FIXED");
    ms + i64::from(to_the_microsecond)
}

#[test]
fn no_time_is_longer_than_what_was_asked_for() {
    each_server(|server| {
        let mut connection = server.connect();
        for ms in [7, 60_000, 31_536_000_000] {
            for (number, (call, places)) in CALLS.iter().enumerate() {
                // The clock stands anywhere within its millisecond.
                for _ in 0..10 {
                    connection.run("DEL k");
                    let call = call.replace("<ms>", &ms.to_string());
                    expect(&connection.run(&call), places, ms, &call);
                    let ttl = connection.run("PTTL k").integer();
                    assert!(ttl <= longest_ttl(&call, ms), "{call}: a TTL of {ttl}");
                    for (_, after, places) in AFTER.iter().filter(|(of, ..)| *of == number && ms > 7) {
                        let after = after.replace("<ms>", &ms.to_string());
                        expect(&connection.run(&after), places, ms, &after);
                        let ttl = connection.run("PTTL k").integer();
                        assert!(ttl <= longest_ttl(&call, ms), "{after}: a TTL of {ttl}");
                    }
                }
            }
        }
        // Two windows until both counters of SLIDING are forgotten.
        assert!(integers(&server.run("ATOMIC.RATELIMIT s SLIDING 3 60000"))[4] <= 120_000);
        assert!(server.run("PTTL s").integer() <= 120_001);
    });
}

#[test]
fn a_rate_that_changes_moves_nothing() {
    each_server(|server| {
        for _ in 0..50 {
            server.run("DEL k");
            let one_time =
                "MULTI ; ATOMIC.RATELIMIT k BUCKET 10 10 86400000 COST 4 ; ATOMIC.RATELIMIT k BUCKET 5 5 86400000 ; EXEC";
            let mut connection = server.connect();
            let replies: Vec<Value> = one_time.split(" ; ").map(|command| connection.run(command)).collect();
            // 4 of 5 are used, as far as nothing has come back meanwhile; on Redis 7.0 the clock goes on within a transaction.
            let second = integers(&replies[3].array()[1]);
            assert_eq!(second[..4], [1, 5, 0, 0], "{second:?}");
        }
    });
}
