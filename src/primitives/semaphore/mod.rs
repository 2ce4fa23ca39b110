//! Counting semaphores: owners, their permits and their leases.
//!
//! A semaphore is a sorted set. Each owner has a lease member, whose score is the time when the lease ends. An owner with more than one
//! permit also has a count member, whose score is minus the number of its permits. Once there is such an owner, a total member has the
//! score minus the number of all permits. So a decision reads and changes only a few members, however many owners and permits there are:
//! those of its owner, those whose lease has ended, and for a denial those whose leases must end first.
//!
//! A request names how many permits its owner holds afterwards, so it is safe to send again; it takes only those that are missing, and it
//! never releases any.
//!
//! Invariants: no grant takes the permits of all owners together above the capacity in the request. All permits of an owner end together,
//! and acquiring never makes them end earlier. A lease that has ended no longer counts, even while it is stored; the next change
//! removes it. Counts that another client has edited are accepted if they are possible.

use std::collections::BTreeMap;

use super::codec::{Bytes, Corrupt, Name, Writer};
use super::effect::Effect;
use super::few::{self, Few};
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// The name of this format in error messages.
pub const FORMAT: &str = "a semaphore (format SM1)";

/// The most permits of one semaphore and of one request.
pub const MAX_PERMITS: u16 = 10_000;

/// The latest end of a lease. A score represents every whole number up to here exactly.
const MAX_DEADLINE: u64 = 1 << 53;

const MAGIC: &[u8] = b"\xa7SM\x01";
const LEASE: u8 = 0;
const COUNT: u8 = 1;
/// The total member.
const TOTAL: &[u8] = b"\xa7SM\x01\x02";

/// The lowest score of a lease. Counts and the total have lower scores.
const FIRST_LEASE: f64 = 0.0;

/// The stored sorted set. A missing key is an empty set.
///
/// The iterators borrow the set mutably, since a server's key handle holds the state of one iterator at most.
pub trait Permits {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `None` if there is no such member.
    fn score(&self, member: &[u8]) -> Option<f64>;

    /// The members with this score or a higher one, and their scores, the lowest first.
    fn ascending(&mut self, from: f64) -> impl Iterator<Item = (Bytes, f64)>;

    /// The members and their scores, the highest score first.
    fn descending(&mut self) -> impl Iterator<Item = (Bytes, f64)>;
}

fn member(kind: u8, owner: &[u8]) -> Bytes {
    Writer::fill(MAGIC.len().saturating_add(1).saturating_add(owner.len()), |member| {
        member.bytes(MAGIC);
        member.uint::<1>(kind.into());
        member.bytes(owner);
    })
}

/// The owner and the end of a lease member.
fn decode((member, score): (Bytes, f64)) -> Result<Lease, Corrupt> {
    let owner = member.strip_prefix(MAGIC).and_then(|rest| rest.strip_prefix(&[LEASE])).ok_or(Corrupt)?;
    if (1..=super::lock::MAX_OWNER_BYTES).contains(&owner.len()) {
        Ok((Name::from_slice(owner), deadline(score)?))
    } else {
        Err(Corrupt)
    }
}

/// An owner and the end of its lease.
type Lease = (Name, UnixMs);

/// The end of a lease, from its score.
fn deadline(score: f64) -> Result<UnixMs, Corrupt> {
    whole(score, MAX_DEADLINE).map(UnixMs)
}

/// The number of permits, from the score of a count or of the total.
fn permits_of(score: f64) -> Result<u64, Corrupt> {
    whole(-score, MAX_PERMITS.into()).and_then(|count| if count > 0 { Ok(count) } else { Err(Corrupt) })
}

/// Refuses a score that is not whole or not in range, NaN included, so that nothing is rounded.
fn whole(score: f64, most: u64) -> Result<u64, Corrupt> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    if score >= 0.0 && score <= most as f64 && score.fract() == 0.0 { Ok(score as u64) } else { Err(Corrupt) }
}

/// The stored count of an owner, if there is one. Without a total, no owner has a count.
fn count(stored: &impl Permits, owner: &[u8], counted: bool) -> Result<Option<u64>, Corrupt> {
    if counted { stored.score(&member(COUNT, owner)).map(permits_of).transpose() } else { Ok(None) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub permits: u64,
    /// When all of its permits end.
    pub until: UnixMs,
}

/// An owner in a decision.
struct Held {
    /// The stored end of its lease, even if that has passed.
    lease: Option<UnixMs>,
    /// The stored number of its permits.
    count: Option<u64>,
    /// Its permits after the decision.
    after: Option<Owner>,
}

impl Held {
    /// Adds the members that must be written.
    fn changes(&self, owner: &[u8], changes: &mut Changes) {
        let until = self.after.map(|after| after.until);
        changes.member(|| member(LEASE, owner), self.lease.map(UnixMs::as_i64), until.map(UnixMs::as_i64));
        let permits = self.after.map(|after| after.permits).filter(|permits| *permits > 1);
        changes.member(|| member(COUNT, owner), self.count.map(score_of), permits.map(score_of));
    }
}

fn score_of(permits: u64) -> i64 {
    0_i64.saturating_sub_unsigned(permits)
}

/// Members that are set to a score, and members that are removed.
#[derive(Default)]
struct Changes {
    set: Vec<(Bytes, i64)>,
    removed: Vec<Bytes>,
}

impl Changes {
    /// Changes the score of one member.
    fn member(&mut self, member: impl FnOnce() -> Bytes, before: Option<i64>, after: Option<i64>) {
        match after {
            Some(score) if before != after => few::push(&mut self.set, (member(), score)),
            None if before.is_some() => few::push(&mut self.removed, member()),
            _ => {}
        }
    }
}

/// A request for permits.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// 1 to [`super::lock::MAX_OWNER_BYTES`] bytes.
    pub owner: &'a [u8],
    /// How many permits may be in use, 1 to [`MAX_PERMITS`].
    pub capacity: u64,
    pub amount: Amount,
    pub lease: DurationMs,
}

/// How many permits a request asks for, 1 to [`MAX_PERMITS`], all or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// The owner holds at least this many afterwards.
    AtLeast(u64),
    /// The owner gets this many more.
    More(u64),
}

impl Amount {
    /// The most permits that the request can take.
    fn most(self) -> u64 {
        match self {
            Self::AtLeast(permits) | Self::More(permits) => permits,
        }
    }

    /// How many permits an owner with `held` permits lacks.
    #[must_use]
    pub fn missing(self, held: u64) -> u64 {
        match self {
            Self::AtLeast(permits) => permits.saturating_sub(held),
            Self::More(permits) => permits,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acquired {
    Granted {
        /// How many permits are in use now, the new ones included.
        in_use: u64,
        /// How many permits are new.
        added: u64,
        /// When all permits of the owner end.
        until: UnixMs,
    },
    Denied {
        /// How many permits are in use.
        in_use: u64,
        /// When the claim fits if no permit is released or granted before; `None` means never.
        retry_after: Option<DurationMs>,
    },
}

/// A semaphore with the changes of one or more decisions, not yet written.
pub struct Draft {
    now: UnixMs,
    in_use: u64,
    /// The stored number of all permits; `None` if there is one per lease.
    total: Option<u64>,
    /// The owners whose lease has ended and is still stored.
    ended: Vec<Name>,
    /// The stored lease that ends last, unless all have ended.
    last: Option<Lease>,
    /// Whether `ended` and `last` are all that is stored.
    is_known: bool,
    /// The owners in the decisions so far.
    owners: Few<Name, Held>,
    granted: bool,
    changed: bool,
}

impl Draft {
    /// Reads a stored semaphore. Its highest member, and its total or lowest member, show whether the set is a semaphore.
    pub fn read(stored: &mut impl Permits, now: UnixMs) -> Result<Self, Corrupt> {
        let members = stored.len();
        let (ended, owners) = (Vec::new(), Few::Empty);
        let mut draft =
            Self { now, in_use: 0, total: None, ended, last: None, is_known: true, owners, granted: false, changed: false };
        if members == 0 {
            return Ok(draft);
        }
        let mut all = stored.ascending(f64::NEG_INFINITY);
        let lowest = all.next().ok_or(Corrupt)?;
        // Only counts and the total have lower scores than leases.
        if lowest.1 >= FIRST_LEASE {
            draft.read_leases(std::iter::once(lowest).chain(all))?;
            draft.in_use = u64::try_from(members).unwrap_or(u64::MAX);
        } else {
            drop(all);
            let total = stored.score(TOTAL).map(permits_of).transpose()?.ok_or(Corrupt)?;
            draft.read_leases(stored.ascending(FIRST_LEASE))?;
            (draft.total, draft.in_use) = (Some(total), total);
        }
        // Every member but the total stands for at least one permit.
        let others = members.saturating_sub(usize::from(draft.total.is_some()));
        if draft.in_use < u64::try_from(others).unwrap_or(u64::MAX) {
            return Err(Corrupt);
        }
        draft.is_known = members == draft.ended.len().saturating_add(usize::from(draft.last.is_some()));
        if !draft.is_known {
            draft.last = stored.descending().next().map(decode).transpose()?.filter(|(_, deadline)| *deadline > now);
        }
        for owner in &draft.ended {
            draft.in_use = draft.in_use.saturating_sub(count(stored, owner, draft.total.is_some())?.unwrap_or(1));
        }
        Ok(draft)
    }

    /// Reads leases until the first that has not ended.
    fn read_leases(&mut self, leases: impl Iterator<Item = (Bytes, f64)>) -> Result<(), Corrupt> {
        for found in leases {
            let lease = decode(found)?;
            if lease.1 > self.now {
                self.last = Some(lease);
                break;
            }
            self.ended.push(lease.0);
        }
        Ok(())
    }

    /// What is stored about an owner.
    fn stored(&self, stored: &impl Permits, owner: &[u8]) -> Result<Held, Corrupt> {
        let lease = match &self.last {
            Some((last, deadline)) if **last == *owner => Some(*deadline),
            _ if self.is_known && self.ended.is_empty() => None,
            _ => stored.score(&member(LEASE, owner)).map(deadline).transpose()?,
        };
        let count = count(stored, owner, self.total.is_some())?;
        let after = lease.filter(|until| *until > self.now).map(|until| Owner { permits: count.unwrap_or(1), until });
        Ok(Held { lease, count, after })
    }

    #[must_use]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    /// How many permits are in use.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// How many permits the owner holds.
    pub fn permits(&self, stored: &impl Permits, owner: &[u8]) -> Result<u64, Corrupt> {
        let after = match self.owners.get(owner) {
            Some(held) => held.after,
            None => self.stored(stored, owner)?.after,
        };
        Ok(after.map_or(0, |after| after.permits))
    }

    /// Whether the owner holds permits.
    pub fn holds(&mut self, stored: &impl Permits, owner: &[u8]) -> Result<bool, Corrupt> {
        Ok(self.held(stored, owner)?.after.is_some())
    }

    /// Acquires the missing permits if enough are left; a request that misses none needs no room. Never shortens the owner's lease.
    pub fn claim(&mut self, stored: &mut impl Permits, claim: &Claim<'_>) -> Result<Acquired, Corrupt> {
        let before = self.held(stored, claim.owner)?.after;
        let held = before.map_or(0, |before| before.permits);
        let added = claim.amount.missing(held);
        let in_use = self.in_use.saturating_add(added);
        if added > 0 && in_use > claim.capacity {
            let retry_at = self.retry_at(stored, claim)?;
            return Ok(Acquired::Denied { in_use: self.in_use, retry_after: retry_at.map(|at| at.since(self.now)) });
        }
        let permits = held.saturating_add(added);
        // More than the maximum of all owners: another client edited the counts.
        if permits > MAX_PERMITS.into() {
            return Err(Corrupt);
        }
        let deadline = self.now.plus(claim.lease);
        let until = before.map_or(deadline, |before| before.until.max(deadline));
        let after = Some(Owner { permits, until });
        self.held(stored, claim.owner)?.after = after;
        (self.in_use, self.granted, self.changed) = (in_use, true, self.changed || after != before);
        Ok(Acquired::Granted { in_use, added, until })
    }

    /// Releases permits, or all if the owner has fewer. Returns how many the owner has left, or `None` if it had none.
    pub fn release(&mut self, stored: &impl Permits, owner: &[u8], permits: u64) -> Result<Option<u64>, Corrupt> {
        let after = &mut self.held(stored, owner)?.after;
        let Some(has) = *after else { return Ok(None) };
        let left = has.permits.saturating_sub(permits);
        *after = Some(Owner { permits: left, ..has }).filter(|_| left > 0);
        self.in_use = self.in_use.saturating_sub(has.permits.saturating_sub(left));
        self.changed = true;
        Ok(Some(left))
    }

    /// Sets all permits of the owner to end `lease` from now. Returns the new TTL, or `None` if it had none.
    pub fn renew(&mut self, stored: &impl Permits, owner: &[u8], lease: DurationMs) -> Result<Option<DurationMs>, Corrupt> {
        let until = self.now.plus(lease);
        match &mut self.held(stored, owner)?.after {
            None => Ok(None),
            Some(after) => {
                after.until = until;
                self.changed = true;
                Ok(Some(lease))
            }
        }
    }

    /// Extends the lease of all permits of the owner to end `lease` from now, unless it ends later. Returns its end, or `None` if the owner
    /// has no permits.
    pub fn keep(&mut self, stored: &impl Permits, owner: &[u8], lease: DurationMs) -> Result<Option<UnixMs>, Corrupt> {
        let until = self.now.plus(lease);
        let Some(after) = &mut self.held(stored, owner)?.after else { return Ok(None) };
        let extends = after.until < until;
        after.until = after.until.max(until);
        let until = after.until;
        self.changed |= extends;
        Ok(Some(until))
    }

    /// When a claim fits if no permit is released or granted before: now, or when enough leases have ended; `None` means never.
    pub fn retry_at(&self, stored: &mut impl Permits, claim: &Claim<'_>) -> Result<Option<UnixMs>, Corrupt> {
        let missing = match claim.amount.missing(self.permits(stored, claim.owner)?) {
            0 => 0,
            // Even an empty semaphore has too few permits: no lease need be read.
            _ if claim.amount.most() > claim.capacity => return Ok(None),
            lacks => self.in_use.saturating_add(lacks).saturating_sub(claim.capacity),
        };
        if missing == 0 {
            return Ok(Some(self.now));
        }
        // If the owner's own lease ends, it lacks those permits in turn.
        let frees = |owner: &[u8]| matches!(claim.amount, Amount::More(_)) || owner != claim.owner;
        let live = |(owner, deadline): &Lease| *deadline > self.now && !self.owners.contains_key(&**owner) && frees(owner);
        let others = stored.ascending(FIRST_LEASE).map(decode).filter(|found| found.as_ref().map_or(true, live));
        // A lease has at least one permit.
        let others = others.take(usize::try_from(missing).unwrap_or(usize::MAX)).collect::<Result<Vec<_>, _>>()?;
        let decided = self.owners.iter().filter(|(owner, _)| frees(owner));
        let mut ends: Vec<_> = decided.filter_map(|(_, held)| held.after).collect();
        for (owner, until) in others {
            ends.push(Owner { permits: count(stored, &owner, self.total.is_some())?.unwrap_or(1), until });
        }
        ends.sort_unstable_by_key(|owner| owner.until);
        let mut freed: u64 = 0;
        let enough = ends.into_iter().find(|owner| {
            freed = freed.saturating_add(owner.permits);
            freed >= missing
        });
        Ok(enough.map(|owner| owner.until))
    }

    /// The changes of the decisions, and the removal of ended leases. A no-op if there is only such a removal.
    pub fn effect(self, stored: &mut impl Permits) -> Result<Effect<Bytes>, Corrupt> {
        let mut changes = Changes::default();
        if !self.changed {
            // A grant also restores the TTL of the key.
            let until = if self.granted { self.until(stored)? } else { return Ok(Effect::Keep) };
            return Ok(Effect::Members { set: changes.set, removed: changes.removed, until });
        }
        let counted = self.total.is_some();
        for owner in self.ended.iter().filter(|owner| !self.owners.contains_key(&***owner)) {
            Held { after: None, ..self.stored(stored, owner)? }.changes(owner, &mut changes);
        }
        for (owner, held) in self.owners.iter() {
            held.changes(owner, &mut changes);
        }
        let several = self.owners.values().any(|held| held.after.is_some_and(|after| after.permits > 1));
        let total = Some(self.in_use).filter(|in_use| *in_use > 0 && (counted || several));
        changes.member(|| Bytes::from_slice(TOTAL), self.total.map(score_of), total.map(score_of));
        let until = self.until(stored)?;
        Ok(Effect::Members { set: changes.set, removed: changes.removed, until })
    }

    /// When the last lease ends; `None` if there is none.
    fn until(&self, stored: &mut impl Permits) -> Result<Option<UnixMs>, Corrupt> {
        let ours = self.owners.values().filter_map(|held| held.after).map(|after| after.until).max();
        match &self.last {
            None => return Ok(ours),
            Some((owner, deadline)) if !self.owners.contains_key(&**owner) => return Ok(ours.max(Some(*deadline))),
            // No other lease is stored.
            Some(_) if self.is_known => return Ok(ours),
            Some(_) => {}
        }
        for found in stored.descending().take_while(|(_, score)| *score >= FIRST_LEASE) {
            let (owner, deadline) = decode(found)?;
            if !self.owners.contains_key(&*owner) {
                return Ok(ours.max(Some(deadline).filter(|deadline| *deadline > self.now)));
            }
        }
        Ok(ours)
    }

    fn held(&mut self, stored: &impl Permits, owner: &[u8]) -> Result<&mut Held, Corrupt> {
        if !self.owners.contains_key(owner) {
            let held = self.stored(stored, owner)?;
            self.owners.insert(Name::from_slice(owner), held);
        }
        self.owners.get_mut(owner).ok_or(Corrupt)
    }
}

/// Every owner with permits, by name. Reads the whole set.
pub fn owners(stored: &mut impl Permits, now: UnixMs) -> Result<BTreeMap<Name, Owner>, Corrupt> {
    let counted = stored.score(TOTAL).map(permits_of).transpose()?.is_some();
    if !counted {
        stored.ascending(f64::NEG_INFINITY).next().map(decode).transpose()?;
    }
    let leases = stored.ascending(FIRST_LEASE).map(decode).collect::<Result<Vec<_>, _>>()?;
    let mut owners = BTreeMap::new();
    for (owner, until) in leases.into_iter().filter(|(_, until)| *until > now) {
        let permits = count(stored, &owner, counted)?.unwrap_or(1);
        owners.insert(owner, Owner { permits, until });
    }
    Ok(owners)
}
