//! The sorted set at an open key. A missing key is an empty set; the server creates it with its first member.

use crate::error::{Error, Result};
use crate::primitives::codec::Bytes;
use crate::primitives::due::{Schedule, Score};
use crate::primitives::semaphore::Permits;
use crate::server::key::{KeyHandle, Kind};
use crate::server::module_api::{OwnedStr, Str};
use crate::server::score_range::{Direction, ScoreRange};

/// A sorted set, or a missing key that can become one.
pub struct SortedSet<'h> {
    handle: &'h mut KeyHandle,
}

impl<'h> SortedSet<'h> {
    /// The set at an open key. Another type is an error.
    pub(super) fn at(handle: &'h mut KeyHandle) -> Result<Self> {
        match handle.value() {
            Some(value) if value.kind() != Kind::SortedSet => Err(Error::WrongType),
            _ => Ok(Self { handle }),
        }
    }

    pub(super) fn is_missing(&self) -> bool {
        self.handle.value().is_none()
    }

    /// Adds a member or changes its score. A double is exact for whole numbers up to 2^53, and every lease ends before that time.
    pub(super) fn set(&mut self, member: Str<'_>, score: i64) -> Result<()> {
        #[allow(clippy::cast_precision_loss)]
        self.handle.set_member(member, score as f64)
    }

    /// Adds a member or changes its score.
    pub(super) fn set_score(&mut self, member: Str<'_>, score: Score) -> Result<()> {
        self.handle.set_member(member, score.value())
    }

    /// Removes a member, if present. The server deletes the key with its last member.
    pub(super) fn remove(&mut self, member: Str<'_>) -> Result<()> {
        self.handle.value_mut().map_or(Ok(()), |set| set.remove_member(member))
    }

    fn range(&mut self, direction: Direction, min: f64) -> Members<'_> {
        Members(self.handle.value_mut().map(|set| set.into_range(direction, min)))
    }
}

/// Members in the order of their scores; none of a missing set.
struct Members<'s>(Option<ScoreRange<'s>>);

impl Iterator for Members<'_> {
    type Item = (Bytes, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.0.as_mut()?.next()
    }
}

impl Permits for SortedSet<'_> {
    fn len(&self) -> usize {
        self.handle.value().map_or(0, |set| set.length())
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.handle.value()?.score(OwnedStr::new(member).as_str())
    }

    fn ascending(&mut self, from: f64) -> impl Iterator<Item = (Bytes, f64)> {
        self.range(Direction::Ascending, from)
    }

    fn descending(&mut self) -> impl Iterator<Item = (Bytes, f64)> {
        self.range(Direction::Descending, f64::NEG_INFINITY)
    }
}

impl Schedule for SortedSet<'_> {
    fn score(&self, member: &[u8]) -> Option<Score> {
        Permits::score(self, member).and_then(Score::new)
    }

    fn ascending(&mut self) -> impl Iterator<Item = (Bytes, Score)> {
        let range = self.range(Direction::Ascending, f64::NEG_INFINITY);
        range.filter_map(|(member, score)| Some((member, Score::new(score)?)))
    }
}
