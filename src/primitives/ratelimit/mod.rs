//! Rate limits: grants or denies requests, with what remains and how long to wait.
//!
//! A limiter has one to eight policies. Each decides from (usage, now, amount). A request is granted if all policies grant it, and is
//! charged to all of them or none. All arithmetic uses integers. BUCKET and SLIDING count in units so small that nothing is rounded (see
//! `bucket`, `sliding`), so rates and limits stay exact over any time.
//!
//! Invariants:
//! - A denial is [`Effect::Keep`]: it writes nothing.
//! - `retry_after` is never early and less than 1 ms late: a client that waits exactly that long is granted if no other request came.
//! - The key expires when the limiter is full again, so a missing key means a full limiter. Unless the clock was set, no time in a reply
//!   exceeds the policy's window (two windows for SLIDING), or twice that in debt. A TTL is rounded up, so it may be 1 ms longer.
//! - The size of one hit's write is bounded: a LOG is patched (see `ring`), and every other state has at most 90 bytes per policy.
//! - A stored time in the future means that the clock was set back. If it lies at most one full refill ahead, it counts as now. Beyond
//!   that the policy starts full, because the clock that wrote it is gone. So a clock step of any size costs a client at most one refill
//!   of waiting and grants at most one capacity.

mod bucket;
mod fixed;
mod log;
mod lone;
mod ring;
mod sliding;
mod state;
#[cfg(test)]
mod tests;
mod usage;

pub use bucket::Bucket;
pub use fixed::Fixed;
pub use log::{Log, MAX_LOG};
pub use sliding::Sliding;
pub use state::{FORMAT, MAX_NAME, MAX_POLICIES, State};

use smallvec::SmallVec;

use self::usage::Limiter;
use super::codec::{Bytes, Corrupt};
use super::effect::Effect;
use super::time::{DurationMs, UnixMicros};

/// The largest capacity, limit, refill and amount. [`MAX_LOG`] is the limit of LOG.
pub const MAX_LIMIT: i64 = 1_000_000_000_000;

/// One element per policy of a limiter. Most limiters have one policy, and one element needs no allocation.
pub type PerPolicy<T> = SmallVec<[T; 1]>;

/// The kind of a policy, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Continuous refill. Token bucket, leaky bucket as a meter, and GCRA are the same.
    Bucket(Bucket),
    /// A counter per window.
    Fixed(Fixed),
    /// Two weighted counters: a sliding window in constant memory.
    Sliding(Sliding),
    /// An exact sliding window.
    Log(Log),
}

impl Kind {
    /// The capacity or limit.
    #[must_use]
    pub fn limit(self) -> u64 {
        match self {
            Self::Bucket(Bucket { capacity: limit, .. })
            | Self::Fixed(Fixed { limit, .. })
            | Self::Sliding(Sliding { limit, .. })
            | Self::Log(Log { limit, .. }) => limit,
        }
    }

    /// The time in which the limit can be used once: the window, or the time in which an empty bucket fills up.
    #[must_use]
    pub fn window(self) -> DurationMs {
        match self {
            Self::Bucket(bucket) => bucket.window(),
            Self::Fixed(Fixed { window, .. }) | Self::Sliding(Sliding { window, .. }) | Self::Log(Log { window, .. }) => window,
        }
    }

    /// The keyword of the policy, in lower case.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Bucket(_) => "bucket",
            Self::Fixed(_) => "fixed",
            Self::Sliding(_) => "sliding",
            Self::Log(_) => "log",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    pub kind: Kind,
    /// The name under which its usage is stored. An unnamed policy is found by its position.
    pub name: Option<&'a [u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Charges the whole amount or nothing. An amount of 0 only reads.
    Charge(u64),
    /// Charges as much as remains, up to the amount and at least one.
    UpTo(u64),
    /// Charges the whole amount or nothing, into a debt of at most one capacity.
    Force(u64),
    Refund(u64),
    /// Deletes the limiter.
    Reset,
}

/// An amount to charge, and the bound on usage after it, as a multiple of the limit.
#[derive(Debug, Clone, Copy)]
struct Ask {
    amount: u64,
    capacities: u64,
}

impl Ask {
    /// The most usage of a policy with this limit; `None` if the amount alone exceeds it.
    fn ceiling(self, limit: u64) -> Option<u64> {
        let ceiling = limit.saturating_mul(self.capacities);
        (self.amount <= ceiling).then_some(ceiling)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The amount charged, or 0 if denied. For a refund, the most that one policy took back.
    pub granted: u64,
    pub standings: PerPolicy<Standing>,
}

/// The state of one policy after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The policy's capacity or limit.
    pub limit: u64,
    /// The most that it can grant now; negative in debt.
    pub remaining: i64,
    /// Zero if it grants the request, otherwise the time until it would; `None` if it never can.
    pub retry_after: Option<DurationMs>,
    /// The time until it is full again.
    pub reset_after: DurationMs,
}

impl Decision {
    /// The policy that binds: of those that deny, the one with the longest wait, otherwise the one with the least remaining. The first one
    /// wins a tie.
    #[must_use]
    pub fn binding(&self) -> (usize, Standing) {
        if let [standing] = self.standings[..] {
            return (0, standing);
        }
        let longest = |standing: &Standing| standing.retry_after.map_or(u64::MAX, |wait| wait.0.min(u64::MAX - 1));
        let key =
            |standing: &Standing| (std::cmp::Reverse(longest(standing)), if self.is_denied() { 0 } else { standing.remaining });
        let first = self.standings.iter().copied().enumerate().min_by_key(|(_, standing)| key(standing));
        first.unwrap_or((0, Standing { limit: 0, remaining: 0, retry_after: None, reset_after: DurationMs(0) }))
    }

    /// The time until the limiter is full again.
    #[must_use]
    pub fn reset_after(&self) -> DurationMs {
        self.standings.iter().map(|standing| standing.reset_after).max().unwrap_or_default()
    }

    fn is_denied(&self) -> bool {
        self.standings.iter().any(|standing| standing.retry_after != Some(DurationMs(0)))
    }
}

/// Decides on a request, given the stored state, and charges it if it is granted.
pub fn decide(
    stored: Option<&[u8]>,
    policies: &[Policy<'_>],
    request: Request,
    now: UnixMicros,
) -> Result<(Decision, Effect<Bytes>), Corrupt> {
    if let (&[Policy { kind, name: None }], Request::Charge(amount @ 1..)) = (policies, request)
        && let Some(decided) = lone::charge(stored, kind, Ask { amount, capacities: 1 }, now)
    {
        return Ok(decided);
    }
    decide_any(stored, policies, request, now)
}

/// [`decide`] for any policies.
#[inline(never)]
fn decide_any(
    stored: Option<&[u8]>,
    policies: &[Policy<'_>],
    request: Request,
    now: UnixMicros,
) -> Result<(Decision, Effect<Bytes>), Corrupt> {
    let state = stored.map(State::decode).transpose()?;
    let exists = state.is_some();
    let limiter = Limiter::new(state, policies, now);
    Ok(match request {
        Request::Charge(0) => (answer(&limiter, policies, 0, None, now), Effect::Keep),
        Request::Charge(amount) => charge(limiter, policies, Ask { amount, capacities: 1 }, now),
        Request::Force(amount) => charge(limiter, policies, Ask { amount, capacities: 2 }, now),
        Request::UpTo(most) => {
            let left = (0..policies.len()).map(|index| limiter.remaining(index)).min().unwrap_or(0);
            let amount = u64::try_from(left).unwrap_or(0).clamp(1, most.max(1));
            charge(limiter, policies, Ask { amount, capacities: 1 }, now)
        }
        Request::Refund(amount) => refund(limiter, policies, amount, now),
        Request::Reset => {
            let effect = if exists { Effect::Delete } else { Effect::Keep };
            (answer(&Limiter::new(None, policies, now), policies, 0, None, now), effect)
        }
    })
}

fn charge(mut limiter: Limiter<'_>, policies: &[Policy<'_>], ask: Ask, now: UnixMicros) -> (Decision, Effect<Bytes>) {
    let granted = (0..policies.len()).all(|index| limiter.ready_at(index, ask).is_some_and(|at| at <= now));
    if !granted {
        return (answer(&limiter, policies, 0, Some(ask), now), Effect::Keep);
    }
    limiter.charge(ask.amount);
    (answer(&limiter, policies, ask.amount, None, now), limiter.write())
}

fn refund(mut limiter: Limiter<'_>, policies: &[Policy<'_>], amount: u64, now: UnixMicros) -> (Decision, Effect<Bytes>) {
    let granted = limiter.refund(amount);
    let effect = if granted == 0 { Effect::Keep } else { limiter.write() };
    (answer(&limiter, policies, granted, None, now), effect)
}

/// The decision of a limiter. `denied` is the request if it is denied.
fn answer(limiter: &Limiter<'_>, policies: &[Policy<'_>], granted: u64, denied: Option<Ask>, now: UnixMicros) -> Decision {
    let standing = |(index, policy): (usize, &Policy<'_>)| Standing {
        limit: policy.kind.limit(),
        remaining: limiter.remaining(index),
        retry_after: match denied {
            None => Some(DurationMs(0)),
            Some(ask) => limiter.ready_at(index, ask).map(|at| now.until(at)),
        },
        reset_after: now.until(limiter.full_at(index)),
    };
    Decision { granted, standings: policies.iter().enumerate().map(standing).collect() }
}

/// The decision on one of several limiters that are charged together.
pub struct Draft {
    looked: Standing,
    decision: Decision,
    effect: Effect<Bytes>,
}

/// Decides on one of several limiters as if it were the only one.
pub fn draft(stored: Option<&[u8]>, policy: Policy<'_>, amount: u64, now: UnixMicros) -> Result<Draft, Corrupt> {
    let policies = [policy];
    let (look, _) = decide(stored, &policies, Request::Charge(0), now)?;
    let (decision, effect) = decide(stored, &policies, Request::Charge(amount), now)?;
    Ok(Draft { looked: look.binding().1, decision, effect })
}

/// Charges all limiters or none. The standings are those of the limiters, in their order.
#[must_use]
pub fn decide_all(drafts: Vec<Draft>, amount: u64) -> (Decision, Vec<Effect<Bytes>>) {
    if drafts.iter().any(|draft| draft.decision.is_denied()) {
        let standing = |draft: &Draft| if draft.decision.is_denied() { draft.decision.binding().1 } else { draft.looked };
        return (Decision { granted: 0, standings: drafts.iter().map(standing).collect() }, Vec::new());
    }
    let standings = drafts.iter().map(|draft| draft.decision.binding().1).collect();
    (Decision { granted: amount, standings }, drafts.into_iter().map(|draft| draft.effect).collect())
}

/// The whole units left of `full` after `used`, both in units of 1/`unit`. Rounded down, below zero too.
fn floor_units(full: u128, used: u128, unit: u128) -> i64 {
    let units = |level: u128| i64::try_from(level.checked_div(unit).unwrap_or(0)).unwrap_or(i64::MAX);
    match full.checked_sub(used) {
        Some(left) => units(left),
        None => units(used.saturating_sub(full).saturating_add(unit.saturating_sub(1))).saturating_neg(),
    }
}
