//! Counters with bounds, stored in a string or in a hash field.
//!
//! [`decide`] does the arithmetic in 128 bits. [`of_key`] and [`of_field`] turn its outcome into the effect on a string or on a field.
//!
//! Invariants: a refused addition changes nothing; a written value lies within the bounds, whatever the value was before; an outcome that
//! leaves value and TTL unchanged is a no-op.

use super::codec::Bytes;
use super::effect::{Effect, Expiry, ExpiryRequest};
use super::number::Digits;
use super::time::UnixMs;

#[cfg(test)]
mod tests;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub delta: i64,
    pub min: i64,
    /// Not below `min`.
    pub max: i64,
    pub beyond: Beyond,
    /// The value that a missing counter starts from.
    pub init: i64,
}

/// What happens to a result beyond the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// Nothing changes.
    Refuse,
    /// The result is the nearest limit.
    Saturate,
    /// A result at or above the upper limit becomes this value, which lies within the limits. A result below the lower limit is
    /// refused.
    Wrap(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {
    /// The result would lie beyond the limits; nothing changed.
    Refused,
    /// The delta was added, as far as the limits allow.
    Added,
    Wrapped,
}

impl Applied {
    /// The reply: 0, 1 or 2.
    #[must_use]
    pub fn reply(self) -> i64 {
        match self {
            Self::Refused => 0,
            Self::Added => 1,
            Self::Wrapped => 2,
        }
    }
}

/// The outcome of an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    pub applied: Applied,
    /// The value of the counter now. If a missing counter was refused, the value that it would start from.
    pub value: i64,
    /// The change of the value. A change of more than 64 bits (possible with SATURATE and WRAP) counts as the largest number.
    pub delta: i64,
    before: Before,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Missing,
    /// The difference to the new value; `None` if it does not fit into 64 bits.
    Moved(Option<i64>),
}

/// Adds to a counter. `stored` is its value, if it exists.
#[must_use]
pub fn decide(stored: Option<i64>, rule: &Rule) -> Count {
    let start = stored.unwrap_or(rule.init);
    let sum = i128::from(start).saturating_add(i128::from(rule.delta));
    let (applied, value) = bounded(sum, rule).unwrap_or((Applied::Refused, start));
    let moved = i128::from(value).saturating_sub(i128::from(start));
    let exact = i64::try_from(moved).ok();
    let delta = exact.unwrap_or(if moved < 0 { i64::MIN } else { i64::MAX });
    let before = if stored.is_some() { Before::Moved(exact) } else { Before::Missing };
    Count { applied, value, delta, before }
}

/// The result for a sum under the rule; `None` if it is refused.
fn bounded(sum: i128, rule: &Rule) -> Option<(Applied, i64)> {
    let within = |sum: i128| i64::try_from(sum).ok().filter(|sum| (rule.min..=rule.max).contains(sum));
    match rule.beyond {
        Beyond::Wrap(value) if sum >= i128::from(rule.max) => Some((Applied::Wrapped, value)),
        Beyond::Saturate => {
            let clamped = sum.clamp(rule.min.into(), rule.max.max(rule.min).into());
            within(clamped).map(|value| (Applied::Added, value))
        }
        Beyond::Refuse | Beyond::Wrap(_) => within(sum).map(|value| (Applied::Added, value)),
    }
}

/// What a request does with the TTL of the counter's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Keep,
    Persist,
    /// Sets it on every write.
    Set(ExpiryRequest),
    /// Sets it if the key has none.
    SetIfNone(ExpiryRequest),
}

impl Life {
    fn resolve(self, until: Option<UnixMs>, now: UnixMs) -> Expiry {
        match self {
            Self::SetIfNone(_) if until.is_some() => Expiry::Keep,
            Self::Keep => Expiry::Keep,
            Self::Persist => Expiry::Clear,
            Self::Set(request) | Self::SetIfNone(request) => request.resolve(|| now),
        }
    }
}

/// For a counter in a string that expires at `until`: its new expiry time and the effect.
#[must_use]
pub fn of_key(count: &Count, life: Life, until: Option<UnixMs>, now: UnixMs) -> (Option<UnixMs>, Effect<Bytes>) {
    if count.applied == Applied::Refused {
        return (until, Effect::Keep);
    }
    let expiry = life.resolve(until, now);
    let after = match expiry {
        Expiry::Keep => until,
        Expiry::Clear => None,
        Expiry::At(at) => Some(at),
    };
    let effect = match (count.before, expiry) {
        (Before::Moved(Some(0)), _) if after == until => Effect::Keep,
        (Before::Moved(Some(0)), Expiry::At(at)) => Effect::Expire(at),
        (Before::Moved(Some(delta)), Expiry::Keep) => Effect::Add { value: text(count.value), delta },
        (before, expiry) => put(count.value, before == Before::Missing, expiry),
    };
    (after, effect)
}

/// Stores an integer. A new key has no TTL to keep, and the replication stream says so.
fn put(value: i64, missing: bool, expiry: Expiry) -> Effect<Bytes> {
    let expiry = if missing && expiry == Expiry::Keep { Expiry::Clear } else { expiry };
    Effect::Put { value: text(value), expiry }
}

fn text(value: i64) -> Bytes {
    Bytes::from_slice(Digits::new(value).as_bytes())
}

/// The effect on a counter in a hash field. The change of an existing field is an addition, even if it wraps, so that the field keeps
/// its own TTL. A field is set only if it is missing or changes by more than 64 bits.
#[must_use]
pub fn of_field(count: &Count, field: &[u8]) -> Effect<Bytes> {
    match count.before {
        _ if count.applied == Applied::Refused => Effect::Keep,
        Before::Moved(Some(0)) => Effect::Keep,
        Before::Moved(Some(delta)) => Effect::AddToField { field: Bytes::from_slice(field), value: text(count.value), delta },
        Before::Moved(None) | Before::Missing => Effect::SetField { field: Bytes::from_slice(field), value: text(count.value) },
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The smallest balance of the source.
    pub min: i64,
    /// The largest balance of the destination.
    pub max: i64,
}

/// The outcome of a transfer, with the balances after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balances {
    pub applied: Applied,
    pub source: i64,
    pub destination: i64,
}

/// Moves `amount`, not negative, between two counters; a missing one is 0. The effects are those on source and destination.
#[must_use]
pub fn transfer(source: Option<i64>, destination: Option<i64>, amount: i64, limits: Limits) -> (Balances, [Effect<Bytes>; 2]) {
    let (from, to) = (source.unwrap_or(0), destination.unwrap_or(0));
    let after = from.checked_sub(amount).filter(|left| *left >= limits.min);
    let after = after.zip(to.checked_add(amount).filter(|sum| *sum <= limits.max));
    let Some((left, sum)) = after else {
        return (Balances { applied: Applied::Refused, source: from, destination: to }, [Effect::Keep, Effect::Keep]);
    };
    let effects = if amount == 0 {
        [Effect::Keep, Effect::Keep]
    } else {
        [put(left, source.is_none(), Expiry::Keep), put(sum, destination.is_none(), Expiry::Keep)]
    };
    (Balances { applied: Applied::Added, source: left, destination: sum }, effects)
}
