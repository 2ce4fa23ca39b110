//! Locks and semaphores as the queue engine sees them: a key that can be read, claimed by the next waiter, and written once.

use std::borrow::Cow;

use super::queues::{Kind, Resource};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::effect::Effect;
use crate::primitives::lock::{self, Claimed, Mode, Stored};
use crate::primitives::semaphore::{self, Acquired};
use crate::primitives::time::{DurationMs, UnixMicros, UnixMs};
use crate::server::module_api::OwnedStr;
use crate::server::reply::Reply;

/// A client's request for a lock or for permits.
#[derive(Debug, Clone)]
pub struct AcquireRequest<'a> {
    pub owner: Cow<'a, [u8]>,
    pub lease: DurationMs,
    pub ask: Ask,
}

/// The object of a request.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    Lock(Mode),
    Permits { capacity: u64, permits: u64 },
}

impl AcquireRequest<'_> {
    /// The same request, for a client that waits.
    pub fn into_owned(self) -> AcquireRequest<'static> {
        AcquireRequest { owner: Cow::Owned(self.owner.into_owned()), ..self }
    }
}

/// The terms of a request.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether and how the client waits.
    pub wait: Option<Wait>,
    /// Whether the share ends with the connection.
    pub bind: bool,
    /// The command's layout of the reply.
    pub layout: Layout,
}

/// The way in which a client waits.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// Zero waits indefinitely.
    pub timeout: DurationMs,
    /// The client does not wait if the queue already has this many waiters.
    pub max_queue: Option<usize>,
}

/// The data of the reply to a request. The command lays the reply out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    LockGranted {
        fence: u64,
        ttl: DurationMs,
        holds: u32,
    },
    /// `ttl` is that of the lock in the way; `None` for another client's lock without a TTL.
    LockDenied {
        ttl: Option<DurationMs>,
    },
    PermitsGranted {
        fence: u64,
        in_use: u64,
    },
    /// `retry_after` is `None` if the request exceeds the capacity.
    PermitsDenied {
        in_use: u64,
        retry_after: Option<DurationMs>,
    },
}

/// Lays out the reply from its data and the number of waiters.
pub type Layout = fn(Answer, usize) -> Reply;

/// The result of a claim.
pub enum Decision {
    Granted(Granted),
    Denied(Denied),
}

/// A granted claim.
pub struct Granted {
    pub answer: Answer,
    pub share: Share,
    /// The end of the owner's lease.
    pub until: UnixMs,
}

/// A denied claim.
pub struct Denied {
    pub answer: Answer,
    /// The time at which the claim can be granted if no owner releases anything.
    pub until: Option<UnixMs>,
    /// Whether the claim can never be granted.
    pub never: bool,
}

/// The result of one granted claim, which a release takes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Holds of one ownership, which the fence identifies.
    Holds {
        fence: u64,
        count: u32,
    },
    Permits(u64),
}

/// An owner at a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub resource: Resource,
    pub owner: Box<[u8]>,
}

/// A share of an owner.
#[derive(Debug, Clone)]
pub struct Held {
    pub resource: Resource,
    pub owner: Box<[u8]>,
    pub share: Share,
    /// The end of the lease.
    pub until: UnixMs,
}

impl Held {
    #[must_use]
    pub fn new(resource: &Resource, request: &AcquireRequest<'_>, granted: &Granted) -> Self {
        let (share, until) = (granted.share, granted.until);
        Self { resource: resource.clone(), owner: request.owner.as_ref().into(), share, until }
    }

    #[must_use]
    pub fn holder(&self) -> Holder {
        Holder { resource: self.resource.clone(), owner: self.owner.clone() }
    }
}

/// The state of a key during a visit.
pub trait Holding: Sized {
    const KIND: Kind;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self>;

    /// Whether this owner may pass the waiters: it acquires again what it already holds.
    fn admits(&self, owner: &[u8]) -> bool;

    /// Grants the request, or denies it.
    fn claim(&mut self, entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>, now: UnixMicros) -> Result<Decision>;

    /// The denial of the request, without a claim.
    fn denied(&self, entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>) -> Result<Denied>;

    /// Takes a granted share back, as far as the owner still holds it.
    fn take_back(&mut self, entry: &mut KeyEntry<'_>, held: &Held) -> Result<()>;

    /// The one write that stores the state.
    fn effect(self, entry: &mut KeyEntry<'_>) -> Result<Effect<Vec<u8>>>;
}

/// The denial of a request at this moment.
pub fn denial(keyspace: &Keyspace, resource: &Resource, request: &AcquireRequest<'_>) -> Result<Answer> {
    fn of<H: Holding>(keyspace: &Keyspace, resource: &Resource, request: &AcquireRequest<'_>) -> Result<Answer> {
        let key = OwnedStr::new(&resource.key);
        let mut entry = keyspace.entry(key.as_str());
        let holding = H::read(&mut entry, keyspace.now())?;
        Ok(holding.denied(&mut entry, request)?.answer)
    }
    match resource.kind {
        Kind::Lock => of::<lock::Draft>(keyspace, resource, request),
        Kind::Semaphore => of::<semaphore::Draft>(keyspace, resource, request),
    }
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

    fn claim(&mut self, entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>, now: UnixMicros) -> Result<Decision> {
        let claim = lock::Claim { owner: &request.owner, mode: mode(request)?, lease: request.lease };
        Ok(match self.claim(claim, fence::next(now)).map_err(foreign_lock)? {
            Claimed::Granted { fence, ttl, holds } => {
                fence::observe(fence);
                let answer = Answer::LockGranted { fence, ttl, holds };
                Decision::Granted(Granted { answer, share: Share::Holds { fence, count: 1 }, until: now.floor_ms().plus(ttl) })
            }
            Claimed::Held => Decision::Denied(self.denied(entry, request)?),
            Claimed::Upgrade => return Err(upgrade()),
        })
    }

    fn denied(&self, _entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>) -> Result<Denied> {
        Ok(Denied { answer: Answer::LockDenied { ttl: self.ttl() }, until: self.free_at(mode(request)?), never: false })
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

fn mode(request: &AcquireRequest<'_>) -> Result<Mode> {
    match request.ask {
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

    fn claim(&mut self, entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>, now: UnixMicros) -> Result<Decision> {
        let claim = claim(request)?;
        match self.claim(&mut entry.sorted_set()?, &claim).map_err(foreign_semaphore)? {
            Acquired::Granted { in_use, until } => {
                let fence = fence::next(now);
                fence::observe(fence);
                let answer = Answer::PermitsGranted { fence, in_use };
                Ok(Decision::Granted(Granted { answer, share: Share::Permits(claim.permits), until }))
            }
            Acquired::Denied { in_use, retry_after } => Ok(Decision::Denied(self.denial(in_use, retry_after))),
        }
    }

    fn denied(&self, entry: &mut KeyEntry<'_>, request: &AcquireRequest<'_>) -> Result<Denied> {
        let claim = claim(request)?;
        let until = self.retry_at(&mut entry.sorted_set()?, claim.capacity, claim.permits).map_err(foreign_semaphore)?;
        Ok(self.denial(self.in_use(), until.map(|until| until.since(self.now()))))
    }

    fn take_back(&mut self, entry: &mut KeyEntry<'_>, held: &Held) -> Result<()> {
        let Share::Permits(permits) = held.share else { return Ok(()) };
        // After the end of this lease the owner holds only permits that it acquired later.
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
    fn denial(&self, in_use: u64, retry_after: Option<DurationMs>) -> Denied {
        let answer = Answer::PermitsDenied { in_use, retry_after };
        Denied { answer, until: retry_after.map(|after| self.now().plus(after)), never: retry_after.is_none() }
    }
}

fn claim<'a>(request: &'a AcquireRequest<'_>) -> Result<semaphore::Claim<'a>> {
    match request.ask {
        Ask::Permits { capacity, permits } => {
            Ok(semaphore::Claim { owner: &request.owner, capacity, permits, lease: request.lease })
        }
        Ask::Lock(_) => Err(misplaced()),
    }
}

/// A queue has requests of one kind, so this is a bug.
fn misplaced() -> Error {
    Error::Internal("a request in a queue of another kind".to_owned())
}

/// The error for a reader that asks for an exclusive lock.
#[must_use]
pub fn upgrade() -> Error {
    Error::Text("ERR owner holds this lock SHARED: release it before acquiring it exclusively")
}

/// The error for a damaged lock.
#[must_use]
pub fn foreign_lock(_: Corrupt) -> Error {
    Error::ForeignValue { expected: lock::FORMAT }
}

/// The error for a sorted set that is not a semaphore.
#[must_use]
pub fn foreign_semaphore(_: Corrupt) -> Error {
    Error::ForeignValue { expected: semaphore::FORMAT }
}
