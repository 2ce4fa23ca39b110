//! Points in time and durations. Their types state the unit, and their arithmetic is checked or saturating.
//!
//! A point is microseconds or milliseconds since the Unix epoch, never negative. Durations from requests are bounded, so a point plus a
//! duration never leaves the range.

/// The longest lease, period or window in a request: one year of 365 days, in milliseconds.
pub const MAX_DURATION_MS: i64 = 31_536_000_000;

/// A duration in whole milliseconds, at most [`MAX_DURATION_MS`] when it comes from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DurationMs(pub u64);

impl DurationMs {
    #[must_use]
    pub fn micros(self) -> u64 {
        self.0.saturating_mul(1000)
    }

    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }

    /// The duration as an integer reply.
    #[must_use]
    pub fn reply(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The start of this millisecond.
    #[must_use]
    pub fn micros(self) -> UnixMicros {
        UnixMicros(self.0.saturating_mul(1000))
    }

    #[must_use]
    pub fn plus(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    #[must_use]
    pub fn minus(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_sub(duration.0))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }

    /// The point as the type that the server's expiry calls take.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }
}

/// Microseconds since the Unix epoch, the unit of the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub u64);

impl UnixMicros {
    /// The millisecond that contains this point.
    #[must_use]
    pub fn floor_ms(self) -> UnixMs {
        UnixMs(self.0 / 1000)
    }

    /// The first millisecond that begins at or after this point: the expiry time of a key that must last until this point. Redis 7.2 and
    /// later may delete a key at the start of the millisecond in which it expires; other servers keep it for that millisecond.
    #[must_use]
    pub fn ceil_ms(self) -> UnixMs {
        UnixMs(self.0.div_ceil(1000))
    }

    #[must_use]
    pub fn plus(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Microseconds since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds until `later`, rounded up, so that a client that waits that long is never early.
    #[must_use]
    pub fn until(self, later: Self) -> DurationMs {
        DurationMs(later.since(self).div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_is_rounded_up_and_never_negative() {
        assert_eq!(UnixMicros(1_000).until(UnixMicros(1_001)), DurationMs(1));
        assert_eq!(UnixMicros(1_000).until(UnixMicros(2_000)), DurationMs(1));
        assert_eq!(UnixMicros(1_000).until(UnixMicros(2_001)), DurationMs(2));
        assert_eq!(UnixMicros(2_000).until(UnixMicros(1_000)), DurationMs(0));
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(UnixMs(u64::MAX).plus(DurationMs(1)), UnixMs(u64::MAX));
        assert_eq!(UnixMs(u64::MAX).micros(), UnixMicros(u64::MAX));
        assert_eq!(UnixMs(u64::MAX).as_i64(), i64::MAX);
    }
}
