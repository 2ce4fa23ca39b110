//! The bucket with continuous refill: it holds `capacity` units, and `refill` units return evenly over each `period`.
//!
//! The maths: let P be the period in microseconds. The usage is a level in units of 1/P of a token. One token is P of these units, and
//! `refill` of them drain per microsecond, so every quantity is an integer and nothing is rounded while the period stays the same. The
//! level is stored with its time in microseconds, without the refill, so a request with another refill finds the exact usage.
//!
//!   level(t) = max(0, level - refill * (t - since))        granted  <=>  level + cost * P <= capacity * P
//!
//! The largest level, with a debt of one capacity, is 2 * capacity * P = 2 * 10^12 * 3.2 * 10^13 < 2^86, so a u128 holds every product
//! below.

use super::state::Stored;
use super::{Ask, floor_units};
use crate::primitives::time::{DurationMs, UnixMicros};

/// `BUCKET capacity refill period-ms`; every number is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Units that can be used at once.
    pub capacity: u64,
    /// Units that return per period.
    pub refill: u64,
    pub period: DurationMs,
}

/// The usage at a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// The time of the level. Never before the time at which it was computed.
    since: UnixMicros,
    /// Used units times the period in microseconds.
    level: u128,
}

impl Bucket {
    fn token(self) -> u128 {
        u128::from(self.period.micros()).max(1)
    }

    fn tokens(self, units: u64) -> u128 {
        u128::from(units).saturating_mul(self.token())
    }

    fn brim(self) -> u128 {
        self.tokens(self.capacity)
    }

    /// Microseconds in which `level` drains, rounded up.
    fn drain_time(self, level: u128) -> u64 {
        u64::try_from(level.div_ceil(u128::from(self.refill.max(1)))).unwrap_or(u64::MAX)
    }

    pub(super) fn window(self) -> DurationMs {
        let ms = u128::from(self.capacity).saturating_mul(self.period.0.into()).div_ceil(u128::from(self.refill.max(1)));
        DurationMs(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    pub(super) fn full(now: UnixMicros) -> Level {
        Level { since: now, level: 0 }
    }

    /// The level now, from the stored one. `None` if that is of another kind or from a clock that is gone.
    pub(super) fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Level> {
        let Stored::Bucket { since, level, period } = stored else { return None };
        if since > now && since.since(now) > self.drain_time(self.brim()) {
            return None;
        }
        // A larger bucket may have left more than this one holds. The clamp applies at the stored time, not now: a denial stores
        // nothing, and the level must still fall between denials.
        let level = rescale(level, u128::from(period.micros()).max(1), self.token()).min(self.tokens(most));
        let drained = u128::from(self.refill).saturating_mul(u128::from(now.since(since)));
        Some(Level { since: since.max(now), level: level.saturating_sub(drained) })
    }

    pub(super) fn remaining(self, used: Level) -> i64 {
        floor_units(self.brim(), used.level, self.token())
    }

    /// When `ask` can be granted; `None` means never.
    pub(super) fn ready_at(self, used: Level, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        let ceiling = self.tokens(ask.ceiling(self.capacity)?);
        match used.level.saturating_add(self.tokens(ask.amount)).saturating_sub(ceiling) {
            0 => Some(now),
            excess => Some(used.since.plus(self.drain_time(excess))),
        }
    }

    pub(super) fn full_at(self, used: Level, now: UnixMicros) -> UnixMicros {
        if used.level == 0 { now } else { used.since.plus(self.drain_time(used.level)) }
    }

    pub(super) fn charge(self, used: &mut Level, amount: u64) {
        used.level = used.level.saturating_add(self.tokens(amount));
    }

    /// Refunds up to `amount` units and returns how many; the last one may be a part of a unit.
    pub(super) fn refund(self, used: &mut Level, amount: u64) -> u64 {
        let given = self.tokens(amount).min(used.level);
        used.level = used.level.saturating_sub(given);
        u64::try_from(given.div_ceil(self.token())).unwrap_or(amount)
    }

    pub(super) fn in_debt(self, used: Level) -> bool {
        used.level > self.brim()
    }

    pub(super) fn stored(self, used: Level) -> Stored {
        Stored::Bucket { since: used.since, level: used.level, period: self.period }
    }
}

/// `level` in the units of another period. Whole tokens convert exactly. A part of a token is rounded up, by less than a microsecond's
/// drain, so that a changed policy never grants extra units.
fn rescale(level: u128, from: u128, to: u128) -> u128 {
    if from == to {
        return level;
    }
    let tokens = level.checked_div(from).unwrap_or(0);
    let part = level.checked_rem(from).unwrap_or(0);
    tokens.saturating_mul(to).saturating_add(part.saturating_mul(to).div_ceil(from))
}
