//! `ATOMIC.RATELIMIT`, `ATOMIC.RATELIMIT_RO` and `ATOMIC.MRATELIMIT`.

mod grammar; // accepted forms, ranges, errors
mod load; // bursts and saturated buckets
mod replication; // the exact stream, replicas, transactions
mod replies; // units, limits and waits of every policy and option
mod several; // several policies at one key, several limiters at once
mod state; // the key: size, TTL, foreign values
mod time; // retry-after, windows, a clock that was set

use super::integers;
use crate::support::{Server, Value};

const YEAR: i64 = 31_536_000_000;
const MAX: i64 = 1_000_000_000_000;
const DAY: &str = "86400000";
const FOREIGN: &str = "WRONGTYPE key does not hold a rate limit (format a1)";
const COMMANDS: [&str; 2] = ["ATOMIC.RATELIMIT", "ATOMIC.RATELIMIT_RO"];

/// A reply without the times, which are exact only on a fresh limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    granted: i64,
    limit: i64,
    remaining: i64,
    retry: Retry,
    /// The position of the policy that decided.
    policy: i64,
}

/// The meaning of retry-after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    Now,
    Later,
    Never,
}

/// `units` were granted, or refunded.
fn granted(units: i64, limit: i64, remaining: i64) -> Outcome {
    Outcome { granted: units, limit, remaining, retry: Retry::Now, policy: 0 }
}

/// The request can be granted later.
fn denied(limit: i64, remaining: i64) -> Outcome {
    Outcome { granted: 0, limit, remaining, retry: Retry::Later, policy: 0 }
}

/// The request is larger than the limit.
fn impossible(limit: i64, remaining: i64) -> Outcome {
    Outcome { retry: Retry::Never, ..denied(limit, remaining) }
}

impl Outcome {
    /// The same, decided by the policy at this position.
    fn by(self, policy: i64) -> Self {
        Self { policy, ..self }
    }
}

/// The six integers of a reply.
#[derive(Debug, Clone, Copy)]
struct Reply {
    outcome: Outcome,
    /// ms until the request would be granted; -1 if never.
    retry: i64,
    /// ms until the limiter is full.
    reset: i64,
}

impl Reply {
    #[track_caller]
    fn read(reply: &Value) -> Self {
        let [granted, limit, remaining, wait, reset, policy] = integers(reply)[..] else { panic!("not six integers: {reply}") };
        let retry = match wait {
            0 => Retry::Now,
            1.. => Retry::Later,
            -1 => Retry::Never,
            _ => panic!("retry after {wait}: {reply}"),
        };
        Self { outcome: Outcome { granted, limit, remaining, retry, policy }, retry: wait, reset }
    }
}

/// Runs a command and reads its reply.
#[track_caller]
fn ask(server: &Server, command: &str) -> Reply {
    Reply::read(&server.run(command))
}

/// Asserts on everything but the times.
#[track_caller]
fn check(server: &Server, command: &str, expected: Outcome) {
    let reply = ask(server, command);
    assert_eq!(reply.outcome, expected, "{command}: {reply:?}");
}

#[track_caller]
fn refusal(server: &Server, command: &str) -> String {
    server.run(command).error().to_owned()
}
