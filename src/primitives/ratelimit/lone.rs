//! The decision on a limiter with one unnamed BUCKET, FIXED or SLIDING, which most limiters are: the same outcome as that of a `Limiter`
//! without its cost.

use super::bucket::{Bucket, Level};
use super::fixed::{Fixed, Window};
use super::sliding::{Sliding, Windows};
use super::state::{self, Record, Stored};
use super::usage::most;
use super::{Ask, Decision, Kind, PerPolicy, Standing};
use crate::primitives::codec::Bytes;
use crate::primitives::effect::{Effect, Expiry};
use crate::primitives::time::{DurationMs, UnixMicros};

/// Decides on a charge. `None` for a LOG and for any state but that of one unnamed policy of this kind: they need a `Limiter`.
pub(super) fn charge(stored: Option<&[u8]>, kind: Kind, ask: Ask, now: UnixMicros) -> Option<(Decision, Effect<Bytes>)> {
    match kind {
        Kind::Bucket(bucket) => Some(decide(bucket, state::lone(stored, state::BUCKET)?, ask, now)),
        Kind::Fixed(fixed) => Some(decide(fixed, state::lone(stored, state::FIXED)?, ask, now)),
        Kind::Sliding(sliding) => Some(decide(sliding, state::lone(stored, state::SLIDING)?, ask, now)),
        Kind::Log(_) => None,
    }
}

fn decide<P: Policy>(policy: P, record: Option<Record<'_>>, ask: Ask, now: UnixMicros) -> (Decision, Effect<Bytes>) {
    let mut used = record.and_then(|record| policy.adopt(record.stored, most(policy.limit(), &record), now));
    let used = used.get_or_insert_with(|| policy.full(now));
    let ready_at = policy.ready_at(used, ask, now);
    let granted = ready_at.is_some_and(|at| at <= now);
    if granted {
        policy.charge(used, ask.amount, now);
    }
    let full_at = policy.full_at(used, now);
    let standing = Standing {
        limit: policy.limit(),
        remaining: policy.remaining(used, now),
        retry_after: if granted { Some(DurationMs(0)) } else { ready_at.map(|at| now.until(at)) },
        reset_after: now.until(full_at),
    };
    let effect = if granted {
        let (stored, in_debt) = policy.stored(used);
        Effect::Put { value: state::encode_lone(stored, in_debt), expiry: Expiry::At(full_at.ceil_ms()) }
    } else {
        Effect::Keep
    };
    (Decision { granted: if granted { ask.amount } else { 0 }, standings: PerPolicy::from_buf([standing]) }, effect)
}

/// What a policy says about its usage.
trait Policy: Copy {
    type Used: Copy;

    fn limit(self) -> u64;
    fn full(self, now: UnixMicros) -> Self::Used;
    fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Self::Used>;
    fn ready_at(self, used: &Self::Used, ask: Ask, now: UnixMicros) -> Option<UnixMicros>;
    fn charge(self, used: &mut Self::Used, amount: u64, now: UnixMicros);
    fn full_at(self, used: &Self::Used, now: UnixMicros) -> UnixMicros;
    fn remaining(self, used: &Self::Used, now: UnixMicros) -> i64;
    /// What is stored, and whether the usage is in debt.
    fn stored(self, used: &Self::Used) -> (Stored, bool);
}

impl Policy for Bucket {
    type Used = Level;

    fn limit(self) -> u64 {
        self.capacity
    }

    fn full(self, now: UnixMicros) -> Level {
        Self::full(now)
    }

    fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Level> {
        self.adopt(stored, most, now)
    }

    fn ready_at(self, used: &Level, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        self.ready_at(*used, ask, now)
    }

    fn charge(self, used: &mut Level, amount: u64, _now: UnixMicros) {
        self.charge(used, amount);
    }

    fn full_at(self, used: &Level, now: UnixMicros) -> UnixMicros {
        self.full_at(*used, now)
    }

    fn remaining(self, used: &Level, _now: UnixMicros) -> i64 {
        self.remaining(*used)
    }

    fn stored(self, used: &Level) -> (Stored, bool) {
        (self.stored(*used), self.in_debt(*used))
    }
}

impl Policy for Fixed {
    type Used = Window;

    fn limit(self) -> u64 {
        self.limit
    }

    fn full(self, now: UnixMicros) -> Window {
        self.full(now)
    }

    fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Window> {
        self.adopt(stored, most, now)
    }

    fn ready_at(self, used: &Window, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        self.ready_at(*used, ask, now)
    }

    fn charge(self, used: &mut Window, amount: u64, _now: UnixMicros) {
        Self::charge(used, amount);
    }

    fn full_at(self, used: &Window, now: UnixMicros) -> UnixMicros {
        self.full_at(*used, now)
    }

    fn remaining(self, used: &Window, _now: UnixMicros) -> i64 {
        self.remaining(*used)
    }

    fn stored(self, used: &Window) -> (Stored, bool) {
        (Self::stored(*used), self.in_debt(*used))
    }
}

impl Policy for Sliding {
    type Used = Windows;

    fn limit(self) -> u64 {
        self.limit
    }

    fn full(self, now: UnixMicros) -> Windows {
        self.full(now)
    }

    fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Windows> {
        self.adopt(stored, most, now)
    }

    fn ready_at(self, used: &Windows, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        self.ready_at(*used, ask, now)
    }

    fn charge(self, used: &mut Windows, amount: u64, now: UnixMicros) {
        self.charge(used, amount, now);
    }

    fn full_at(self, used: &Windows, now: UnixMicros) -> UnixMicros {
        self.full_at(*used, now)
    }

    fn remaining(self, used: &Windows, now: UnixMicros) -> i64 {
        self.remaining(*used, now)
    }

    fn stored(self, used: &Windows) -> (Stored, bool) {
        (Self::stored(*used), self.in_debt(*used))
    }
}
