//! Claims of members that are due.

use std::borrow::Cow;
use std::rc::Rc;

use super::claim::{Answer, Claim, Claimable, Decision, Denied, Gain, Granted, Hold, Share, misplaced};
use super::queues::Kind;
use crate::error::Result;
use crate::keyspace::{KeyEntry, leases};
use crate::primitives::codec::Bytes;
use crate::primitives::due::{Draft, Take};
use crate::primitives::effect::{Effect, End};
use crate::primitives::time::{UnixMicros, UnixMs};
use crate::server::module_api::OwnedStr;

/// A sorted set, and the lists to which its members move, during a visit.
pub struct DueSet {
    draft: Draft,
    /// In the order of the grants.
    pushes: Vec<(OwnedStr, Effect<Bytes>)>,
}

type List<'c> = Option<(&'c [u8], End)>;

impl Claimable for DueSet {
    const KIND: Kind = Kind::Due;

    fn read(entry: &mut KeyEntry<'_>, now: UnixMicros) -> Result<Self> {
        entry.sorted_set()?;
        Ok(Self { draft: Draft::new(now), pushes: Vec::new() })
    }

    fn may_pass(&self, _entry: &mut KeyEntry<'_>, _claim: &Claim<'_>) -> Result<bool> {
        Ok(false)
    }

    fn claim(&mut self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>, _now: UnixMicros) -> Result<Decision> {
        let (take, list) = wanted(claim)?;
        // Before a member is taken: a grant cannot fail for the type of its list.
        if let Some((list, _)) = list {
            entry.other(OwnedStr::new(list).as_str()).list_len()?;
        }
        let mut stored = entry.sorted_set()?;
        let taken = Rc::new(leases::issuing(|tokens| self.draft.take(&mut stored, take, tokens))?);
        if taken.is_empty() {
            return self.denied(entry, claim).map(Decision::Denied);
        }
        let gain = match list {
            None => Gain::Members { until: entry.expiry() },
            Some((list, end)) => {
                let values = taken.iter().map(|taken| Bytes::from_slice(&taken.member)).collect();
                self.pushes.push((OwnedStr::new(list), Effect::Push { end, values, dropped: 0, until: None }));
                Gain::Moved
            }
        };
        Ok(Decision::Granted(Granted { answer: Answer::Due(taken), gain }))
    }

    fn denied(&self, entry: &mut KeyEntry<'_>, claim: &Claim<'_>) -> Result<Denied> {
        let until = self.draft.next_due(&mut entry.sorted_set()?, wanted(claim)?.0.unit);
        Ok(Denied { answer: Answer::Due(Rc::default()), until, never: false })
    }

    fn take_back(&mut self, entry: &mut KeyEntry<'_>, share: &Share) -> Result<()> {
        let Share::Members { taken, until } = share else { return Ok(()) };
        let mut stored = entry.sorted_set()?;
        taken.iter().for_each(|taken| self.draft.put_back(&mut stored, taken, *until));
        Ok(())
    }

    fn keep(&mut self, _entry: &mut KeyEntry<'_>, _hold: &Hold<'_>) -> Result<Option<UnixMs>> {
        Ok(None)
    }

    fn write(self, entry: KeyEntry<'_>) -> Result<()> {
        let (lists, pushes): (Vec<_>, Vec<_>) = self.pushes.into_iter().unzip();
        entry.apply_with(self.draft.effect(), lists.iter().map(OwnedStr::as_str).zip(pushes).collect())
    }
}

fn wanted<'c>(claim: &'c Claim<'_>) -> Result<(Take, List<'c>)> {
    match claim {
        Claim::Due { take, list } => Ok((*take, list.as_ref().map(|(list, end)| (Cow::as_ref(list), *end)))),
        Claim::Lock { .. } | Claim::Permits { .. } => Err(misplaced()),
    }
}
