//! Iteration over the members of a sorted set by score.
//!
//! The server keeps the state of an iteration in the handle of the key, one iteration at a time, and a write leaves that state dangling.
//! So a [`ScoreRange`] borrows the value exclusively and stops the iteration when it is dropped.

use std::ffi::c_int;

use super::key::ValueMut;
use super::module_api::{OwnedStr, api, done};

/// The order of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// The members with a score of at least a given one.
pub struct ScoreRange<'r> {
    set: ValueMut<'r>,
    direction: Direction,
    more: bool,
}

impl<'h> ValueMut<'h> {
    /// Iterates over the members of the sorted set with a score of at least `min`, from the lowest score or from the highest. A value of
    /// another type has no members.
    #[must_use]
    pub fn into_range(self, direction: Direction, min: f64) -> ScoreRange<'h> {
        const INCLUSIVE: c_int = 0;
        // SAFETY: `ValueMut` proves an open key with a value and borrows it until the iteration is stopped in `drop`.
        let status = unsafe {
            let start = match direction {
                Direction::Ascending => api!(RedisModule_ZsetFirstInScoreRange),
                Direction::Descending => api!(RedisModule_ZsetLastInScoreRange),
            };
            start(self.raw(), min, f64::INFINITY, INCLUSIVE, INCLUSIVE)
        };
        ScoreRange { set: self, direction, more: done(status).is_ok() }
    }
}

impl Iterator for ScoreRange<'_> {
    type Item = (Vec<u8>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.more {
            return None;
        }
        let mut score = 0.0;
        // SAFETY: the iteration was started on this open key, and the exclusive borrow allowed no write since.
        let member = unsafe { api!(RedisModule_ZsetRangeCurrentElement)(self.set.raw(), &raw mut score) };
        if member.is_null() {
            return None;
        }
        // SAFETY: the server made this string for the caller, outside of any context.
        let member = unsafe { OwnedStr::from_raw(member) };
        // SAFETY: the iteration was started on this open key, and the exclusive borrow allowed no write since.
        self.more = unsafe {
            match self.direction {
                Direction::Ascending => api!(RedisModule_ZsetRangeNext)(self.set.raw()),
                Direction::Descending => api!(RedisModule_ZsetRangePrev)(self.set.raw()),
            }
        } != 0;
        Some((member.as_str().bytes().to_vec(), score))
    }
}

impl Drop for ScoreRange<'_> {
    fn drop(&mut self) {
        // SAFETY: the key is still open and unchanged, since this value borrows it exclusively.
        unsafe { api!(RedisModule_ZsetRangeStop)(self.set.raw()) };
    }
}
