//! Rate limits: which requests pass, what is left, and how long to wait.
//!
//! A limiter is one to eight policies. Each turns (what was used, now, amount) into an answer; a request passes when all policies let it,
//! and is charged to all or none. All arithmetic is on integers: BUCKET and SLIDING count in units so small that nothing is ever rounded
//! (see `bucket`, `sliding`), so rates and limits are exact over any time.
//!
//! What must stay true:
//! - a denial is [`Effect::Keep`]: it writes nothing;
//! - `retry_after` is never early and less than 1 ms late: who waits exactly that long is granted if nobody else came;
//! - the TTL ends when the limiter would be full again, so that a missing key and a full limiter are the same thing; unless the clock was
//!   set, no time in a reply or TTL is longer than the policy says: its window, two of a SLIDING one, and once more for a debt;
//! - what one hit changes is bounded: the state of a LOG is patched (see `ring`), every other state is at most 90 bytes per policy;
//! - a stored time that lies in the future (the clock was set back) is taken as now, at most one full refill ahead; beyond that the
//!   state belongs to a clock that is gone, and the policy starts full. So a step of any size costs a caller at most one refill of
//!   waiting and yields at most one capacity.

mod bucket;
mod fixed;
mod log;
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

use self::state::Record;
use self::usage::{Limiter, Usage};
use super::codec::Corrupt;
use super::effect::{Effect, Expiry};
use super::time::{DurationMs, UnixMicros};

/// The largest capacity, limit, refill and amount. LOG has a limit of its own.
pub const MAX_LIMIT: i64 = 1_000_000_000_000;

/// The policies of a limiter, or one thing per policy. Most limiters have one policy: one costs no allocation.
pub type PerPolicy<T> = SmallVec<[T; 1]>;

/// How often a caller may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Continuous refill: token bucket, leaky bucket as a meter and GCRA are this.
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

    /// The time in which the limit can be used once: the window, or how long an empty bucket takes to fill up.
    #[must_use]
    pub fn window(self) -> DurationMs {
        match self {
            Self::Bucket(bucket) => bucket.window(),
            Self::Fixed(Fixed { window, .. }) | Self::Sliding(Sliding { window, .. }) | Self::Log(Log { window, .. }) => window,
        }
    }

    /// The policy as a user writes it, in lower case.
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

/// One policy of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    /// What it allows.
    pub kind: Kind,
    /// The name under which its usage is stored; without one it is known by its place.
    pub name: Option<&'a [u8]>,
}

/// What is asked of a limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// All of it or nothing. An amount of 0 only looks.
    Charge(u64),
    /// As much of it as there is, at least one.
    UpTo(u64),
    /// All of it or nothing, into a debt of at most one capacity.
    Force(u64),
    /// Gives it back.
    Refund(u64),
    /// Forgets everything.
    Reset,
}

/// An amount, and how many times the limit may be used after it.
#[derive(Debug, Clone, Copy)]
struct Ask {
    amount: u64,
    capacities: u64,
}

impl Ask {
    /// What may be used of a policy with this limit; `None` when the amount alone is more.
    fn ceiling(self, limit: u64) -> Option<u64> {
        let ceiling = limit.saturating_mul(self.capacities);
        (self.amount <= ceiling).then_some(ceiling)
    }
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was charged, 0 when denied; of a refund, the most that a policy took back.
    pub granted: u64,
    /// The answer of each policy.
    pub standings: PerPolicy<Standing>,
}

/// Where one policy stands after the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The policy's capacity or limit.
    pub limit: u64,
    /// What it could grant right now; negative in debt.
    pub remaining: i64,
    /// Zero when it lets the request pass; else when it would; `None` when it never can.
    pub retry_after: Option<DurationMs>,
    /// When it is full again.
    pub reset_after: DurationMs,
}

impl Decision {
    /// The policy that binds: of those that deny the one that denies longest, else the one with the least remaining; the first of
    /// several.
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

    /// When the limiter is full again.
    #[must_use]
    pub fn reset_after(&self) -> DurationMs {
        self.standings.iter().map(|standing| standing.reset_after).max().unwrap_or_default()
    }

    fn is_denied(&self) -> bool {
        self.standings.iter().any(|standing| standing.retry_after != Some(DurationMs(0)))
    }
}

/// Decides on a request against what is stored, and charges it when it is granted.
pub fn decide(
    stored: Option<&[u8]>,
    policies: &[Policy<'_>],
    request: Request,
    now: UnixMicros,
) -> Result<(Decision, Effect<Vec<u8>>), Corrupt> {
    match (policies, request) {
        (&[Policy { kind: Kind::Bucket(bucket), name: None }], Request::Charge(amount @ 1..)) => match state::lone_bucket(stored)
        {
            Some(record) => Ok(charge_bucket(bucket, record, Ask { amount, capacities: 1 }, now)),
            None => decide_any(stored, policies, request, now),
        },
        _ => decide_any(stored, policies, request, now),
    }
}

/// [`decide`] for the limiter that most are, a bucket alone: the same answer without a limiter that is built and moved about.
fn charge_bucket(bucket: Bucket, record: Option<Record<'_>>, ask: Ask, now: UnixMicros) -> (Decision, Effect<Vec<u8>>) {
    let mut used = Usage::bucket(bucket, record.as_ref(), now);
    let ready_at = bucket.ready_at(used, ask, now);
    let granted = ready_at.is_some_and(|at| at <= now);
    if granted {
        bucket.charge(&mut used, ask.amount);
    }
    let full_at = bucket.full_at(used, now);
    let standing = Standing {
        limit: bucket.capacity,
        remaining: bucket.remaining(used),
        retry_after: if granted { Some(DurationMs(0)) } else { ready_at.map(|at| now.until(at)) },
        reset_after: now.until(full_at),
    };
    let effect = if granted {
        let mut value = state::begin();
        state::put_record(&mut value, Record { name: None, in_debt: bucket.in_debt(used), stored: bucket.stored(used) });
        Effect::Put { value, expiry: Expiry::At(full_at.ceil_ms()) }
    } else {
        Effect::Keep
    };
    (Decision { granted: if granted { ask.amount } else { 0 }, standings: PerPolicy::from_buf([standing]) }, effect)
}

/// [`decide`] for any policies.
fn decide_any(
    stored: Option<&[u8]>,
    policies: &[Policy<'_>],
    request: Request,
    now: UnixMicros,
) -> Result<(Decision, Effect<Vec<u8>>), Corrupt> {
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

fn charge(mut limiter: Limiter<'_>, policies: &[Policy<'_>], ask: Ask, now: UnixMicros) -> (Decision, Effect<Vec<u8>>) {
    let granted = (0..policies.len()).all(|index| limiter.ready_at(index, ask).is_some_and(|at| at <= now));
    if !granted {
        return (answer(&limiter, policies, 0, Some(ask), now), Effect::Keep);
    }
    limiter.charge(ask.amount);
    (answer(&limiter, policies, ask.amount, None, now), limiter.write())
}

fn refund(mut limiter: Limiter<'_>, policies: &[Policy<'_>], amount: u64, now: UnixMicros) -> (Decision, Effect<Vec<u8>>) {
    let granted = limiter.refund(amount);
    let effect = if granted == 0 { Effect::Keep } else { limiter.write() };
    (answer(&limiter, policies, granted, None, now), effect)
}

/// The answer of a limiter; with `denied` that of one that denies.
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

/// One of several limiters that are charged together.
pub struct Draft {
    looked: Standing,
    decision: Decision,
    effect: Effect<Vec<u8>>,
}

/// Decides on a request about one of several limiters, as if it were the only one.
pub fn draft(stored: Option<&[u8]>, policy: Policy<'_>, amount: u64, now: UnixMicros) -> Result<Draft, Corrupt> {
    let policies = [policy];
    let (look, _) = decide(stored, &policies, Request::Charge(0), now)?;
    let (decision, effect) = decide(stored, &policies, Request::Charge(amount), now)?;
    Ok(Draft { looked: look.binding().1, decision, effect })
}

/// Decides on all of them: all are charged, or none. The standings are those of the limiters, in their order.
#[must_use]
pub fn decide_all(drafts: Vec<Draft>, amount: u64) -> (Decision, Vec<Effect<Vec<u8>>>) {
    if drafts.iter().any(|draft| draft.decision.is_denied()) {
        let standing = |draft: &Draft| if draft.decision.is_denied() { draft.decision.binding().1 } else { draft.looked };
        return (Decision { granted: 0, standings: drafts.iter().map(standing).collect() }, Vec::new());
    }
    let standings = drafts.iter().map(|draft| draft.decision.binding().1).collect();
    (Decision { granted: amount, standings }, drafts.into_iter().map(|draft| draft.effect).collect())
}

/// How many whole units are left of `full` when `used` of it is, both in units of 1/`unit`. Rounded down, also below zero.
fn floor_units(full: u128, used: u128, unit: u128) -> i64 {
    let units = |level: u128| i64::try_from(level.checked_div(unit).unwrap_or(0)).unwrap_or(i64::MAX);
    match full.checked_sub(used) {
        Some(left) => units(left),
        None => units(used.saturating_sub(full).saturating_add(unit.saturating_sub(1))).saturating_neg(),
    }
}
