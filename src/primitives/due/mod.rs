//! Work that comes due: a plain sorted set whose scores are times.
//!
//! A member is due once the clock has reached its score. Members are taken in the order of the server: the lowest score first, equal scores by
//! the bytes of their members. Without a lease a taken member is removed. With a lease it stays and gets a new score, the time at which
//! the lease ends: if its worker dies, the member comes due again. The new score is also the token with which the worker finishes its
//! member ([`done`]); see [`Tokens`].
//!
//! Invariants: no member is due early. No two leases have the same token. A decision reads only members that it takes, and one more.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use super::codec::Bytes;
use super::effect::{Effect, Scheduled};
use super::few::{self, Few};
use super::time::{DurationMs, UnixMicros, UnixMs};

mod score;
#[cfg(test)]
mod tests;
mod tokens;

pub use score::{Score, Unit};
pub use tokens::Tokens;

/// The most members that one request takes.
pub const MAX_COUNT: u16 = 1000;

/// The stored sorted set. A missing key is an empty set.
pub trait Schedule {
    /// `None` if there is no such member.
    fn score(&self, member: &[u8]) -> Option<Score>;

    /// The members and their scores in the order of the set. Borrows the set mutably, since a server's key handle holds the state of one
    /// iterator at most.
    fn ascending(&mut self) -> impl Iterator<Item = (Bytes, Score)>;
}

/// A request for members that are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Take {
    /// At most this many, 1 to [`MAX_COUNT`].
    pub count: u16,
    pub unit: Unit,
    /// `None` removes them.
    pub lease: Option<DurationMs>,
}

/// A member that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub member: Bytes,
    /// Its score before.
    pub was: Score,
    /// The token of its lease; `None` if it was removed.
    pub lease: Option<Score>,
}

impl Taken {
    /// The score in the reply: the token of the lease, or the score of the removed member.
    #[must_use]
    pub fn score(&self) -> Score {
        self.lease.unwrap_or(self.was)
    }
}

/// What one request takes; most take one member.
pub type Batch = SmallVec<[Taken; 1]>;

/// A set with the changes of one or more decisions, not yet written.
pub struct Draft {
    now: UnixMicros,
    /// The first members of the stored set, in its order.
    read: SmallVec<[(Bytes, Score); 1]>,
    /// How many of `read` were passed, because they are changed.
    passed: usize,
    changes: Few<Bytes, Change>,
    /// The changed members that are in the set after the decisions, in the order of the set.
    order: BTreeSet<(Score, Bytes)>,
    /// The expiry time of a set that must be created again.
    until: Option<UnixMs>,
}

/// The score of a member before and after the decisions; `None` without the member.
#[derive(Debug, Clone, Copy)]
struct Change {
    before: Option<Score>,
    after: Option<Score>,
}

impl Draft {
    #[must_use]
    pub fn new(now: UnixMicros) -> Self {
        Self { now, read: SmallVec::new(), passed: 0, changes: Few::Empty, order: BTreeSet::new(), until: None }
    }

    /// Takes the members that are due, the earliest first.
    pub fn take(&mut self, stored: &mut impl Schedule, take: Take, tokens: &mut Tokens) -> Batch {
        let now = self.now.floor_ms();
        let is_due = |score: Score| take.unit.due_at(score).is_some_and(|at| at <= now);
        let (count, mut taken) = (usize::from(take.count), Batch::new());
        while taken.len() < count {
            let likely = count.saturating_sub(taken.len());
            let Some((member, was)) = self.first(stored, likely, is_due).filter(|(_, score)| is_due(*score)) else { break };
            let lease = take.lease.map(|lease| tokens.issue(self.now, lease, take.unit));
            self.set(&member, Some(was), lease);
            taken.push(Taken { member, was, lease });
        }
        taken
    }

    /// When the earliest member is due; `None` if none ever is.
    pub fn next_due(&self, stored: &mut impl Schedule, unit: Unit) -> Option<UnixMs> {
        let is_unchanged = |member: &Bytes| !self.changes.contains_key(&**member);
        let read = self.read.iter().skip(self.passed).find(|(member, _)| is_unchanged(member)).map(|(_, score)| *score);
        let unchanged = read.or_else(|| {
            let mut unread = stored.ascending().skip(self.read.len());
            unread.find(|(member, _)| is_unchanged(member)).map(|(_, score)| score)
        });
        let changed = self.order.first().map(|(score, _)| *score);
        changed.into_iter().chain(unchanged).min().and_then(|score| unit.due_at(score))
    }

    /// Puts a member back that its worker never got. Does nothing if the member has been changed since. `until` was the expiry time of the
    /// set when the member was taken.
    pub fn put_back(&mut self, stored: &mut impl Schedule, taken: &Taken, until: Option<UnixMs>) {
        let current = match self.changes.get(&*taken.member) {
            Some(change) => change.after,
            None => stored.score(&taken.member),
        };
        if current == taken.lease {
            self.set(&taken.member, current, Some(taken.was));
            self.until = until.filter(|_| stored.ascending().next().is_none());
        }
    }

    /// The changes of the decisions.
    #[must_use]
    pub fn effect(self) -> Effect<Bytes> {
        let pops = self.pops();
        let (mut added, mut moved, mut removed) = (Vec::new(), Vec::new(), Vec::new());
        for (member, change) in self.changes.into_entries() {
            match (change.before, change.after) {
                (None, Some(score)) => added.push((member, score)),
                (Some(before), Some(score)) if before != score => moved.push((member, score)),
                (Some(_), None) => few::push(&mut removed, member),
                _ => {}
            }
        }
        if added.is_empty() && moved.is_empty() && removed.is_empty() {
            return Effect::Keep;
        }
        Effect::Schedule(Scheduled { added, moved, removed, pops, until: self.until })
    }

    /// Whether the one change is the removal of the first member.
    fn pops(&self) -> bool {
        match (&self.changes, self.read.first()) {
            (Few::One(member, Change { before: Some(_), after: None }), Some((first, _))) => member == first,
            _ => false,
        }
    }

    /// The first member in the order of the set. If the set must be read, reads up to `likely` members, as long as they are due: the caller
    /// is likely to take that many.
    fn first(&mut self, stored: &mut impl Schedule, likely: usize, is_due: impl Fn(Score) -> bool) -> Option<(Bytes, Score)> {
        loop {
            while self.read.get(self.passed).is_some_and(|(member, _)| self.changes.contains_key(&**member)) {
                self.passed = self.passed.saturating_add(1);
            }
            let before = self.read.len();
            if self.passed < before {
                break;
            }
            // A read passes over all members that were read before, so it reads as many again.
            for found in stored.ascending().skip(before).take(likely.max(before)) {
                let more = is_due(found.1);
                self.read.push(found);
                if !more {
                    break;
                }
            }
            if self.read.len() == before {
                break;
            }
        }
        let changed = self.order.first().map(|(score, member)| (*score, member));
        let read = self.read.get(self.passed).map(|(member, score)| (*score, member));
        let (score, member) = changed.into_iter().chain(read).min()?;
        Some((Bytes::from_slice(member), score))
    }

    fn set(&mut self, member: &[u8], before: Option<Score>, after: Option<Score>) {
        let member = Bytes::from_slice(member);
        match self.changes.get_mut(&*member) {
            None => self.changes.insert(Bytes::from_slice(&member), Change { before, after }),
            Some(change) => {
                if let Some(old) = change.after {
                    self.order.remove(&(old, Bytes::from_slice(&member)));
                }
                change.after = after;
            }
        }
        self.order.extend(after.map(|after| (after, member)));
    }
}

/// The result of finishing a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The member was removed or rescheduled.
    Yes,
    /// The member has another score.
    Changed,
    Missing,
}

/// Removes a member, or reschedules it to `at`, if its score is still the given one.
pub fn done<V>(stored: Option<Score>, member: V, score: Score, at: Option<Score>) -> (Done, Effect<V>) {
    match (stored, at) {
        (None, _) => (Done::Missing, Effect::Keep),
        (Some(stored), _) if stored != score => (Done::Changed, Effect::Keep),
        (Some(stored), Some(at)) if stored == at => (Done::Yes, Effect::Keep),
        (Some(_), Some(at)) => (Done::Yes, Effect::Schedule(Scheduled { moved: vec![(member, at)], ..Scheduled::default() })),
        (Some(_), None) => (Done::Yes, Effect::Schedule(Scheduled { removed: vec![member], ..Scheduled::default() })),
    }
}
