//! The score of a member, and what it means as a time.

use std::cmp::Ordering;

use crate::primitives::number::Number;
use crate::primitives::time::UnixMs;

/// The score of a member: a double, never NaN. Scores compare as numbers, so 0 equals -0.
#[derive(Debug, Clone, Copy)]
pub struct Score(f64);

impl Score {
    /// The score of a member that is never due.
    pub const NEVER: Self = Self(f64::INFINITY);

    /// `None` for NaN, which no sorted set holds.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        if value.is_nan() { None } else { Some(Self(value)) }
    }

    /// Reads a decimal number or an infinity, as ZADD does.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match Number::parse(text)? {
            // The nearest double, as ZADD reads it.
            #[allow(clippy::cast_precision_loss)]
            Number::Integer(value) => Some(Self(value as f64)),
            Number::Double(value) => Self::new(value),
        }
    }

    #[must_use]
    pub fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        // Neither is NaN.
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

/// The unit of the scores of a set: milliseconds or seconds since the Unix epoch, with a fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Millis,
    Seconds,
}

/// 2^64, the first double above the range of a [`UnixMs`].
const BEYOND: f64 = 18_446_744_073_709_551_616.0;

impl Unit {
    /// The first millisecond at which a member with this score is due; `None` means never. A higher score is never due earlier.
    #[must_use]
    pub fn due_at(self, score: Score) -> Option<UnixMs> {
        let millis = match self {
            Self::Millis => score.0,
            Self::Seconds => score.0 * 1000.0,
        };
        // In range, and whole after rounding up, so the cast is exact. Earlier than the epoch is the epoch.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        if millis < BEYOND { Some(UnixMs(millis.ceil().max(0.0) as u64)) } else { None }
    }
}
