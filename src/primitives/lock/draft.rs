//! Decisions about one lock: its key is read once, changed any number of times and written once.

use smallvec::smallvec;

use super::{Holder, LARGE, Lock, MAX_FENCE, Mode, Stored};
use crate::primitives::codec::{Bytes, Corrupt, Name};
use crate::primitives::effect::Effect;
use crate::primitives::time::{DurationMs, UnixMs};

/// A request to acquire the lock.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub owner: &'a [u8],
    pub mode: Mode,
    pub lease: DurationMs,
    pub again: Again,
}

/// The effect of a request on a hold that its owner already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// The owner keeps its holds and its fence, so the request is safe to send again.
    Keep,
    /// The owner gets one more hold.
    Count,
    /// The owner keeps its holds and gets the new fence.
    Renumber,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    Granted {
        fence: u64,
        /// What is left of the lease.
        ttl: DurationMs,
        /// The owner's holds.
        holds: u32,
        /// How many of them this request added.
        added: u32,
    },
    /// Others hold it.
    Held,
    /// The owner is one of several readers and asks for the lock exclusively. It must not wait: two such owners would wait for each other.
    HeldTogether {
        /// When the last lease of the other readers ends.
        until: UnixMs,
    },
}

/// How many of the owner's holds a release gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    One,
    All,
}

/// A lock with the changes of one or more decisions, not yet written.
pub struct Draft {
    now: UnixMs,
    /// Every holder in it has a valid lease.
    stored: Option<Stored>,
    /// The stored bytes of a large lock.
    large: Option<Bytes>,
    /// The highest fence in the key.
    seen: u64,
    change: Change,
}

/// What must be written.
enum Change {
    Nothing,
    State,
    /// The key of a foreign lock gets a new expiry time.
    End(UnixMs),
}

impl Draft {
    /// Starts with the stored lock, without the leases that have ended. Their removal alone is not written.
    #[must_use]
    pub fn new(stored: Option<Stored>, now: UnixMs) -> Self {
        let seen = stored.as_ref().and_then(Stored::fence).unwrap_or(0);
        let mut draft = Self { now, stored, large: None, seen, change: Change::Nothing };
        if let Some(Stored::Ours(lock)) = &mut draft.stored {
            let is_held = if lock.holders.len() >= LARGE {
                draft.large = Some(lock.encode());
                lock.vacate(now)
            } else {
                lock.retain_valid(now)
            };
            if !is_held {
                draft.stored = None;
            }
        }
        draft
    }

    /// The fence of a new ownership: `issued`, or the next above the stored fence if that is higher.
    #[must_use]
    pub fn next_fence(&self, issued: u64) -> u64 {
        issued.max(self.seen.saturating_add(1))
    }

    /// The fence of `owner`, if it holds the lock exclusively.
    #[must_use]
    pub fn exclusive_fence(&self, owner: &[u8]) -> Option<u64> {
        let exclusive = matches!(&self.stored, Some(Stored::Ours(lock)) if lock.mode == Mode::Exclusive);
        self.holder(owner).filter(|_| exclusive).map(|holder| holder.fence)
    }

    /// Whether `owner` is one of the holders, so that it passes the waiters.
    #[must_use]
    pub fn is_held_by(&self, owner: &[u8]) -> bool {
        self.holder(owner).is_some()
    }

    /// Acquires the lock, joins its readers, or acquires it again as its owner. A new ownership gets the [`Self::next_fence`], and fails if
    /// that exceeds [`MAX_FENCE`]. `expires` is the expiry time of the key, which another client may have changed.
    pub fn claim(&mut self, claim: Claim<'_>, issued: u64, expires: impl FnOnce() -> Option<UnixMs>) -> Result<Claimed, Corrupt> {
        if self.is_held_by(claim.owner) {
            return self.claim_again(claim, issued, expires());
        }
        match &self.stored {
            None => {}
            Some(Stored::Ours(lock)) if lock.admits(claim.mode) => {}
            Some(_) => return Ok(Claimed::Held),
        }
        let fence = self.issue(issued)?;
        let holder = Holder { owner: Name::from_slice(claim.owner), holds: 1, deadline: self.now.plus(claim.lease), fence };
        let answer = granted(&holder, 1, self.now);
        match &mut self.stored {
            Some(Stored::Ours(lock)) => {
                lock.fence = fence;
                lock.add(holder);
            }
            stored => *stored = Some(Stored::Ours(Lock { mode: claim.mode, fence, holders: smallvec![holder] })),
        }
        self.change = Change::State;
        Ok(answer)
    }

    /// Acquires the lock for an owner that holds it. Never shortens the lease. An exclusive owner that asks for shared mode stays exclusive.
    /// The only reader that asks for exclusive mode becomes the exclusive owner, which is a new ownership.
    fn claim_again(&mut self, claim: Claim<'_>, issued: u64, expires: Option<UnixMs>) -> Result<Claimed, Corrupt> {
        let upgrades = claim.mode == Mode::Exclusive && self.exclusive_fence(claim.owner).is_none();
        if upgrades && let Some(until) = self.last_lease_of_others(claim.owner) {
            return Ok(Claimed::HeldTogether { until });
        }
        let fence = if upgrades || claim.again == Again::Renumber { Some(self.issue(issued)?) } else { None };
        let Some(Stored::Ours(lock)) = &mut self.stored else { return Ok(Claimed::Held) };
        if upgrades {
            lock.mode = Mode::Exclusive;
            lock.holders.retain(|holder| holder.holds > 0);
        }
        lock.fence = fence.unwrap_or(lock.fence);
        let Some(holder) = lock.holders.iter_mut().find(|holder| holder.holds > 0 && *holder.owner == *claim.owner) else {
            return Ok(Claimed::Held);
        };
        let (holds, deadline) = (holder.holds, holder.deadline);
        if claim.again == Again::Count {
            holder.holds = holds.saturating_add(1);
        }
        holder.deadline = deadline.max(self.now.plus(claim.lease));
        holder.fence = fence.unwrap_or(holder.fence);
        let answer = granted(holder, holder.holds.saturating_sub(holds), self.now);
        let changed = fence.is_some() || (holder.holds, holder.deadline) != (holds, deadline);
        // A grant also restores the TTL of the key.
        if changed || expires != Some(lock.deadline()) {
            self.change = Change::State;
        }
        Ok(answer)
    }

    /// Takes the next fence.
    fn issue(&mut self, issued: u64) -> Result<u64, Corrupt> {
        let fence = self.next_fence(issued);
        if fence > MAX_FENCE {
            return Err(Corrupt);
        }
        self.seen = fence;
        Ok(fence)
    }

    /// When the last lease of the owners besides `owner` ends; `None` if there are none.
    fn last_lease_of_others(&self, owner: &[u8]) -> Option<UnixMs> {
        match &self.stored {
            Some(Stored::Ours(lock)) => lock.taken().filter(|holder| *holder.owner != *owner).map(|holder| holder.deadline).max(),
            _ => None,
        }
    }

    /// When a claim of this mode could be granted if no holder releases before: `None` if no lease ends.
    #[must_use]
    pub fn free_at(&self, mode: Mode) -> Option<UnixMs> {
        match self.stored.as_ref()? {
            Stored::Foreign { until, .. } => *until,
            // One more reader fits as soon as the lease of another ends.
            Stored::Ours(lock) if lock.mode == Mode::Shared && mode == Mode::Shared => {
                lock.taken().map(|holder| holder.deadline).min()
            }
            Stored::Ours(lock) => Some(lock.deadline()),
        }
    }

    /// The time until the last lease ends: zero for a free lock, `None` for a foreign lock without a TTL.
    #[must_use]
    pub fn ttl(&self) -> Option<DurationMs> {
        if self.stored.is_none() {
            return Some(DurationMs(0));
        }
        self.free_at(Mode::Exclusive).map(|until| until.since(self.now))
    }

    /// Releases the lock. Returns the holds that the owner has left, or `None` if it was not an owner.
    pub fn release(&mut self, owner: &[u8], release: Release) -> Option<u32> {
        if matches!(&self.stored, Some(Stored::Foreign { token, .. }) if **token == *owner) {
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

    /// Takes back holds that were granted under `fence`. A no-op if there are none, or if the owner has a newer ownership.
    pub fn take_back(&mut self, owner: &[u8], fence: u64, holds: u32) {
        if holds > 0 && self.holder(owner).is_some_and(|holder| holder.fence == fence) {
            self.give_back(owner, holds);
        }
    }

    fn give_back(&mut self, owner: &[u8], holds: u32) {
        let Some(Stored::Ours(lock)) = &mut self.stored else { return };
        for holder in lock.holders.iter_mut().filter(|holder| *holder.owner == *owner) {
            holder.holds = holder.holds.saturating_sub(holds);
        }
        if lock.taken().next().is_none() {
            self.stored = None;
        }
        self.change = Change::State;
    }

    /// Sets the owner's lease to end `lease` from now. Returns the new TTL, or `None` if it was not an owner.
    pub fn renew(&mut self, owner: &[u8], lease: DurationMs) -> Option<DurationMs> {
        let deadline = self.now.plus(lease);
        match &mut self.stored {
            Some(Stored::Foreign { token, until }) if **token == *owner => {
                *until = Some(deadline);
                self.change = Change::End(deadline);
            }
            Some(Stored::Ours(lock)) => {
                lock.holders.iter_mut().find(|holder| holder.holds > 0 && *holder.owner == *owner)?.deadline = deadline;
                self.change = Change::State;
            }
            _ => return None,
        }
        Some(lease)
    }

    /// Extends the owner's lease to end `lease` from now, unless it ends later. Returns its end, or `None` if the owner does not hold the
    /// ownership with this fence.
    pub fn keep(&mut self, owner: &[u8], fence: u64, lease: DurationMs) -> Option<UnixMs> {
        let deadline = self.now.plus(lease);
        let Some(Stored::Ours(lock)) = &mut self.stored else { return None };
        let holds = |holder: &&mut Holder| holder.holds > 0 && *holder.owner == *owner && holder.fence == fence;
        let holder = lock.holders.iter_mut().find(holds)?;
        if holder.deadline < deadline {
            holder.deadline = deadline;
            self.change = Change::State;
        }
        Some(holder.deadline)
    }

    fn holder(&self, owner: &[u8]) -> Option<&Holder> {
        match &self.stored {
            Some(Stored::Ours(lock)) => lock.taken().find(|holder| *holder.owner == *owner),
            _ => None,
        }
    }

    /// The one write that stores the changes.
    #[must_use]
    pub fn effect(self) -> Effect<Bytes> {
        match (self.change, self.stored) {
            (Change::State, Some(Stored::Ours(lock))) => lock.write(self.large.as_deref()),
            (Change::State, None) => Effect::Delete,
            (Change::End(at), _) => Effect::Expire(at),
            (Change::Nothing | Change::State, _) => Effect::Keep,
        }
    }
}

fn granted(holder: &Holder, added: u32, now: UnixMs) -> Claimed {
    Claimed::Granted { fence: holder.fence, ttl: holder.deadline.since(now), holds: holder.holds, added }
}
