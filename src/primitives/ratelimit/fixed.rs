//! The fixed window: a counter that starts with the first hit and is forgotten when the window ends.
//!
//! The start is kept in milliseconds, rounded up: a window is never shorter than asked for.

use super::state::{self, Stored};
use super::{Policy, Standing};
use crate::primitives::time::{DurationMs, UnixMicros, UnixMs};

/// `FIXED limit window-ms`; both numbers are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// Units per window.
    pub limit: u64,
    /// The window.
    pub window: DurationMs,
}

/// What was used in the window that began at `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    start: UnixMs,
    used: u64,
}

impl Fixed {
    /// A window that begins now.
    pub(super) fn fresh(self, now: UnixMicros) -> Window {
        Window { start: now.ceil_ms(), used: 0 }
    }

    fn end(self, window: Window) -> UnixMicros {
        window.start.plus(self.window).micros()
    }

    /// The window that now lies in, from what is stored. `None` when that is another kind, is over, or belongs to a clock that is gone.
    pub(super) fn adopt(self, stored: Stored, now: UnixMicros) -> Option<Window> {
        let Stored::Fixed { start, used } = stored else { return None };
        let window = Window { start, used: used.min(self.limit) };
        let current = self.end(window) > now && start.micros().since(now) <= self.window.micros();
        current.then_some(window)
    }

    pub(super) fn standing(self, window: Window, cost: u64, now: UnixMicros) -> Standing<Window> {
        let charged = Window { used: window.used.saturating_add(cost), ..window };
        let full_at = |window: Window| if window.used == 0 { now } else { self.end(window) };
        Standing {
            limit: self.limit,
            available: self.limit.saturating_sub(window.used),
            ready_at: (cost <= self.limit).then(|| self.end(window)),
            full_at: full_at(window),
            charged,
            charged_full_at: full_at(charged),
        }
    }

    pub(super) fn encode(window: Window) -> Vec<u8> {
        state::encode(Stored::Fixed { start: window.start, used: window.used })
    }
}

impl From<Fixed> for Policy {
    fn from(fixed: Fixed) -> Self {
        Self::Fixed(fixed)
    }
}
