//! Claims of locks.

use super::claim::{Answer, Claim, Claimable, Decision, Denied, Gain, Granted, Hold, Share, misplaced};
use super::queues::Kind;
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::lock::{self, Claimed, Draft, Stored};
use crate::primitives::time::{UnixMicros, UnixMs};

impl Claimable for Draft {
    const KIND: Kind = Kind::Lock;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self> {
        let Some(string) = entry.string()? else { return Ok(Self::new(None, now.floor_ms())) };
        let stored = if lock::is_ours(string) { Some(Stored::decode(string, || None)) } else { None };
        let stored = match stored {
            Some(ours) => ours,
            // Only a foreign lock needs the expiry time, which costs a lookup.
            None => {
                let until = entry.expiry();
                Stored::decode(entry.string()?.unwrap_or_default(), || until)
            }
        };
        let stored = stored.map_err(foreign_lock)?;
        stored.fence().into_iter().for_each(fence::observe);
        Ok(Self::new(Some(stored), now.floor_ms()))
    }

    fn may_pass(&self, _entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<bool> {
        Ok(self.is_held_by(wanted(claim)?.owner))
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>, now: UnixMicros) -> Result<Decision> {
        let wanted = wanted(claim)?;
        let is_new = !self.is_held_by(wanted.owner);
        Ok(match self.claim(wanted, fence::next(now), || entry.expiry()).map_err(foreign_lock)? {
            Claimed::Granted { fence, ttl, holds, added } => {
                fence::observe(fence);
                let gain = Gain::Holds { fence, added, until: now.floor_ms().plus(ttl), is_new };
                Decision::Granted(Granted { answer: Answer::LockGranted { fence, ttl, holds }, gain })
            }
            Claimed::Held => Decision::Denied(self.denied(entry, claim)?),
            Claimed::HeldTogether { until } => {
                let answer = Answer::LockDenied { ttl: Some(until.since(now.floor_ms())) };
                Decision::Denied(Denied { answer, until: Some(until), never: true })
            }
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

    fn keep(&mut self, _entry: &mut KeyEntry<'_>, hold: &Hold<'_>) -> Result<Option<UnixMs>> {
        Ok(hold.fence.and_then(|fence| self.keep(&hold.owner, fence, hold.lease)))
    }

    fn write(self, entry: KeyEntry<'_>) -> Result<()> {
        entry.apply(self.effect())
    }
}

fn wanted<'c>(claim: &'c Claim<'_>) -> Result<lock::Claim<'c>> {
    match claim {
        Claim::Lock { owner, lease, mode, again } => Ok(lock::Claim { owner, mode: *mode, lease: *lease, again: *again }),
        Claim::Permits { .. } | Claim::Due { .. } => Err(misplaced()),
    }
}

/// The error for a damaged lock.
#[must_use]
pub fn foreign_lock(_: Corrupt) -> Error {
    Error::ForeignValue { expected: lock::FORMAT }
}
