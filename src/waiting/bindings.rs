//! Shares that end with a connection: those acquired with BIND.
//!
//! A release also removes the binding of its share. The bindings of ended leases are dropped once there are many. Acquiring a lock again
//! increments a count, so neither the memory nor the time of a release grows with the number of holds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use super::holding::{Held, Holder, Share};
use super::queues::{ClientId, Kind};
use crate::primitives::time::UnixMs;

/// Up to this number of shares no ended lease is dropped.
const FEW: usize = 1024;

/// The bound shares of one holder.
#[derive(Debug)]
struct Bound {
    /// The end of the holder's lease, as far as known here. It identifies permits. A lock is identified by its fence, and the time only
    /// decides when its binding may be dropped.
    until: UnixMs,
    /// One share per connection, never an empty one.
    shares: BTreeMap<ClientId, Share>,
}

impl Bound {
    /// Adds a share. True if the connection had none.
    fn add(&mut self, client: ClientId, share: Share) -> bool {
        match (self.shares.get_mut(&client), share) {
            (Some(Share::Holds { fence, count }), Share::Holds { fence: now, count: more }) => {
                // A new fence is a new ownership, so the earlier one has ended.
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

    fn renew(&mut self, kind: Kind, until: UnixMs) {
        self.until = match kind {
            Kind::Lock => self.until.max(until),
            Kind::Semaphore => until,
        };
    }
}

impl Share {
    /// Removes up to `most` holds or permits and returns their number.
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

    fn is_empty(self) -> bool {
        matches!(self, Self::Holds { count: 0, .. } | Self::Permits(0))
    }
}

/// All bound shares.
#[derive(Debug)]
pub struct Bindings {
    holders: BTreeMap<Rc<Holder>, Bound>,
    clients: BTreeMap<ClientId, BTreeSet<Rc<Holder>>>,
    count: usize,
    /// The count above which ended leases are dropped.
    crowded: usize,
}

impl Bindings {
    pub const fn new() -> Self {
        Self { holders: BTreeMap::new(), clients: BTreeMap::new(), count: 0, crowded: FEW }
    }

    /// The number of shares.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Binds a share to a connection.
    pub fn add(&mut self, client: ClientId, held: Held, now: UnixMs) {
        let holder = Rc::new(Holder { resource: held.resource, owner: held.owner });
        let bound = self.holders.entry(holder.clone()).or_insert(Bound { until: held.until, shares: BTreeMap::new() });
        bound.renew(holder.resource.kind, held.until);
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
        let ended = |(holder, bound): (&Rc<Holder>, &Bound)| (bound.until <= now).then(|| holder.clone());
        let ended: Vec<Rc<Holder>> = self.holders.iter().filter_map(ended).collect();
        ended.iter().for_each(|holder| self.forget(holder));
    }

    /// Removes and returns the shares of a connection that closes.
    pub fn end(&mut self, client: ClientId) -> Vec<Held> {
        let holders = self.clients.get(&client).cloned().unwrap_or_default();
        let ended = holders.into_iter().filter_map(|holder| {
            let (share, until) = self.remove(&holder, client)?;
            Some(Held { resource: holder.resource.clone(), owner: holder.owner.clone(), share, until })
        });
        ended.collect()
    }

    /// Removes the shares of a holder that released everything.
    pub fn forget(&mut self, holder: &Holder) {
        let clients: Vec<ClientId> =
            self.holders.get(holder).into_iter().flat_map(|bound| bound.shares.keys().copied()).collect();
        for client in clients {
            self.remove(holder, client);
        }
    }

    /// Unbinds `count` holds or permits of a holder that released as many and keeps some: first those of the releasing connection, then
    /// those of the oldest connections. Takes one step for each removed share, and one more.
    pub fn released(&mut self, holder: &Holder, client: ClientId, count: u64) {
        let mut left = count;
        while left > 0 {
            let Some(bound) = self.holders.get_mut(holder) else { return };
            let from = if bound.shares.contains_key(&client) { Some(client) } else { bound.shares.keys().next().copied() };
            let Some((from, share)) = from.and_then(|from| Some((from, bound.shares.get_mut(&from)?))) else { return };
            left = left.saturating_sub(share.take(left));
            if !share.is_empty() {
                return;
            }
            self.remove(holder, from);
        }
    }

    /// Sets the end of a holder's lease.
    pub fn renew(&mut self, holder: &Holder, until: UnixMs) {
        if let Some(bound) = self.holders.get_mut(holder) {
            bound.renew(holder.resource.kind, until);
        }
    }

    /// Follows a swap of two databases.
    pub fn swap_dbs(&mut self, one: i32, other: i32) {
        let moved = |holder: &Rc<Holder>| {
            let mut holder = Holder::clone(holder);
            holder.resource.swap_db(one, other);
            Rc::new(holder)
        };
        self.holders = mem::take(&mut self.holders).into_iter().map(|(holder, bound)| (moved(&holder), bound)).collect();
        for holders in self.clients.values_mut() {
            *holders = holders.iter().map(moved).collect();
        }
    }

    /// Removes and returns the share that a holder has bound to one connection, with the end of its lease.
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
    use crate::waiting::queues::Resource;

    fn holder(key: &str, owner: &str) -> Holder {
        let resource = Resource { key: Rc::from(key.as_bytes()), db: 0, kind: Kind::Lock };
        Holder { resource, owner: owner.as_bytes().into() }
    }

    fn held(key: &str, owner: &str, share: Share, until: u64) -> Held {
        let Holder { resource, owner } = holder(key, owner);
        Held { resource, owner, share, until: UnixMs(until) }
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
        // The second hold of `a` belongs to a later ownership, so the first has ended.
        assert_eq!(shares(&bindings.end(1)), [holds(4, 1), holds(2, 1)]);
        assert_eq!(shares(&bindings.end(1)), []);
        assert_eq!(bindings.count(), 1);
        assert_eq!(shares(&bindings.end(2)), [holds(3, 1)]);
        assert!(bindings.holders.is_empty() && bindings.clients.is_empty());
    }

    #[test]
    fn a_release_unbinds_its_holder() {
        let mut bindings = Bindings::new();
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "you", 2), UnixMs(0));
        bindings.forget(&holder("a", "me"));
        bindings.forget(&holder("b", "you"));
        assert_eq!(shares(&bindings.end(1)), [holds(2, 1)]);
    }

    #[test]
    fn a_partial_release_unbinds_as_much() {
        let mut bindings = Bindings::new();
        for (client, permits) in [(1, 2), (2, 3), (1, 4)] {
            bindings.add(client, held("a", "me", Share::Permits(permits), 9), UnixMs(0));
        }
        bindings.released(&holder("a", "me"), 1, 5);
        bindings.released(&holder("a", "me"), 3, 2);
        // The first release takes five of the first connection's six; the second starts with the oldest connection's last one.
        assert_eq!(shares(&bindings.end(1)), []);
        assert_eq!(shares(&bindings.end(2)), [Share::Permits(2)]);
        assert_eq!(bindings.count(), 0);
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.released(&holder("a", "me"), 1, 1);
        assert_eq!(shares(&bindings.end(1)), [holds(1, 1)]);
    }

    #[test]
    fn acquiring_again_keeps_one_share() {
        let mut bindings = Bindings::new();
        let me = holder("a", "me");
        for _ in 0..100_000 {
            bindings.add(1, hold("a", "me", 7), UnixMs(0));
        }
        bindings.add(2, hold("a", "me", 7), UnixMs(0));
        assert_eq!(bindings.count(), 2);
        bindings.released(&me, 1, 1);
        // A connection without a share releases those of others.
        bindings.released(&me, 3, 99_999);
        assert_eq!((shares(&bindings.end(1)), shares(&bindings.end(2))), (vec![], vec![holds(7, 1)]));
        assert!(bindings.holders.is_empty() && bindings.clients.is_empty() && bindings.count() == 0);
    }

    #[test]
    fn bindings_follow_a_swap_of_databases() {
        let mut bindings = Bindings::new();
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.swap_dbs(0, 3);
        bindings.forget(&holder("a", "me"));
        assert_eq!(bindings.end(1).first().map(|held| held.resource.db), Some(3));
        assert_eq!(bindings.count(), 0);
    }

    #[test]
    fn ended_leases_do_not_pile_up() {
        let mut bindings = Bindings::new();
        bindings.add(7, hold("kept", "me", 1), UnixMs(0));
        bindings.renew(&holder("kept", "me"), UnixMs(u64::MAX));
        for until in 1..=10 * u64::try_from(FEW).unwrap_or(0) {
            bindings.add(1, hold(&format!("k{until}"), "me", until), UnixMs(until));
            assert!(bindings.count() <= FEW + 1);
        }
        assert_eq!(bindings.end(7).len(), 1);
    }
}
