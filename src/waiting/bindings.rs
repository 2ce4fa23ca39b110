//! What ends with a connection: the shares that were taken with BIND.
//!
//! A share that was given back otherwise is forgotten then; one whose lease ended is dropped when there are many. Entering a lock again
//! counts up what is there, so that neither the memory nor the time of a release grows with it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use super::holding::{Held, Share};
use super::queues::{ClientId, Kind, Place};
use crate::primitives::time::UnixMs;

/// Below this many nothing is dropped for its age.
const FEW: usize = 1024;

/// Who holds what where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The key.
    pub place: Place,
    /// The owner.
    pub owner: Box<[u8]>,
}

/// What one holder has bound.
#[derive(Debug)]
struct Bound {
    /// When the holder's lease ends, by what is known here. For permits it says which ones are meant; for a lock, whose fencing number says
    /// that, only until when it is not dropped for its age.
    until: UnixMs,
    /// One share per connection, and never nothing.
    shares: BTreeMap<ClientId, Share>,
}

impl Bound {
    /// Adds a share; true when the connection had none.
    fn add(&mut self, client: ClientId, share: Share) -> bool {
        match (self.shares.get_mut(&client), share) {
            (Some(Share::Holds { fence, count }), Share::Holds { fence: now, count: more }) => {
                // Another fence is another ownership: the earlier one is over.
                *count = if *fence == now { count.saturating_add(more) } else { more };
                *fence = now;
                false
            }
            (Some(Share::Permits(permits)), Share::Permits(more)) => {
                *permits = permits.saturating_add(more);
                false
            }
            _ => self.shares.insert(client, share).is_none(),
        }
    }

    fn prolong(&mut self, kind: Kind, until: UnixMs) {
        self.until = match kind {
            Kind::Lock => self.until.max(until),
            Kind::Semaphore => until,
        };
    }
}

impl Share {
    /// Takes up to `most` holds or permits away. How many that were.
    fn take(&mut self, most: u64) -> u64 {
        match self {
            Self::Holds { count, .. } => {
                let taken = u32::try_from(most).unwrap_or(u32::MAX).min(*count);
                *count = count.saturating_sub(taken);
                taken.into()
            }
            Self::Permits(permits) => {
                let taken = most.min(*permits);
                *permits = permits.saturating_sub(taken);
                taken
            }
        }
    }

    fn is_nothing(self) -> bool {
        matches!(self, Self::Holds { count: 0, .. } | Self::Permits(0))
    }
}

/// All bound shares.
#[derive(Debug)]
pub struct Bindings {
    holders: BTreeMap<Rc<Holder>, Bound>,
    clients: BTreeMap<ClientId, BTreeSet<Rc<Holder>>>,
    count: usize,
    /// The count at which ended leases are dropped next.
    crowded: usize,
}

impl Bindings {
    /// None.
    pub const fn new() -> Self {
        Self { holders: BTreeMap::new(), clients: BTreeMap::new(), count: 0, crowded: FEW }
    }

    /// How many shares there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Binds a share to a connection.
    pub fn add(&mut self, client: ClientId, held: Held, now: UnixMs) {
        let holder = Rc::new(Holder { place: held.place, owner: held.owner });
        let bound = self.holders.entry(holder.clone()).or_insert(Bound { until: held.until, shares: BTreeMap::new() });
        bound.prolong(holder.place.kind, held.until);
        if !bound.add(client, held.share) {
            return;
        }
        self.clients.entry(client).or_default().insert(holder);
        self.count = self.count.saturating_add(1);
        if self.count > self.crowded {
            self.drop_ended(now);
            self.crowded = self.count.saturating_mul(2).max(FEW);
        }
    }

    fn drop_ended(&mut self, now: UnixMs) {
        let over = |(holder, bound): (&Rc<Holder>, &Bound)| (bound.until <= now).then(|| holder.clone());
        let over: Vec<Rc<Holder>> = self.holders.iter().filter_map(over).collect();
        over.iter().for_each(|holder| self.forget(holder));
    }

    /// Everything that ends with this connection.
    pub fn end(&mut self, client: ClientId) -> Vec<Held> {
        let holders = self.clients.get(&client).cloned().unwrap_or_default();
        let ended = holders.into_iter().filter_map(|holder| {
            let (share, until) = self.remove(&holder, client)?;
            Some(Held { place: holder.place.clone(), owner: holder.owner.clone(), share, until })
        });
        ended.collect()
    }

    /// Forgets a holder that gave everything back.
    pub fn forget(&mut self, holder: &Holder) {
        let clients: Vec<ClientId> =
            self.holders.get(holder).into_iter().flat_map(|bound| bound.shares.keys().copied()).collect();
        for client in clients {
            self.remove(holder, client);
        }
    }

    /// A holder gave back `count` holds or permits and has some left: as many are not bound any more, those of the connection that gave
    /// them back before those of others, from the oldest connection on. Takes a step for each share that is gone, and one more.
    pub fn released(&mut self, holder: &Holder, client: ClientId, count: u64) {
        let mut left = count;
        while left > 0 {
            let Some(bound) = self.holders.get_mut(holder) else { return };
            let from = if bound.shares.contains_key(&client) { Some(client) } else { bound.shares.keys().next().copied() };
            let Some((from, share)) = from.and_then(|from| Some((from, bound.shares.get_mut(&from)?))) else { return };
            left = left.saturating_sub(share.take(left));
            if !share.is_nothing() {
                return;
            }
            self.remove(holder, from);
        }
    }

    /// A holder's lease has a new end.
    pub fn prolong(&mut self, holder: &Holder, until: UnixMs) {
        if let Some(bound) = self.holders.get_mut(holder) {
            bound.prolong(holder.place.kind, until);
        }
    }

    /// Two databases were swapped.
    pub fn swap_dbs(&mut self, one: i32, other: i32) {
        let moved = |holder: &Rc<Holder>| {
            let mut holder = Holder::clone(holder);
            holder.place.swap_db(one, other);
            Rc::new(holder)
        };
        self.holders = mem::take(&mut self.holders).into_iter().map(|(holder, bound)| (moved(&holder), bound)).collect();
        for holders in self.clients.values_mut() {
            *holders = holders.iter().map(moved).collect();
        }
    }

    /// Takes out what a holder has bound to one connection, and when its lease ends.
    fn remove(&mut self, holder: &Holder, client: ClientId) -> Option<(Share, UnixMs)> {
        let bound = self.holders.get_mut(holder)?;
        let removed = (bound.shares.remove(&client)?, bound.until);
        self.count = self.count.saturating_sub(1);
        if bound.shares.is_empty() {
            self.holders.remove(holder);
        }
        if let Some(holders) = self.clients.get_mut(&client) {
            holders.remove(holder);
            if holders.is_empty() {
                self.clients.remove(&client);
            }
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(key: &str, owner: &str) -> Holder {
        let place = Place { key: Rc::from(key.as_bytes()), db: 0, kind: Kind::Lock };
        Holder { place, owner: owner.as_bytes().into() }
    }

    fn held(key: &str, owner: &str, share: Share, until: u64) -> Held {
        let Holder { place, owner } = holder(key, owner);
        Held { place, owner, share, until: UnixMs(until) }
    }

    fn hold(key: &str, owner: &str, fence: u64) -> Held {
        held(key, owner, Share::Holds { fence, count: 1 }, fence)
    }

    const fn holds(fence: u64, count: u32) -> Share {
        Share::Holds { fence, count }
    }

    fn shares(held: &[Held]) -> Vec<Share> {
        held.iter().map(|held| held.share).collect()
    }

    #[test]
    fn everything_of_a_connection_ends_with_it_and_nothing_else() {
        let mut bindings = Bindings::new();
        for (client, key, fence) in [(1, "a", 1), (1, "b", 2), (2, "a", 3), (1, "a", 4)] {
            bindings.add(client, hold(key, "me", fence), UnixMs(0));
        }
        // The second hold of `a` is of a later ownership: the first is over.
        assert_eq!(shares(&bindings.end(1)), [holds(4, 1), holds(2, 1)]);
        assert_eq!(shares(&bindings.end(1)), []);
        assert_eq!(bindings.count(), 1);
        assert_eq!(shares(&bindings.end(2)), [holds(3, 1)]);
        assert!(bindings.holders.is_empty() && bindings.clients.is_empty());
    }

    #[test]
    fn what_was_given_back_is_forgotten() {
        let mut bindings = Bindings::new();
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "you", 2), UnixMs(0));
        bindings.forget(&holder("a", "me"));
        bindings.forget(&holder("b", "you"));
        assert_eq!(shares(&bindings.end(1)), [holds(2, 1)]);
    }

    #[test]
    fn a_part_that_was_given_back_is_not_bound_any_more() {
        let mut bindings = Bindings::new();
        for (client, permits) in [(1, 2), (2, 3), (1, 4)] {
            bindings.add(client, held("a", "me", Share::Permits(permits), 9), UnixMs(0));
        }
        bindings.released(&holder("a", "me"), 1, 5);
        bindings.released(&holder("a", "me"), 3, 2);
        // Five of the first connection's six; of those that are left to others the one of the oldest connection first.
        assert_eq!(shares(&bindings.end(1)), []);
        assert_eq!(shares(&bindings.end(2)), [Share::Permits(2)]);
        assert_eq!(bindings.count(), 0);
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.released(&holder("a", "me"), 1, 1);
        assert_eq!(shares(&bindings.end(1)), [holds(1, 1)]);
    }

    #[test]
    fn entering_again_is_one_part_however_often() {
        let mut bindings = Bindings::new();
        let me = holder("a", "me");
        for _ in 0..100_000 {
            bindings.add(1, hold("a", "me", 7), UnixMs(0));
        }
        bindings.add(2, hold("a", "me", 7), UnixMs(0));
        assert_eq!(bindings.count(), 2);
        bindings.released(&me, 1, 1);
        // A connection without a part of its own: the others' go, one step for each part that is gone.
        bindings.released(&me, 3, 99_999);
        assert_eq!((shares(&bindings.end(1)), shares(&bindings.end(2))), (vec![], vec![holds(7, 1)]));
        assert!(bindings.holders.is_empty() && bindings.clients.is_empty() && bindings.count() == 0);
    }

    #[test]
    fn a_swap_of_databases_takes_them_along() {
        let mut bindings = Bindings::new();
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.swap_dbs(0, 3);
        bindings.forget(&holder("a", "me"));
        assert_eq!(bindings.end(1).first().map(|held| held.place.db), Some(3));
        assert_eq!(bindings.count(), 0);
    }

    #[test]
    fn ended_leases_do_not_pile_up() {
        let mut bindings = Bindings::new();
        bindings.add(7, hold("kept", "me", 1), UnixMs(0));
        bindings.prolong(&holder("kept", "me"), UnixMs(u64::MAX));
        for until in 1..=10 * u64::try_from(FEW).unwrap_or(0) {
            bindings.add(1, hold(&format!("k{until}"), "me", until), UnixMs(until));
            assert!(bindings.count() <= FEW + 1);
        }
        assert_eq!(bindings.end(7).len(), 1);
    }
}
