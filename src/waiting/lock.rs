//! Claims of locks.

use super::claim::{Answer, Claim, Claimable, Decision, Denied, Granted, Hold, Share, misplaced};
use super::queues::Kind;
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::lock::{self, Claimed, Draft, Stored};
use crate::primitives::time::{UnixMicros, UnixMs};

impl Claimable for Draft {
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

    fn may_pass(&self, _entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<bool> {
        Ok(self.is_held_by(wanted(claim)?.owner))
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>, now: UnixMicros) -> Result<Decision> {
        let wanted = wanted(claim)?;
        let is_new = !self.is_held_by(wanted.owner);
        Ok(match self.claim(wanted, fence::next(now)).map_err(foreign_lock)? {
            Claimed::Granted { fence, ttl, holds } => {
                fence::observe(fence);
                let owner: Box<[u8]> = wanted.owner.into();
                let share = Share::Holds { owner: owner.clone(), fence, count: 1 };
                let hold = Hold { owner, fence: Some(fence), lease: wanted.lease, until: now.floor_ms().plus(ttl), is_new };
                Decision::Granted(Granted {
                    answer: Answer::LockGranted { fence, ttl, holds },
                    share: Some(share),
                    hold: Some(hold),
                })
            }
            Claimed::Held => Decision::Denied(self.denied(entry, claim)?),
            Claimed::Upgrade => return Err(upgrade()),
        })
    }

    fn denied(&self, _entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<Denied> {
        let until = self.free_at(wanted(claim)?.mode);
        Ok(Denied { answer: Answer::LockDenied { ttl: self.ttl() }, until, never: false })
    }

    fn take_back(&mut self, _entry: &mut KeyEntry<'_>, share: &Share) -> Result<()> {
        if let Share::Holds { owner, fence, count } = share {
            self.take_back(owner, *fence, *count);
        }
        Ok(())
    }

    fn keep(&mut self, _entry: &mut KeyEntry<'_>, hold: &Hold) -> Result<Option<UnixMs>> {
        Ok(hold.fence.and_then(|fence| self.keep(&hold.owner, fence, hold.lease)))
    }

    fn write(self, entry: KeyEntry<'_>) -> Result<()> {
        entry.apply(self.effect())
    }
}

fn wanted<'c>(claim: &'c Claim<'_>) -> Result<lock::Claim<'c>> {
    match claim {
        Claim::Lock { owner, lease, mode } => Ok(lock::Claim { owner, mode: *mode, lease: *lease }),
        Claim::Permits { .. } => Err(misplaced()),
    }
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
