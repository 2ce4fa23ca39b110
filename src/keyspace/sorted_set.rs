//! The sorted set at an open key: the raw calls of the module API for it, and the only place in this layer that makes them.
//!
//! The server keeps the state of an iteration in the handle of the key, one at a time, and a write leaves it pointing anywhere. So an
//! iterator borrows the handle exclusively, and stops the iteration when it is dropped. A missing key is an empty set: the server
//! answers every read of one with "nothing", and creates the set with the first member.

use std::ffi::c_int;

use super::module_api::{KeyHandle, Kind, OwnedStr, Str, api, done};
use crate::error::{Error, Result};
use crate::primitives::semaphore::Permits;

/// A sorted set, or a key that can become one.
pub struct SortedSet<'h> {
    handle: &'h mut KeyHandle,
}

impl<'h> SortedSet<'h> {
    /// The set at an open key. Another type is refused.
    pub(super) fn at(handle: &'h mut KeyHandle) -> Result<Self> {
        match handle.kind() {
            Kind::Missing | Kind::SortedSet => Ok(Self { handle }),
            _ => Err(Error::WrongType),
        }
    }

    /// Adds a member or changes its score. Whole numbers are exact as a double up to 2^53, times far beyond any lease.
    pub(super) fn set(&mut self, member: Str<'_>, score: i64) -> Result<()> {
        #[allow(clippy::cast_precision_loss)]
        let score = score as f64;
        // SAFETY: the handle is open for writing and no iteration goes on; without flags the server neither reads nor writes any.
        done(unsafe { api!(RedisModule_ZsetAdd)(self.handle.0, score, member.raw(), std::ptr::null_mut()) })
    }

    /// Removes a member; the key goes with the last one.
    pub(super) fn remove(&mut self, member: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing and no iteration goes on; the server need not say whether the member was there.
        done(unsafe { api!(RedisModule_ZsetRem)(self.handle.0, member.raw(), std::ptr::null_mut()) })
    }
}

impl Permits for SortedSet<'_> {
    fn len(&self) -> usize {
        self.handle.length()
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        let (member, mut score) = (OwnedStr::new(member), 0.0);
        // SAFETY: the handle is open; the server writes the score when there is one, and only then answers OK.
        let status = unsafe { api!(RedisModule_ZsetScore)(self.handle.0, member.as_str().raw(), &raw mut score) };
        done(status).ok().map(|()| score)
    }

    fn ascending(&mut self, from: f64) -> impl Iterator<Item = (Vec<u8>, f64)> {
        Range::start(self.handle, Direction::Ascending, from)
    }

    fn descending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)> {
        Range::start(self.handle, Direction::Descending, f64::NEG_INFINITY)
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Ascending,
    Descending,
}

/// An iteration over the members from a score on.
struct Range<'r> {
    handle: &'r mut KeyHandle,
    direction: Direction,
    more: bool,
}

impl<'r> Range<'r> {
    fn start(handle: &'r mut KeyHandle, direction: Direction, from: f64) -> Self {
        const INCLUSIVE: c_int = 0;
        // SAFETY: the handle is open, and borrowed until the iteration is stopped.
        let status = unsafe {
            let start = match direction {
                Direction::Ascending => api!(RedisModule_ZsetFirstInScoreRange),
                Direction::Descending => api!(RedisModule_ZsetLastInScoreRange),
            };
            start(handle.0, from, f64::INFINITY, INCLUSIVE, INCLUSIVE)
        };
        Self { handle, direction, more: done(status).is_ok() }
    }
}

impl Iterator for Range<'_> {
    type Item = (Vec<u8>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        if !self.more {
            return None;
        }
        let mut score = 0.0;
        // SAFETY: the handle is open, and nothing was written since the iteration was started.
        let member = unsafe { api!(RedisModule_ZsetRangeCurrentElement)(self.handle.0, &raw mut score) };
        if member.is_null() {
            return None;
        }
        // The string belongs to us.
        let member = OwnedStr(member);
        // SAFETY: as above.
        self.more = unsafe {
            match self.direction {
                Direction::Ascending => api!(RedisModule_ZsetRangeNext)(self.handle.0),
                Direction::Descending => api!(RedisModule_ZsetRangePrev)(self.handle.0),
            }
        } != 0;
        Some((member.as_str().bytes().to_vec(), score))
    }
}

impl Drop for Range<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is open.
        unsafe { api!(RedisModule_ZsetRangeStop)(self.handle.0) };
    }
}
