//! Counting semaphores: who has how many permits, each until when.
//!
//! A semaphore is a sorted set with one member per permit, whose score is the end of its lease. So what a decision changes is a few
//! members, however many permits there are. A decision reads no more than it needs: how many permits there are, those that ended, and
//! those of the owner it is about.
//!
//! What must stay true: the permits of one owner have the indices 0, 1, 2 and so on, so that asking for one after the other finds all
//! of them. No more permits are granted than the request's capacity, those of all owners together. A permit whose lease ended counts
//! no more, even while it is still stored; it is removed by the next change. A set that somebody else edited may have holes: what lies
//! behind one counts until its lease ends, and is then removed too.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::iter::repeat_n;

use super::codec::{Corrupt, Reader, put_uint};
use super::effect::Effect;
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// What an error calls this format.
pub const FORMAT: &str = "a semaphore (format SM1)";

/// The most permits of one semaphore, and the most that one request can ask for.
pub const MAX_PERMITS: u16 = 10_000;

/// The latest end of a permit: every whole number up to here is a score of its own.
const MAX_DEADLINE: u64 = 1 << 53;

const MAGIC: &[u8] = b"\xa7SM\x01";

/// The stored sorted set. A missing key is an empty one.
///
/// The iterators exclude everything else while they live, since a server keeps the state of the only one in its handle of the key.
pub trait Permits {
    /// How many members there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member, if there is one.
    fn score(&self, member: &[u8]) -> Option<f64>;

    /// The members and their scores, the lowest score first.
    fn ascending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)>;

    /// The members and their scores, the highest score first.
    fn descending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)>;
}

/// One permit, as it is named in the set.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Permit {
    index: u16,
    owner: Vec<u8>,
}

impl Permit {
    fn decode(member: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(member);
        reader.literal(MAGIC)?;
        let index = u16::try_from(reader.u64(2)?).map_err(|_| Corrupt)?;
        let owner = member.get(MAGIC.len().saturating_add(2)..).unwrap_or_default();
        let valid = index < MAX_PERMITS && (1..=super::lock::MAX_OWNER_BYTES).contains(&owner.len());
        if valid { Ok(Self { index, owner: owner.to_vec() }) } else { Err(Corrupt) }
    }
}

/// The name of a permit in the set.
fn member(owner: &[u8], index: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len().saturating_add(owner.len()).saturating_add(2));
    out.extend(MAGIC);
    put_uint(&mut out, index.into(), 2);
    out.extend(owner);
    out
}

/// The end of a lease that a score stands for.
fn deadline(score: f64) -> Result<UnixMs, Corrupt> {
    // Whole and in range, so that nothing is rounded. No NaN passes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    if score >= 0.0 && score <= MAX_DEADLINE as f64 && score.fract() == 0.0 { Ok(UnixMs(score as u64)) } else { Err(Corrupt) }
}

fn decode((member, score): (Vec<u8>, f64)) -> Result<(Permit, UnixMs), Corrupt> {
    Ok((Permit::decode(&member)?, deadline(score)?))
}

/// The permits of one owner.
struct Held {
    /// As they are stored, by their indices.
    before: Vec<UnixMs>,
    /// As they are to be, the earliest first.
    after: Vec<UnixMs>,
}

impl Held {
    fn read(stored: &impl Permits, owner: &[u8], now: UnixMs) -> Result<Self, Corrupt> {
        let scores = (0..MAX_PERMITS).map_while(|index| stored.score(&member(owner, index)));
        let before = scores.map(deadline).collect::<Result<Vec<_>, _>>()?;
        let mut after: Vec<_> = before.iter().copied().filter(|deadline| *deadline > now).collect();
        after.sort_unstable();
        Ok(Self { before, after })
    }

    /// What has to be written. A place keeps its deadline when that one stays, so that as little as possible is.
    fn changes(&self, owner: &[u8], set: &mut Vec<(Vec<u8>, UnixMs)>, removed: &mut Vec<Vec<u8>>) {
        let mut placeless = BTreeMap::<UnixMs, usize>::new();
        for deadline in &self.after {
            let count = placeless.entry(*deadline).or_default();
            *count = count.saturating_add(1);
        }
        let mut free = Vec::new();
        for (index, deadline) in (0..MAX_PERMITS).zip(&self.before) {
            if usize::from(index) >= self.after.len() {
                removed.push(member(owner, index));
                continue;
            }
            match placeless.get_mut(deadline) {
                Some(count) if *count > 0 => *count = count.saturating_sub(1),
                _ => free.push(index),
            }
        }
        free.extend((0..MAX_PERMITS).take(self.after.len()).skip(self.before.len()));
        let deadlines = placeless.into_iter().flat_map(|(deadline, count)| repeat_n(deadline, count));
        set.extend(free.into_iter().zip(deadlines).map(|(index, deadline)| (member(owner, index), deadline)));
    }
}

/// A request for permits.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Who asks: 1 to [`super::lock::MAX_OWNER_BYTES`] bytes.
    pub owner: &'a [u8],
    /// How many permits may be in use, 1 to [`MAX_PERMITS`].
    pub capacity: u64,
    /// How many are asked for, 1 to [`MAX_PERMITS`]: all of them or none.
    pub permits: u64,
    /// How long they are asked for.
    pub lease: DurationMs,
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    /// The caller has the permits.
    Granted {
        /// How many permits are in use now, the caller's included.
        in_use: u64,
    },
    /// There are not as many left.
    Denied {
        /// How many permits are in use.
        in_use: u64,
        /// When the claim fits if nobody gives a permit back or gets one; `None` when it never does.
        retry_after: Option<DurationMs>,
    },
}

/// A semaphore in the course of one or several decisions, which are written together.
pub struct Draft {
    now: UnixMs,
    in_use: u64,
    /// The permits that ended and are still stored.
    ended: Vec<Permit>,
    /// The owners that a decision was about.
    owners: BTreeMap<Vec<u8>, Held>,
    changed: bool,
}

impl Draft {
    /// Looks at a stored semaphore. The first permit that did not end and the last one show whether it is one at all.
    pub fn read(stored: &mut impl Permits, now: UnixMs) -> Result<Self, Corrupt> {
        stored.descending().next().map(decode).transpose()?;
        let mut ended = Vec::new();
        for found in stored.ascending() {
            let (permit, deadline) = decode(found)?;
            if deadline > now {
                break;
            }
            ended.push(permit);
        }
        let in_use = u64::try_from(stored.len().saturating_sub(ended.len())).unwrap_or(u64::MAX);
        Ok(Self { now, in_use, ended, owners: BTreeMap::new(), changed: false })
    }

    /// The time of the decisions.
    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// How many permits are in use.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Takes permits, if there are enough.
    pub fn claim(&mut self, stored: &mut impl Permits, claim: &Claim<'_>) -> Result<Acquired, Corrupt> {
        let in_use = self.in_use.saturating_add(claim.permits);
        if in_use > claim.capacity {
            let retry_at = self.retry_at(stored, claim.capacity, claim.permits)?;
            return Ok(Acquired::Denied { in_use: self.in_use, retry_after: retry_at.map(|at| at.since(self.now)) });
        }
        let deadline = self.now.plus(claim.lease);
        let after = &mut self.held(stored, claim.owner)?.after;
        after.extend(repeat_n(deadline, count(claim.permits)));
        after.sort_unstable();
        (self.in_use, self.changed) = (in_use, true);
        Ok(Acquired::Granted { in_use })
    }

    /// Gives permits back, those that end first; all when there are fewer. The outcome is how many the owner has left, or `None` when
    /// it had none.
    pub fn release(&mut self, stored: &impl Permits, owner: &[u8], permits: u64) -> Result<Option<u64>, Corrupt> {
        let after = &mut self.held(stored, owner)?.after;
        if after.is_empty() {
            return Ok(None);
        }
        let returned = after.drain(..count(permits).min(after.len())).count();
        let left = u64::try_from(after.len()).unwrap_or(u64::MAX);
        self.returned(returned);
        Ok(Some(left))
    }

    /// Takes back permits that were granted until `deadline`. The outcome is how many of them were still there.
    pub fn revoke(&mut self, stored: &impl Permits, owner: &[u8], permits: u64, deadline: UnixMs) -> Result<u64, Corrupt> {
        let after = &mut self.held(stored, owner)?.after;
        let first = after.partition_point(|held| *held < deadline);
        let end = after.partition_point(|held| *held <= deadline).min(first.saturating_add(count(permits)));
        let returned = after.drain(first..end).count();
        Ok(self.returned(returned))
    }

    fn returned(&mut self, permits: usize) -> u64 {
        let permits = u64::try_from(permits).unwrap_or(u64::MAX);
        self.in_use = self.in_use.saturating_sub(permits);
        self.changed |= permits > 0;
        permits
    }

    /// Lets all permits of the owner end `lease` from now. The outcome is the new TTL, or `None` when it had none.
    pub fn renew(&mut self, stored: &impl Permits, owner: &[u8], lease: DurationMs) -> Result<Option<DurationMs>, Corrupt> {
        let deadline = self.now.plus(lease);
        let after = &mut self.held(stored, owner)?.after;
        if after.is_empty() {
            return Ok(None);
        }
        after.fill(deadline);
        self.changed = true;
        Ok(Some(lease))
    }

    /// When a claim fits if nobody gives a permit back or gets one: now, or when enough leases have ended; `None` when never.
    pub fn retry_at(&self, stored: &mut impl Permits, capacity: u64, permits: u64) -> Result<Option<UnixMs>, Corrupt> {
        // The permits in use are not enough, however many they are: none need to be read.
        if permits > capacity {
            return Ok(None);
        }
        let missing = count(self.in_use.saturating_add(permits).saturating_sub(capacity));
        let Some(last) = missing.checked_sub(1) else { return Ok(Some(self.now)) };
        let mut deadlines: Vec<_> = self.owners.values().flat_map(|held| held.after.iter().copied()).collect();
        let live = |(permit, deadline): &(Permit, UnixMs)| *deadline > self.now && !self.replaces(permit);
        for found in stored.ascending().map(decode).filter(|found| found.as_ref().map_or(true, live)).take(missing) {
            deadlines.push(found?.1);
        }
        deadlines.sort_unstable();
        Ok(deadlines.get(last).copied())
    }

    /// What the decisions change, and the removal of what ended. Nothing when that were all.
    pub fn effect(mut self, stored: &mut impl Permits) -> Result<Effect<Vec<u8>>, Corrupt> {
        if !self.changed {
            return Ok(Effect::Keep);
        }
        let (mut set, mut removed) = (Vec::new(), Vec::new());
        for permit in std::mem::take(&mut self.ended) {
            self.held(stored, &permit.owner)?;
            if !self.replaces(&permit) {
                removed.push(member(&permit.owner, permit.index));
            }
        }
        for (owner, held) in &self.owners {
            held.changes(owner, &mut set, &mut removed);
        }
        Ok(Effect::Members { set, removed, until: self.until(stored)? })
    }

    /// When the last permit ends; `None` when there is none.
    fn until(&self, stored: &mut impl Permits) -> Result<Option<UnixMs>, Corrupt> {
        let ours = self.owners.values().filter_map(|held| held.after.last()).copied().max();
        for found in stored.descending() {
            let (permit, deadline) = decode(found)?;
            if !self.replaces(&permit) {
                return Ok(ours.max(Some(deadline).filter(|deadline| *deadline > self.now)));
            }
        }
        Ok(ours)
    }

    /// Whether the draft knows better what becomes of a stored permit.
    fn replaces(&self, permit: &Permit) -> bool {
        let places = self.owners.get(&permit.owner).map_or(0, |held| held.before.len().max(held.after.len()));
        usize::from(permit.index) < places
    }

    fn held(&mut self, stored: &impl Permits, owner: &[u8]) -> Result<&mut Held, Corrupt> {
        match self.owners.entry(owner.to_vec()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Held::read(stored, owner, self.now)?)),
        }
    }
}

fn count(permits: u64) -> usize {
    usize::try_from(permits).unwrap_or(usize::MAX)
}

/// What one owner has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// How many permits.
    pub permits: u64,
    /// When the last of them ends.
    pub until: UnixMs,
}

/// Every owner that has permits, by name. Reads the whole set.
pub fn owners(stored: &mut impl Permits, now: UnixMs) -> Result<BTreeMap<Vec<u8>, Owner>, Corrupt> {
    let mut owners = BTreeMap::<Vec<u8>, Owner>::new();
    for found in stored.ascending() {
        let (permit, deadline) = decode(found)?;
        if deadline > now {
            let owner = owners.entry(permit.owner).or_insert(Owner { permits: 0, until: deadline });
            owner.permits = owner.permits.saturating_add(1);
            owner.until = owner.until.max(deadline);
        }
    }
    Ok(owners)
}
