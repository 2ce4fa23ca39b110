//! What a key must be able to do to have a line: be read, be claimed by the one who is next, be written once.

use std::borrow::Cow;

use super::bindings::Holder;
use super::queues::{Kind, Place};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::effect::Effect;
use crate::primitives::lock::{self, Claimed, Mode, Stored};
use crate::primitives::semaphore::{self, Acquired};
use crate::primitives::time::{DurationMs, UnixMicros, UnixMs};
use crate::server::reply::number;

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// The name under which it holds.
    pub owner: Cow<'a, [u8]>,
    /// For how long.
    pub lease: DurationMs,
    /// Of what.
    pub ask: Ask,
}

/// Of what a client asks something.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    /// Of a lock.
    Lock(Mode),
    /// Of a semaphore.
    Permits {
        /// How many may be in use.
        capacity: u64,
        /// How many it wants.
        permits: u64,
    },
}

impl Wanted<'_> {
    /// The same, for a client that waits.
    pub fn kept(self) -> Wanted<'static> {
        Wanted { owner: Cow::Owned(self.owner.into_owned()), ..self }
    }
}

/// What a claim got. The numbers are the reply, but for the count of waiters, which comes last.
pub enum Answer {
    /// It is granted; the owner's lease ends then.
    Granted([i64; 4], Share, UnixMs),
    /// It is not.
    Denied(Denied),
}

/// Why not now.
pub struct Denied {
    /// The reply.
    pub reply: [i64; 4],
    /// When it could be granted if nobody gave anything back.
    pub until: Option<UnixMs>,
    /// Whether it can never be.
    pub never: bool,
}

/// What was granted by one claim, so that it can be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Holds of one ownership.
    Holds {
        /// Its fencing number.
        fence: u64,
        /// How many.
        count: u32,
    },
    /// So many permits.
    Permits(u64),
}

/// A share, and where and whose.
#[derive(Debug, Clone)]
pub struct Held {
    /// The key.
    pub place: Place,
    /// The owner.
    pub owner: Box<[u8]>,
    /// What it got.
    pub share: Share,
    /// When the lease ends.
    pub until: UnixMs,
}

impl Held {
    /// Who holds it where.
    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder { place: self.place.clone(), owner: self.owner.clone() }
    }
}

/// The state of a key while it is visited.
pub trait Holding: Sized {
    /// What it is.
    const KIND: Kind;

    /// Reads it.
    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self>;

    /// Whether this owner is served whoever waits.
    fn admits(&self, owner: &[u8]) -> bool;

    /// Grants the claim, or says why not.
    fn claim(&mut self, entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>, now: UnixMicros) -> Result<Answer>;

    /// Says why not, without asking.
    fn denied(&self, entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>) -> Result<Denied>;

    /// Gives back what was granted, as far as the owner still has it.
    fn take_back(&mut self, entry: &mut KeyEntry<'_>, held: &Held) -> Result<()>;

    /// The one write that makes it so.
    fn effect(self, entry: &mut KeyEntry<'_>) -> Result<Effect<Vec<u8>>>;
}

impl Holding for lock::Draft {
    const KIND: Kind = Kind::Lock;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self> {
        let mut stored = entry.string()?.map(|bytes| Stored::decode(bytes, None)).transpose().map_err(foreign_lock)?;
        match &mut stored {
            None => {}
            Some(Stored::Ours(lock)) => fence::observe(lock.fence),
            Some(Stored::Foreign { until, .. }) => *until = entry.expiry(),
        }
        Ok(Self::new(stored, now.floor_ms()))
    }

    fn admits(&self, owner: &[u8]) -> bool {
        self.is_held_by(owner)
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>, now: UnixMicros) -> Result<Answer> {
        let mode = mode(wanted)?;
        let claim = lock::Claim { owner: &wanted.owner, mode, lease: wanted.lease };
        Ok(match self.claim(claim, fence::next(now)).map_err(foreign_lock)? {
            Claimed::Granted { fence, ttl, holds } => {
                fence::observe(fence);
                let until = now.floor_ms().plus(ttl);
                Answer::Granted([1, number(fence), ttl.reply(), holds.into()], Share::Holds { fence, count: 1 }, until)
            }
            Claimed::Held => Answer::Denied(self.denied(entry, wanted)?),
            Claimed::Upgrade => return Err(upgrade()),
        })
    }

    fn denied(&self, _entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>) -> Result<Denied> {
        let ttl = self.ttl().map_or(-1, DurationMs::reply);
        Ok(Denied { reply: [0, 0, ttl, 0], until: self.free_at(mode(wanted)?), never: false })
    }

    fn take_back(&mut self, _entry: &mut KeyEntry<'_>, held: &Held) -> Result<()> {
        if let Share::Holds { fence, count } = held.share {
            self.take_back(&held.owner, fence, count);
        }
        Ok(())
    }

    fn effect(self, _entry: &mut KeyEntry<'_>) -> Result<Effect<Vec<u8>>> {
        Ok(self.effect())
    }
}

fn mode(wanted: &Wanted<'_>) -> Result<Mode> {
    match wanted.ask {
        Ask::Lock(mode) => Ok(mode),
        Ask::Permits { .. } => Err(misplaced()),
    }
}

impl Holding for semaphore::Draft {
    const KIND: Kind = Kind::Semaphore;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self> {
        Self::read(&mut entry.sorted_set()?, now.floor_ms()).map_err(foreign_semaphore)
    }

    fn admits(&self, _owner: &[u8]) -> bool {
        false
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>, now: UnixMicros) -> Result<Answer> {
        let claim = claim(wanted)?;
        match self.claim(&mut entry.sorted_set()?, &claim).map_err(foreign_semaphore)? {
            Acquired::Granted { in_use, until } => {
                let fence = fence::next(now);
                fence::observe(fence);
                Ok(Answer::Granted([1, number(fence), number(in_use), 0], Share::Permits(claim.permits), until))
            }
            Acquired::Denied { in_use, retry_after } => Ok(Answer::Denied(self.refusal(in_use, retry_after))),
        }
    }

    fn denied(&self, entry: &mut KeyEntry<'_>, wanted: &Wanted<'_>) -> Result<Denied> {
        let claim = claim(wanted)?;
        let until = self.retry_at(&mut entry.sorted_set()?, claim.capacity, claim.permits).map_err(foreign_semaphore)?;
        Ok(self.refusal(self.in_use(), until.map(|until| until.since(self.now()))))
    }

    fn take_back(&mut self, entry: &mut KeyEntry<'_>, held: &Held) -> Result<()> {
        let Share::Permits(permits) = held.share else { return Ok(()) };
        // What the owner has after the end of its lease it acquired later.
        if held.until <= self.now() {
            return Ok(());
        }
        self.release(&entry.sorted_set()?, &held.owner, permits).map_err(foreign_semaphore)?;
        Ok(())
    }

    fn effect(self, entry: &mut KeyEntry<'_>) -> Result<Effect<Vec<u8>>> {
        self.effect(&mut entry.sorted_set()?).map_err(foreign_semaphore)
    }
}

impl semaphore::Draft {
    fn refusal(&self, in_use: u64, retry_after: Option<DurationMs>) -> Denied {
        let reply = [0, 0, number(in_use), retry_after.map_or(-1, DurationMs::reply)];
        Denied { reply, until: retry_after.map(|after| self.now().plus(after)), never: retry_after.is_none() }
    }
}

fn claim<'a>(wanted: &'a Wanted<'_>) -> Result<semaphore::Claim<'a>> {
    match wanted.ask {
        Ask::Permits { capacity, permits } => {
            Ok(semaphore::Claim { owner: &wanted.owner, capacity, permits, lease: wanted.lease })
        }
        Ask::Lock(_) => Err(misplaced()),
    }
}

/// A line is of one kind, so this is a bug.
fn misplaced() -> Error {
    Error::Internal("a request in a line of another kind".to_owned())
}

/// The refusal of a reader that asks to write.
#[must_use]
pub fn upgrade() -> Error {
    Error::Text("ERR owner holds this lock SHARED: release it before acquiring it exclusively")
}

/// The refusal of a damaged lock.
#[must_use]
pub fn foreign_lock(_: Corrupt) -> Error {
    Error::ForeignValue { expected: lock::FORMAT }
}

/// The refusal of a sorted set that is no semaphore.
#[must_use]
pub fn foreign_semaphore(_: Corrupt) -> Error {
    Error::ForeignValue { expected: semaphore::FORMAT }
}
