//! The sliding window in constant memory: two counters, the older of which fades out.
//!
//! The maths: windows of length W follow each other from the first hit on. At the time e into the current window,
//!
//!   used = previous * (W - e) / W + current        granted  <=>  used + cost <= limit
//!
//! as if the hits of the previous window were spread evenly. Everything is multiplied by W in microseconds, so nothing is rounded. If the
//! hits were not spread evenly, `used` is too low by at most previous * e / W, or too high by at most previous * (W - e) / W.

use super::state::Stored;
use super::{Ask, floor_units};
use crate::primitives::time::{DurationMs, UnixMicros};

/// `SLIDING limit window-ms`; both numbers are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sliding {
    /// Units per window.
    pub limit: u64,
    pub window: DurationMs,
}

/// The usage in the current window and in the previous one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The start of the current window.
    start: UnixMicros,
    previous: u64,
    current: u64,
    /// A cap on the usage, for the usage under a larger limit.
    most: u64,
}

impl Sliding {
    fn unit(self) -> u128 {
        u128::from(self.window.micros()).max(1)
    }

    fn units(self, count: u64) -> u128 {
        u128::from(count).saturating_mul(self.unit())
    }

    pub(super) fn full(self, now: UnixMicros) -> Windows {
        Windows { start: now, previous: 0, current: 0, most: self.limit }
    }

    fn end(self, windows: Windows) -> UnixMicros {
        windows.start.plus(self.window.micros())
    }

    /// The windows now, from the stored ones. `None` if those are of another kind, have ended, are unused, or are from a clock that is
    /// gone.
    pub(super) fn adopt(self, stored: Stored, most: u64, now: UnixMicros) -> Option<Windows> {
        let Stored::Sliding { start, previous, current } = stored else { return None };
        let windows = Windows { start, previous: previous.min(most), current: current.min(most), most };
        if start.since(now) > self.window.micros().saturating_mul(2) {
            return None;
        }
        let windows = match now.since(start).checked_div(self.window.micros()) {
            Some(0) => Some(windows),
            Some(1) => Some(Windows { start: start.plus(self.window.micros()), previous: windows.current, current: 0, most }),
            _ => None,
        };
        windows.filter(|windows| windows.previous > 0 || windows.current > 0)
    }

    fn used(self, windows: Windows, now: UnixMicros) -> u128 {
        let left = self.unit().saturating_sub(now.since(windows.start).into());
        let faded = u128::from(windows.previous).saturating_mul(left);
        faded.saturating_add(self.units(windows.current)).min(self.units(windows.most))
    }

    pub(super) fn remaining(self, windows: Windows, now: UnixMicros) -> i64 {
        floor_units(self.units(self.limit), self.used(windows, now), self.unit())
    }

    /// When `ask` can be granted; `None` means never.
    pub(super) fn ready_at(self, windows: Windows, ask: Ask, now: UnixMicros) -> Option<UnixMicros> {
        let ceiling = ask.ceiling(self.limit)?;
        if self.used(windows, now).saturating_add(self.units(ask.amount)) <= self.units(ceiling) {
            return Some(now);
        }
        // Either the previous window must fade far enough, or the current one must end and then fade.
        let room = ceiling.saturating_sub(ask.amount);
        Some(match room.checked_sub(windows.current) {
            Some(room) => windows.start.plus(self.fade_time(windows.previous, room)),
            None => self.end(windows).plus(self.fade_time(windows.current, room)),
        })
    }

    /// Microseconds into the next window until `count` has faded to `room` units, rounded up.
    fn fade_time(self, count: u64, room: u64) -> u64 {
        let left = self.units(room).checked_div(count.into()).unwrap_or(self.unit());
        u64::try_from(self.unit().saturating_sub(left)).unwrap_or(u64::MAX)
    }

    pub(super) fn full_at(self, windows: Windows, now: UnixMicros) -> UnixMicros {
        match windows {
            Windows { previous: 0, current: 0, .. } => now,
            Windows { current: 0, .. } => self.end(windows),
            _ => self.end(windows).plus(self.window.micros()),
        }
    }

    pub(super) fn charge(self, windows: &mut Windows, amount: u64, now: UnixMicros) {
        windows.current = windows.current.saturating_add(amount);
        // Usage in debt stays marked as such until it has faded; otherwise the next read would cap it at the limit.
        let unclamped = Windows { most: u64::MAX, ..*windows };
        let over = self.used(unclamped, now) > self.units(self.limit) || windows.previous.max(windows.current) > self.limit;
        windows.most = self.limit.saturating_mul(if over { 2 } else { 1 });
        windows.current = windows.current.min(windows.most);
    }

    /// Refunds up to `amount` units of the current window and returns how many.
    pub(super) fn refund(windows: &mut Windows, amount: u64) -> u64 {
        let given = amount.min(windows.current);
        windows.current = windows.current.saturating_sub(given);
        given
    }

    pub(super) fn in_debt(self, windows: Windows) -> bool {
        windows.most > self.limit
    }

    pub(super) fn stored(windows: Windows) -> Stored {
        Stored::Sliding { start: windows.start, previous: windows.previous, current: windows.current }
    }
}
