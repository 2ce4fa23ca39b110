//! Claims of permits.

use super::claim::{Answer, Claim, Claimable, Decision, Denied, Gain, Granted, Hold, Share, misplaced};
use super::queues::Kind;
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::semaphore::{self, Acquired, Draft};
use crate::primitives::time::{DurationMs, UnixMicros, UnixMs};

impl Claimable for Draft {
    const KIND: Kind = Kind::Semaphore;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self> {
        Self::read(&mut entry.sorted_set()?, now.floor_ms()).map_err(foreign_semaphore)
    }

    fn may_pass(&self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<bool> {
        let wanted = wanted(claim)?;
        let held = self.permits(&entry.sorted_set()?, wanted.owner).map_err(foreign_semaphore)?;
        Ok(wanted.amount.missing(held) == 0)
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>, now: UnixMicros) -> Result<Decision> {
        let wanted = wanted(claim)?;
        let mut stored = entry.sorted_set()?;
        let is_new = !self.holds(&stored, wanted.owner).map_err(foreign_semaphore)?;
        match self.claim(&mut stored, &wanted).map_err(foreign_semaphore)? {
            Acquired::Granted { in_use, added, until } => {
                let fence = fence::next(now);
                fence::observe(fence);
                let gain = Gain::Permits { added, until, is_new };
                Ok(Decision::Granted(Granted { answer: Answer::PermitsGranted { fence, in_use }, gain }))
            }
            Acquired::Denied { in_use, retry_after } => Ok(Decision::Denied(denial(self, in_use, retry_after))),
        }
    }

    fn denied(&self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<Denied> {
        let wanted = wanted(claim)?;
        let until = self.retry_at(&mut entry.sorted_set()?, &wanted).map_err(foreign_semaphore)?;
        Ok(denial(self, self.in_use(), until.map(|until| until.since(self.now()))))
    }

    fn take_back(&mut self, entry: &mut KeyEntry<'_>, share: &Share) -> Result<()> {
        let Share::Permits { owner, permits, until } = share else { return Ok(()) };
        // After the end of this lease the owner holds only permits that it acquired later.
        if *until <= self.now() {
            return Ok(());
        }
        self.release(&entry.sorted_set()?, owner, *permits).map_err(foreign_semaphore)?;
        Ok(())
    }

    fn keep(&mut self, entry: &mut KeyEntry<'_>, hold: &Hold<'_>) -> Result<Option<UnixMs>> {
        self.keep(&entry.sorted_set()?, &hold.owner, hold.lease).map_err(foreign_semaphore)
    }

    fn write(self, mut entry: KeyEntry<'_>) -> Result<()> {
        let effect = self.effect(&mut entry.sorted_set()?).map_err(foreign_semaphore)?;
        entry.apply(effect)
    }
}

fn denial(draft: &Draft, in_use: u64, retry_after: Option<DurationMs>) -> Denied {
    let answer = Answer::PermitsDenied { in_use, retry_after };
    Denied { answer, until: retry_after.map(|after| draft.now().plus(after)), never: retry_after.is_none() }
}

fn wanted<'c>(claim: &'c Claim<'_>) -> Result<semaphore::Claim<'c>> {
    match claim {
        Claim::Permits { owner, lease, capacity, amount } => {
            Ok(semaphore::Claim { owner, capacity: *capacity, amount: *amount, lease: *lease })
        }
        Claim::Lock { .. } | Claim::Due { .. } => Err(misplaced()),
    }
}

/// The error for a sorted set that is not a semaphore.
#[must_use]
pub fn foreign_semaphore(_: Corrupt) -> Error {
    Error::ForeignValue { expected: semaphore::FORMAT }
}
