//! The sorted set at an open key, and the only place in this layer that iterates over one.
//!
//! The server keeps the state of an iteration in the handle of the key, one at a time, and a write leaves it pointing anywhere. So an
//! iterator borrows the value exclusively, and stops the iteration when it is dropped. A missing key is an empty set, of which the
//! server is asked nothing; it creates the set with the first member.

use std::ffi::c_int;

use crate::error::{Error, Result};
use crate::primitives::semaphore::Permits;
use crate::server::key::{KeyHandle, Kind, ValueMut};
use crate::server::module_api::{OwnedStr, Str, api, done};

/// A sorted set, or a key that can become one.
pub struct SortedSet<'h> {
    handle: &'h mut KeyHandle,
}

impl<'h> SortedSet<'h> {
    /// The set at an open key. Another type is refused.
    pub(super) fn at(handle: &'h mut KeyHandle) -> Result<Self> {
        match handle.value() {
            Some(value) if value.kind() != Kind::SortedSet => Err(Error::WrongType),
            _ => Ok(Self { handle }),
        }
    }

    /// Whether there is no key.
    pub(super) fn is_missing(&self) -> bool {
        self.handle.value().is_none()
    }

    /// Adds a member or changes its score. Whole numbers are exact as a double up to 2^53, times far beyond any lease.
    pub(super) fn set(&mut self, member: Str<'_>, score: i64) -> Result<()> {
        #[allow(clippy::cast_precision_loss)]
        self.handle.set_member(member, score as f64)
    }

    /// Removes a member, if it is there; the key goes with the last one.
    pub(super) fn remove(&mut self, member: Str<'_>) -> Result<()> {
        self.handle.value_mut().map_or(Ok(()), |set| set.remove_member(member))
    }
}

impl Permits for SortedSet<'_> {
    fn len(&self) -> usize {
        self.handle.value().map_or(0, |set| set.length())
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.handle.value()?.score(OwnedStr::new(member).as_str())
    }

    fn ascending(&mut self, from: f64) -> impl Iterator<Item = (Vec<u8>, f64)> {
        self.handle.value_mut().map(|set| Range::start(set, Direction::Ascending, from)).into_iter().flatten()
    }

    fn descending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)> {
        self.handle.value_mut().map(|set| Range::start(set, Direction::Descending, f64::NEG_INFINITY)).into_iter().flatten()
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Ascending,
    Descending,
}

/// An iteration over the members from a score on.
struct Range<'r> {
    set: ValueMut<'r>,
    direction: Direction,
    more: bool,
}

impl<'r> Range<'r> {
    fn start(set: ValueMut<'r>, direction: Direction, from: f64) -> Self {
        const INCLUSIVE: c_int = 0;
        // SAFETY: the set is there, and borrowed until the iteration is stopped.
        let status = unsafe {
            let start = match direction {
                Direction::Ascending => api!(RedisModule_ZsetFirstInScoreRange),
                Direction::Descending => api!(RedisModule_ZsetLastInScoreRange),
            };
            start(set.raw(), from, f64::INFINITY, INCLUSIVE, INCLUSIVE)
        };
        Self { set, direction, more: done(status).is_ok() }
    }
}

impl Iterator for Range<'_> {
    type Item = (Vec<u8>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.more {
            return None;
        }
        let mut score = 0.0;
        // SAFETY: the set is there, and nothing was written since the iteration was started.
        let member = unsafe { api!(RedisModule_ZsetRangeCurrentElement)(self.set.raw(), &raw mut score) };
        if member.is_null() {
            return None;
        }
        // SAFETY: the string belongs to us.
        let member = unsafe { OwnedStr::from_raw(member) };
        // SAFETY: as above.
        self.more = unsafe {
            match self.direction {
                Direction::Ascending => api!(RedisModule_ZsetRangeNext)(self.set.raw()),
                Direction::Descending => api!(RedisModule_ZsetRangePrev)(self.set.raw()),
            }
        } != 0;
        Some((member.as_str().bytes().to_vec(), score))
    }
}

impl Drop for Range<'_> {
    fn drop(&mut self) {
        // SAFETY: the set is there: nothing was written since the iteration was started.
        unsafe { api!(RedisModule_ZsetRangeStop)(self.set.raw()) };
    }
}
