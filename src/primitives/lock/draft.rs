//! A lock's key while it is decided about.

use super::{Holder, LARGE, Lock, MAX_FENCE, MAX_HOLDERS, Mode, Stored};
use crate::primitives::codec::Corrupt;
use crate::primitives::effect::Effect;
use crate::primitives::time::{DurationMs, UnixMs};

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// Its name.
    pub owner: &'a [u8],
    /// Alone, or beside other readers.
    pub mode: Mode,
    /// For how long.
    pub lease: DurationMs,
}

/// The answer to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The caller is an owner.
    Granted {
        /// The fencing number of the ownership.
        fence: u64,
        /// How long the lease lasts.
        ttl: DurationMs,
        /// How often the owner holds the lock now.
        holds: u32,
    },
    /// Somebody else is.
    Held,
    /// The caller reads and asks to write. It would wait for itself, so this is refused whether or not it is alone.
    Upgrade,
}

/// How much of a lock is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// One hold.
    One,
    /// Every hold of the owner.
    All,
}

/// A lock's key while it is decided about.
pub struct Draft {
    now: UnixMs,
    /// Nobody in it holds beyond the end of a lease.
    stored: Option<Stored>,
    /// The bytes of a large lock, as they are stored.
    large: Option<Vec<u8>>,
    /// The highest fence in the key.
    seen: u64,
    change: Change,
}

/// What has to be written.
enum Change {
    Nothing,
    State,
    /// Another client's key gets a new end.
    End(UnixMs),
}

impl Draft {
    /// Starts with what the key holds. Ended leases are gone from here on; that alone is no reason to write.
    #[must_use]
    pub fn new(stored: Option<Stored>, now: UnixMs) -> Self {
        let seen = stored.as_ref().and_then(Stored::fence).unwrap_or(0);
        let (stored, large) = match stored {
            Some(Stored::Ours(lock)) if lock.holders.len() >= LARGE => {
                let bytes = lock.encode();
                (lock.vacated(now).map(Stored::Ours), Some(bytes))
            }
            Some(Stored::Ours(lock)) => (lock.valid(now).map(Stored::Ours), None),
            other => (other, None),
        };
        Self { now, stored, large, seen, change: Change::Nothing }
    }

    /// Whether `owner` is one of the holders: it enters again without waiting.
    #[must_use]
    pub fn is_held_by(&self, owner: &[u8]) -> bool {
        self.holder(owner).is_some()
    }

    /// Takes the lock, joins its readers, or enters it again. `fence` is the number that a new ownership gets, unless the state has
    /// seen a higher one. Fails when there is no higher one. A lease never gets shorter by entering again; an exclusive owner that
    /// asks to read stays exclusive.
    pub fn claim(&mut self, claim: Claim<'_>, fence: u64) -> Result<Claimed, Corrupt> {
        let deadline = self.now.plus(claim.lease);
        let now = self.now;
        let fence = fence.max(self.seen.saturating_add(1));
        let new = || Holder { owner: claim.owner.to_vec(), holds: 1, deadline, fence };
        let held = match &mut self.stored {
            Some(Stored::Foreign { .. }) => return Ok(Claimed::Held),
            None => None,
            Some(Stored::Ours(lock)) => Some(lock),
        };
        if let Some(lock) = held {
            let mode = lock.mode;
            if let Some(holder) = lock.holders.iter_mut().find(|holder| holder.holds > 0 && holder.owner == claim.owner) {
                if mode == Mode::Shared && claim.mode == Mode::Exclusive {
                    return Ok(Claimed::Upgrade);
                }
                holder.holds = holder.holds.saturating_add(1);
                holder.deadline = holder.deadline.max(deadline);
                self.change = Change::State;
                return Ok(granted(holder, now));
            }
            if mode == Mode::Exclusive || claim.mode == Mode::Exclusive || lock.taken().count() >= MAX_HOLDERS {
                return Ok(Claimed::Held);
            }
        }
        if fence > MAX_FENCE {
            return Err(Corrupt);
        }
        let holder = new();
        let answer = granted(&holder, now);
        match &mut self.stored {
            Some(Stored::Ours(lock)) => {
                lock.fence = fence;
                lock.add(holder);
            }
            stored => *stored = Some(Stored::Ours(Lock { mode: claim.mode, fence, holders: vec![holder] })),
        }
        self.seen = fence;
        self.change = Change::State;
        Ok(answer)
    }

    /// When a claim of this mode could be granted if nobody gave anything back: `None` when nothing ends by itself.
    #[must_use]
    pub fn free_at(&self, mode: Mode) -> Option<UnixMs> {
        match self.stored.as_ref()? {
            Stored::Foreign { until, .. } => *until,
            // Beside readers there is room for one more as soon as one of them ends.
            Stored::Ours(lock) if lock.mode == Mode::Shared && mode == Mode::Shared => {
                lock.taken().map(|holder| holder.deadline).min()
            }
            Stored::Ours(lock) => Some(lock.deadline()),
        }
    }

    /// How long the latest lease lasts: zero for a free lock, `None` for another client's lock without a TTL.
    #[must_use]
    pub fn ttl(&self) -> Option<DurationMs> {
        if self.stored.is_none() {
            return Some(DurationMs(0));
        }
        self.free_at(Mode::Exclusive).map(|until| until.since(self.now))
    }

    /// Gives the lock back. The outcome is how many holds the owner has left, or `None` when it was not the owner.
    pub fn release(&mut self, owner: &[u8], release: Release) -> Option<u32> {
        if matches!(&self.stored, Some(Stored::Foreign { token, .. }) if token == owner) {
            self.stored = None;
            self.change = Change::State;
            return Some(0);
        }
        let holds = self.holder(owner)?.holds;
        let given = match release {
            Release::One => 1,
            Release::All => holds,
        };
        self.give_back(owner, given);
        Some(holds.saturating_sub(given))
    }

    /// Takes back holds that were granted under `fence`. Does nothing when the owner has another ownership by now.
    pub fn take_back(&mut self, owner: &[u8], fence: u64, holds: u32) {
        if self.holder(owner).is_some_and(|holder| holder.fence == fence) {
            self.give_back(owner, holds);
        }
    }

    fn give_back(&mut self, owner: &[u8], holds: u32) {
        let Some(Stored::Ours(lock)) = &mut self.stored else { return };
        for holder in lock.holders.iter_mut().filter(|holder| holder.owner == owner) {
            holder.holds = holder.holds.saturating_sub(holds);
        }
        if lock.taken().next().is_none() {
            self.stored = None;
        }
        self.change = Change::State;
    }

    /// Lets the owner's lease end `lease` from now. The outcome is the new TTL, or `None` when it was not the owner.
    pub fn renew(&mut self, owner: &[u8], lease: DurationMs) -> Option<DurationMs> {
        let deadline = self.now.plus(lease);
        match &mut self.stored {
            Some(Stored::Foreign { token, until }) if token == owner => {
                *until = Some(deadline);
                self.change = Change::End(deadline);
            }
            Some(Stored::Ours(lock)) => {
                lock.holders.iter_mut().find(|holder| holder.holds > 0 && holder.owner == owner)?.deadline = deadline;
                self.change = Change::State;
            }
            _ => return None,
        }
        Some(lease)
    }

    fn holder(&self, owner: &[u8]) -> Option<&Holder> {
        match &self.stored {
            Some(Stored::Ours(lock)) => lock.taken().find(|holder| holder.owner == owner),
            _ => None,
        }
    }

    /// The one write that makes it so.
    #[must_use]
    pub fn effect(self) -> Effect<Vec<u8>> {
        match (self.change, self.stored) {
            (Change::State, Some(Stored::Ours(lock))) => lock.write(self.large.as_deref()),
            (Change::State, None) => Effect::Delete,
            (Change::End(at), _) => Effect::Expire(at),
            (Change::Nothing | Change::State, _) => Effect::Keep,
        }
    }
}

fn granted(holder: &Holder, now: UnixMs) -> Claimed {
    Claimed::Granted { fence: holder.fence, ttl: holder.deadline.since(now), holds: holder.holds }
}
