//! The fixed window: a counter that is dropped when its window ends.
//!
//! The window starts with the millisecond of the first hit, so that the key's TTL, in milliseconds, can end exactly with it. With ALIGN it
//! starts at a multiple of its length since the Unix epoch instead, so the first window may be short.

use super::Ask;
use super::state::Stored;
use crate::primitives::time::{DurationMs, UnixMicros};

/// `FIXED limit window-ms [ALIGN]`; both numbers are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Units per window.
    pub limit: u64,
    pub window: DurationMs,
    /// Windows start at multiples of their length since the Unix epoch.
    pub aligned: bool,
}

/// The usage in the window that began at `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: UnixMicros,
    used: u64,
}

impl Fixed {
    /// The start of the aligned window that contains `at`; without ALIGN, the start of its millisecond.
    fn align(self, at: UnixMicros) -> UnixMicros {
        let grid = if self.aligned { self.window.micros() } else { 1000 };
        UnixMicros(at.0.saturating_sub(at.0.checked_rem(grid).unwrap_or(0)))
    }

    pub(super) fn full(self, now: UnixMicros) -> Window {
        Window { start: self.align(now), used: 0 }
    }

    fn end(self, window: Window) -> UnixMicros {
        window.start.plus(self.window.micros())
    }

    /// The current window, from the stored one. `None` if that is of another kind, has ended, is unused, or is from a clock that is gone.
    pub(super) fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Window> {
        let Stored::Fixed { start, used } = stored else { return None };
        let window = Window { start: self.align(start), used: used.min(most) };
        let current = window.used > 0 && self.end(window) > now && window.start.since(now) <= self.window.micros();
        current.then_some(window)
    }

    pub(super) fn remaining(self, window: Window) -> i64 {
        self.limit.cast_signed().saturating_sub_unsigned(window.used)
    }

    /// When `ask` can be granted; `None` means never.
    pub(super) fn ready_at(self, window: Window, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        let fits = window.used.saturating_add(ask.amount) <= ask.ceiling(self.limit)?;
        Some(if fits { now } else { self.end(window) })
    }

    pub(super) fn full_at(self, window: Window, now: UnixMicros) -> UnixMicros {
        if window.used == 0 { now } else { self.end(window) }
    }

    pub(super) fn charge(window: &mut Window, amount: u64) {
        window.used = window.used.saturating_add(amount);
    }

    /// Refunds up to `amount` units and returns how many.
    pub(super) fn refund(window: &mut Window, amount: u64) -> u64 {
        let given = amount.min(window.used);
        window.used = window.used.saturating_sub(given);
        given
    }

    pub(super) fn in_debt(self, window: Window) -> bool {
        window.used > self.limit
    }

    pub(super) fn stored(window: Window) -> Stored {
        Stored::Fixed { start: window.start, used: window.used }
    }
}
