//! Rate limits: which requests pass, what is left, and how long to wait.
//!
//! A policy turns (what was used, now, cost) into a [`Decision`] and the state to store. All arithmetic is on integers: the BUCKET
//! keeps its level in units so small that nothing is ever rounded (see `bucket`), so rates and limits are exact over any time.
//!
//! What must stay true:
//! - a denial is [`Effect::Keep`]: it writes nothing;
//! - `retry_after` is never early and less than 1 ms late: who waits exactly that long is granted if nobody else came;
//! - the TTL ends when the limiter would be full again, so that a missing key and a full limiter are the same thing;
//! - a stored time that lies in the future (the clock was set back) is taken as now, at most one full refill ahead; beyond that the
//!   state belongs to a clock that is gone, and the limiter starts full. So a step of any size costs a caller at most one refill of
//!   waiting and yields at most one capacity.

mod bucket;
mod fixed;
mod state;
#[cfg(test)]
mod tests;

pub use bucket::Bucket;
pub use fixed::Fixed;
pub use state::{FORMAT, Stored, decode};

use super::effect::{Effect, Expiry};
use super::time::{DurationMs, UnixMicros};

/// The largest capacity, limit, refill and cost.
pub const MAX_LIMIT: i64 = 1_000_000_000_000;

/// How often a caller may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Continuous refill: token bucket, leaky bucket as a meter and GCRA are this.
    Bucket(Bucket),
    /// A counter per window that starts at the first hit.
    Fixed(Fixed),
}

/// The answer to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The cost when granted, else 0.
    pub granted: u64,
    /// The policy's capacity or limit.
    pub limit: u64,
    /// What could be granted right now, after this request.
    pub remaining: u64,
    /// Zero when granted; else when the same request would be granted; `None` when it never can.
    pub retry_after: Option<DurationMs>,
    /// When the limiter is full again.
    pub reset_after: DurationMs,
}

/// Where a policy stands before the request, in the terms that every policy shares.
struct Standing<U> {
    limit: u64,
    /// Units that can be granted now.
    available: u64,
    /// The earliest time at which `cost` units can be granted; `None` when never.
    ready_at: Option<UnixMicros>,
    /// When all units are back if nothing is charged.
    full_at: UnixMicros,
    /// The usage after charging the cost, and when all units are back then.
    charged: U,
    charged_full_at: UnixMicros,
}

/// Decides on `cost` units against what is stored, and charges them when they are granted.
#[must_use]
pub fn decide(stored: Option<Stored>, policy: Policy, cost: u64, now: UnixMicros) -> (Decision, Effect<Vec<u8>>) {
    match policy {
        Policy::Bucket(bucket) => {
            let level = stored.and_then(|stored| bucket.adopt(stored, now)).unwrap_or_else(|| bucket.full(now));
            settle(bucket.standing(level, cost, now), cost, now, |level| bucket.encode(level))
        }
        Policy::Fixed(fixed) => {
            let window = stored.and_then(|stored| fixed.adopt(stored, now)).unwrap_or_else(|| fixed.fresh(now));
            settle(fixed.standing(window, cost, now), cost, now, Fixed::encode)
        }
    }
}

/// Grants or denies, from where the policy stands.
fn settle<U>(
    standing: Standing<U>,
    cost: u64,
    now: UnixMicros,
    encode: impl FnOnce(U) -> Vec<u8>,
) -> (Decision, Effect<Vec<u8>>) {
    let granted = cost <= standing.available;
    let full_at = if granted { standing.charged_full_at } else { standing.full_at };
    let decision = Decision {
        granted: if granted { cost } else { 0 },
        limit: standing.limit,
        remaining: if granted { standing.available.saturating_sub(cost) } else { standing.available },
        retry_after: if granted { Some(DurationMs(0)) } else { standing.ready_at.map(|at| now.until(at)) },
        reset_after: now.until(full_at),
    };
    let effect = if granted && cost > 0 {
        Effect::Put { value: encode(standing.charged), expiry: Expiry::At(full_at.ceil_ms()) }
    } else {
        Effect::Keep
    };
    (decision, effect)
}
