//! Iteration over the members of a sorted set by score.
//!
//! The server keeps the state of an iteration in the handle of the key, one iteration at a time, and a write leaves that state dangling.
//! So a [`ScoreRange`] borrows the value exclusively and stops the iteration when it is dropped.

use std::ffi::c_int;

use super::key::ValueMut;
use super::module_api::{OwnedStr, api, done};
use crate::primitives::codec::Bytes;

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
    place: Place,
}

/// Where an iteration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before a member that was not read.
    Before,
    /// On a member that was read. The step to the next one is taken when that is asked for.
    On,
    End,
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
        ScoreRange { set: self, direction, place: if done(status).is_ok() { Place::Before } else { Place::End } }
    }
}

impl Iterator for ScoreRange<'_> {
    type Item = (Bytes, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if self.place == Place::End || self.place == Place::On && !self.step() {
            return None;
        }
        self.place = Place::On;
        let mut score = 0.0;
        // SAFETY: the iteration was started on this open key, and the exclusive borrow allowed no write since.
        let member = unsafe { api!(RedisModule_ZsetRangeCurrentElement)(self.set.raw(), &raw mut score) };
        if member.is_null() {
            self.place = Place::End;
            return None;
        }
        // SAFETY: the server made this string for the caller, outside of any context.
        let member = unsafe { OwnedStr::from_raw(member) };
        Some((Bytes::from_slice(member.as_str().bytes()), score))
    }
}

impl ScoreRange<'_> {
    /// Moves to the next member, if there is one.
    fn step(&mut self) -> bool {
        // SAFETY: the iteration was started on this open key, and the exclusive borrow allowed no write since.
        let moved = unsafe {
            match self.direction {
                Direction::Ascending => api!(RedisModule_ZsetRangeNext)(self.set.raw()),
                Direction::Descending => api!(RedisModule_ZsetRangePrev)(self.set.raw()),
            }
        };
        if moved == 0 {
            self.place = Place::End;
        }
        moved != 0
    }
}

impl Drop for ScoreRange<'_> {
    fn drop(&mut self) {
        // SAFETY: the key is still open and unchanged, since this value borrows it exclusively.
        unsafe { api!(RedisModule_ZsetRangeStop)(self.set.raw()) };
    }
}
