//! The log: an exact sliding window that stores when each unit was used. All LOG policies of a key share one [`Ring`], since they are
//! charged together. Each looks back as far as its own window.

use super::Ask;
use super::ring::Ring;
use crate::primitives::time::{DurationMs, UnixMicros};

/// The largest limit of a log, which bounds its memory.
pub const MAX_LOG: i64 = 10_000;

/// `LOG limit window-ms`; both numbers are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Units in any window.
    pub limit: u64,
    pub window: DurationMs,
}

impl Log {
    /// Units used in the window that ends now. Units before the mark do not count. No unit counts if the newest hit is from a clock that
    /// is gone.
    pub(super) fn adopt(self, mark: u32, ring: &Ring<'_>, most: u64, now: UnixMicros) -> u64 {
        if ring.newest().is_none_or(|newest| newest.since(now) > self.window.micros()) {
            return 0;
        }
        let live = ring.units_from(ring.partition(|entry| entry.at.plus(self.window.micros()) <= now));
        live.min(ring.units_since(mark)).min(most)
    }

    pub(super) fn remaining(self, used: u64) -> i64 {
        self.limit.cast_signed().saturating_sub_unsigned(used)
    }

    /// When `ask` can be granted; `None` means never.
    pub(super) fn ready_at(self, used: u64, ask: Ask, ring: &Ring<'_>, now: UnixMicros) -> Option<UnixMicros> {
        let room = ask.ceiling(self.limit)?.saturating_sub(ask.amount);
        if used <= room {
            return Some(now);
        }
        // The oldest entries must leave the window, up to the last one from which more than `room` units are counted.
        let leaving = ring.partition(|entry| ring.units_since(entry.before) > room);
        let last = ring.entry(leaving.saturating_sub(1)).map_or(now, |entry| entry.at);
        Some(last.plus(self.window.micros()))
    }

    pub(super) fn full_at(self, used: u64, ring: &Ring<'_>, now: UnixMicros) -> UnixMicros {
        match ring.newest() {
            Some(newest) if used > 0 => newest.plus(self.window.micros()),
            _ => now,
        }
    }
}
