//! The change that a decision makes to its key, as a value.
//!
//! The keyspace applies, replicates and announces an effect from this one value. Every effect says what happens to the TTL, so a write
//! cannot forget it.

use super::codec::Bytes;
use super::due::Score;
use super::time::{DurationMs, UnixMs};

/// The one change that a decision makes to its key. `V` is the type of the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<V> {
    /// A no-op: no write, no replication, no event. It does not affect WATCH.
    Keep,
    /// The key becomes the string `value`.
    Put {
        value: V,
        expiry: Expiry,
    },
    /// Adds `delta` to the counter in the string, which becomes `value` and keeps its TTL.
    Add {
        value: V,
        delta: i64,
    },
    /// Parts of the string change; it grows if a part lies past its end. The parts replicate, not the whole string.
    Patch {
        /// In the order in which they are written.
        parts: Vec<Part>,
        /// The new expiry time of the key.
        until: UnixMs,
    },
    /// The value stays; the key expires at this time.
    Expire(UnixMs),
    Delete,
    /// Sets a field of the hash and removes the field's own TTL, as HSET does.
    SetField {
        field: V,
        value: V,
    },
    /// Adds `delta` to an integer field of the hash, which becomes `value` and keeps its own TTL, as with HINCRBY.
    AddToField {
        field: V,
        value: V,
        delta: i64,
    },
    /// Adds elements to the list, then drops some at its other end.
    Push {
        /// The end at which they are added, one after the other.
        end: End,
        values: Vec<V>,
        /// The number of elements dropped at the other end.
        dropped: u64,
        /// The new expiry time of the key; `None` keeps its TTL.
        until: Option<UnixMs>,
    },
    /// Adds members to the sorted set or changes their scores, which are whole numbers, and removes members.
    Members {
        set: Vec<(V, i64)>,
        /// No member is both set and removed.
        removed: Vec<V>,
        /// The new expiry time of the key; `None` keeps its TTL.
        until: Option<UnixMs>,
    },
    /// Adds, moves and removes members of the sorted set by their scores. The key keeps its TTL.
    Schedule(Scheduled<V>),
}

/// Changes of the members of a sorted set. No member is in two of the lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled<V> {
    /// Members that the set does not have.
    pub added: Vec<(V, Score)>,
    /// Members that the set has, with other scores.
    pub moved: Vec<(V, Score)>,
    pub removed: Vec<V>,
    /// Whether one member is removed, the first in the order of the set, and nothing else changes.
    pub pops: bool,
    /// The expiry time of a set that is created; `None` if the set exists or has no TTL.
    pub until: Option<UnixMs>,
}

impl<V> Default for Scheduled<V> {
    fn default() -> Self {
        Self { added: Vec::new(), moved: Vec::new(), removed: Vec::new(), pops: false, until: None }
    }
}

/// A part of a stored string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub offset: usize,
    pub bytes: Bytes,
}

/// The parts that turn one string into another, in units of [`GRAIN`] bytes. `None` if the string gets shorter, or if there are so many
/// differences that writing the whole string is cheaper.
#[must_use]
pub fn differences(before: &[u8], after: &[u8]) -> Option<Vec<Part>> {
    let mut parts: Vec<Part> = Vec::new();
    for (index, grain) in after.chunks(GRAIN).enumerate() {
        let offset = index.saturating_mul(GRAIN);
        if before.get(offset..offset.saturating_add(grain.len())) == Some(grain) {
            continue;
        }
        match parts.last_mut() {
            Some(last) if last.offset.saturating_add(last.bytes.len()) == offset => last.bytes.extend_from_slice(grain),
            _ => parts.push(Part { offset, bytes: Bytes::from_slice(grain) }),
        }
    }
    let written: usize = parts.iter().map(|part| part.bytes.len()).sum();
    let few = parts.len() <= MAX_PARTS && written <= after.len() / 2;
    if few && before.len() <= after.len() { Some(parts) } else { None }
}

/// Strings are compared in units of this many bytes.
const GRAIN: usize = 32;

/// Each part replicates as one command.
const MAX_PARTS: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

impl End {
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

impl<V> Effect<V> {
    /// When the key expires; `None` if the effect sets no expiry time. An effect whose time has passed is a deletion, so that no key is
    /// ever written with a TTL in the past.
    #[must_use]
    pub fn until(&self) -> Option<UnixMs> {
        match self {
            Self::Put { expiry: Expiry::At(at), .. } | Self::Patch { until: at, .. } | Self::Expire(at) => Some(*at),
            Self::Push { until, .. } | Self::Members { until, .. } | Self::Schedule(Scheduled { until, .. }) => *until,
            _ => None,
        }
    }
}

/// The TTL of a written key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Keep,
    Clear,
    /// The key expires at this time.
    At(UnixMs),
}

/// An expiry as a request gives it: `EX`, `PX`, `EXAT`, `PXAT`, `KEEPTTL` or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryRequest {
    /// No option: like SET, the TTL is cleared.
    Clear,
    /// `KEEPTTL`.
    Keep,
    /// `EX` or `PX`: this long from now.
    After(DurationMs),
    /// `EXAT` or `PXAT`.
    At(UnixMs),
}

impl ExpiryRequest {
    /// The absolute form, which replicates. Only a duration needs the time.
    #[must_use]
    pub fn resolve(self, now: impl FnOnce() -> UnixMs) -> Expiry {
        match self {
            Self::Clear => Expiry::Clear,
            Self::Keep => Expiry::Keep,
            Self::After(duration) => Expiry::At(now().plus(duration)),
            Self::At(at) => Expiry::At(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_differences_are_written_as_parts() {
        let before = [0_u8; 300];
        let part = |offset, bytes: &[u8]| Part { offset, bytes: Bytes::from_slice(bytes) };
        let with = |changes: &[(usize, u8)], length| {
            let mut after = before.to_vec();
            after.resize(length, 7);
            changes.iter().for_each(|(at, byte)| {
                if let Some(place) = after.get_mut(*at) {
                    *place = *byte
                }
            });
            after
        };
        let grain = |at: usize, byte| {
            let mut grain = [0; GRAIN];
            if let Some(place) = grain.get_mut(at) {
                *place = byte;
            }
            grain
        };
        assert_eq!(differences(&before, &before), Some(Vec::new()));
        assert_eq!(differences(&before, &with(&[(40, 1)], 300)), Some(vec![part(32, &grain(8, 1))]));
        let joined = [grain(31, 1), grain(0, 2)].concat();
        assert_eq!(differences(&before, &with(&[(63, 1), (64, 2)], 300)), Some(vec![part(32, &joined)]));
        let grown = [[0; 12].as_slice(), &[7; 8]].concat();
        assert_eq!(differences(&before, &with(&[], 308)), Some(vec![part(288, &grown)]));
        assert_eq!(differences(&before, &with(&[], 299)), None, "it got shorter");
        let far: Vec<_> = (0..5).map(|index| (index * 64, 1)).collect();
        assert_eq!(differences(&before, &with(&far, 300)), None, "too many parts");
        assert_eq!(differences(&before, &[1; 300]), None, "everything");
    }

    #[test]
    fn an_effect_knows_the_expiry_time_that_it_sets() {
        let put = |expiry| Effect::Put { value: (), expiry };
        assert_eq!(put(Expiry::At(UnixMs(10))).until(), Some(UnixMs(10)));
        assert_eq!(Effect::<()>::Expire(UnixMs(9)).until(), Some(UnixMs(9)));
        for expiry in [Expiry::Keep, Expiry::Clear] {
            assert_eq!(put(expiry).until(), None);
        }
        let push = |until| Effect::Push { end: End::Left, values: vec![()], dropped: 0, until };
        assert_eq!([push(None).until(), push(Some(UnixMs(8))).until()], [None, Some(UnixMs(8))]);
    }

    #[test]
    fn relative_expiries_become_absolute() {
        assert_eq!(ExpiryRequest::After(DurationMs(5)).resolve(|| UnixMs(10)), Expiry::At(UnixMs(15)));
        assert_eq!(ExpiryRequest::At(UnixMs(7)).resolve(|| UnixMs(10)), Expiry::At(UnixMs(7)));
        assert_eq!(ExpiryRequest::Keep.resolve(|| UnixMs(10)), Expiry::Keep);
        assert_eq!(ExpiryRequest::Clear.resolve(|| UnixMs(10)), Expiry::Clear);
    }
}
