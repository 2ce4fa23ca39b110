//! What the queue engine knows of a key: clients claim a part of it, a claim is granted or denied, and a denial has a moment at which the
//! claim may be granted.
//!
//! Each kind of key implements [`Claimable`]. The engine does not know what a claim is about.

use std::borrow::Cow;
use std::rc::Rc;

use super::queues::{Kind, Resource};
use crate::error::{Error, Result};
use crate::keyspace::KeyEntry;
use crate::primitives::due::{Batch, Take};
use crate::primitives::effect::End;
use crate::primitives::lock::{Again, Mode};
use crate::primitives::semaphore::Amount;
use crate::primitives::time::{DurationMs, UnixMicros, UnixMs};
use crate::server::reply::Reply;

/// What a client claims.
#[derive(Debug, Clone)]
pub enum Claim<'a> {
    Lock {
        owner: Cow<'a, [u8]>,
        lease: DurationMs,
        mode: Mode,
        again: Again,
    },
    Permits {
        owner: Cow<'a, [u8]>,
        lease: DurationMs,
        capacity: u64,
        amount: Amount,
    },
    /// Members that are due, moved to a list if there is one.
    Due {
        take: Take,
        list: Option<(Cow<'a, [u8]>, End)>,
    },
}

impl Claim<'_> {
    /// The owner that makes the claim, if it has one. An owner has one place in a queue.
    #[must_use]
    pub fn owner(&self) -> Option<&[u8]> {
        match self {
            Self::Lock { owner, .. } | Self::Permits { owner, .. } => Some(owner),
            Self::Due { .. } => None,
        }
    }

    /// The owner and the duration of its lease.
    #[must_use]
    pub fn lease(&self) -> Option<(&[u8], DurationMs)> {
        match self {
            Self::Lock { owner, lease, .. } | Self::Permits { owner, lease, .. } => Some((owner, *lease)),
            Self::Due { .. } => None,
        }
    }

    /// The same claim, for a client that waits.
    #[must_use]
    pub fn into_owned(self) -> Claim<'static> {
        match self {
            Self::Lock { owner, lease, mode, again } => Claim::Lock { owner: Cow::Owned(owner.into_owned()), lease, mode, again },
            Self::Permits { owner, lease, capacity, amount } => {
                Claim::Permits { owner: Cow::Owned(owner.into_owned()), lease, capacity, amount }
            }
            Self::Due { take, list } => Claim::Due { take, list: list.map(|(list, end)| (Cow::Owned(list.into_owned()), end)) },
        }
    }
}

/// A queue has claims of one kind, so this is a bug.
pub(super) fn misplaced() -> Error {
    Error::Internal("a claim in a queue of another kind".to_owned())
}

/// The terms of a request.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Whether and how the client waits.
    pub wait: Option<Wait>,
    /// Whether the hold lasts as long as the connection.
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
#[derive(Debug, Clone, PartialEq)]
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
    /// Members that were due; none in a denial.
    Due(Rc<Batch>),
}

/// Lays out the reply from its data and the number of waiters.
pub type Layout = fn(Answer, usize) -> Reply;

/// The result of a claim.
pub enum Decision {
    Granted(Granted),
    Denied(Denied),
}

/// A granted claim. Who it was granted to, and for how long, is in the claim.
#[derive(Debug, Clone)]
pub struct Granted {
    pub answer: Answer,
    pub gain: Gain,
}

/// What a grant gave.
#[derive(Debug, Clone, Copy)]
pub enum Gain {
    /// Holds of a lock, of which `added` are new. `is_new`: the owner held nothing before.
    Holds { fence: u64, added: u32, until: UnixMs, is_new: bool },
    /// Permits, as [`Gain::Holds`].
    Permits { added: u64, until: UnixMs, is_new: bool },
    /// The members in the answer, of a set that would expire then.
    Members { until: Option<UnixMs> },
    /// Members that are in a list now. Nothing is taken back.
    Moved,
}

impl Granted {
    /// What is taken back if the client does not get the reply; `None` if nothing is.
    #[must_use]
    pub fn share(&self, claim: &Claim<'_>) -> Option<Share> {
        match (self.gain, &self.answer, claim.owner()) {
            (Gain::Holds { fence, added, .. }, _, Some(owner)) if added > 0 => {
                Some(Share::Holds { owner: owner.into(), fence, count: added })
            }
            (Gain::Permits { added, until, .. }, _, Some(owner)) if added > 0 => {
                Some(Share::Permits { owner: owner.into(), permits: added, until })
            }
            (Gain::Members { until }, Answer::Due(taken), _) => Some(Share::Members { taken: taken.clone(), until }),
            _ => None,
        }
    }

    /// What the owner holds now; `None` if the claim has no owner.
    #[must_use]
    pub fn hold<'c>(&self, claim: &'c Claim<'_>) -> Option<Hold<'c>> {
        let (owner, lease) = claim.lease()?;
        let (fence, until, is_new) = match self.gain {
            Gain::Holds { fence, until, is_new, .. } => (Some(fence), until, is_new),
            Gain::Permits { until, is_new, .. } => (None, until, is_new),
            Gain::Members { .. } | Gain::Moved => return None,
        };
        Some(Hold { owner: Cow::Borrowed(owner), fence, lease, until, is_new })
    }
}

/// A denied claim.
pub struct Denied {
    pub answer: Answer,
    /// The moment at which the claim may be granted if no client changes the key.
    pub until: Option<UnixMs>,
    /// Whether the client must not wait, because the claim can never be granted while its owner waits.
    pub never: bool,
}

impl Denied {
    /// The key may expire before the lease does.
    pub fn ends_with(&mut self, expiry: Option<UnixMs>) {
        self.until = self.until.into_iter().chain(expiry).min();
    }
}

/// The part of a key that one grant took, so that it can be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// Holds of one ownership, which the fencing token identifies.
    Holds { owner: Box<[u8]>, fence: u64, count: u32 },
    /// Permits whose lease ends then.
    Permits { owner: Box<[u8]>, permits: u64, until: UnixMs },
    /// Members of a sorted set that would expire then.
    Members { taken: Rc<Batch>, until: Option<UnixMs> },
}

impl Share {
    /// The owner, if the share has one.
    #[must_use]
    pub fn owner(&self) -> Option<&[u8]> {
        match self {
            Self::Holds { owner, .. } | Self::Permits { owner, .. } => Some(owner),
            Self::Members { .. } => None,
        }
    }
}

/// A share of a key.
#[derive(Debug, Clone)]
pub struct Held {
    pub resource: Resource,
    pub share: Share,
}

/// Everything that an owner holds of a key after a grant.
#[derive(Debug, Clone)]
pub struct Hold<'c> {
    pub owner: Cow<'c, [u8]>,
    /// The fencing token that identifies the ownership of a lock. Permits have none.
    pub fence: Option<u64>,
    /// The duration of the lease that the request asked for.
    pub lease: DurationMs,
    /// The end of the owner's lease.
    pub until: UnixMs,
    /// Whether the owner held nothing before.
    pub is_new: bool,
}

impl Hold<'_> {
    /// The same hold, for a time after the request.
    #[must_use]
    pub fn into_owned(self) -> Hold<'static> {
        Hold { owner: Cow::Owned(self.owner.into_owned()), ..self }
    }
}

/// The state of a key during a visit.
pub trait Claimable: Sized {
    const KIND: Kind;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self>;

    /// Whether the claim may pass the waiters: its owner acquires again what it already holds.
    fn may_pass(&self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<bool>;

    /// Grants the claim, or denies it.
    fn claim(&mut self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>, now: UnixMicros) -> Result<Decision>;

    /// The denial of the claim, without a claim.
    fn denied(&self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<Denied>;

    /// Takes a granted share back, as far as it is still there.
    fn take_back(&mut self, entry: &mut KeyEntry<'_>, share: &Share) -> Result<()>;

    /// Extends the lease of a hold to its duration from now. `None` if the owner has lost the hold. Never shortens the lease.
    fn keep(&mut self, entry: &mut KeyEntry<'_>, hold: &Hold<'_>) -> Result<Option<UnixMs>>;

    /// Writes the state, in one transaction.
    fn write(self, entry: KeyEntry<'_>) -> Result<()>;
}
