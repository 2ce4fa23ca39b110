//! Holds that last as long as a connection: those acquired with BIND.
//!
//! An owner's hold of a key is bound to one connection at most: the one of its last request with BIND. The server renews the lease of a
//! bound hold after each third of its duration, and releases the whole hold when the connection closes. Only this process knows of a
//! binding. When it is lost the hold is a plain lease, which ends by itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use super::claim::{Held, Hold, Share};
use super::queues::{ClientId, Resource};
use crate::primitives::time::{DurationMs, UnixMs};

/// An owner at a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    pub resource: Resource,
    pub owner: Box<[u8]>,
}

/// The hold of one holder.
#[derive(Debug)]
struct Bound {
    client: ClientId,
    /// The owner has lost a lock whose fencing token is another one.
    fence: Option<u64>,
    /// The duration for which the lease is renewed.
    lease: DurationMs,
    /// The end of the lease. The owner has lost permits whose lease has ended.
    until: UnixMs,
    /// The entry of this hold among the renewals.
    renewal: UnixMs,
}

impl Bound {
    fn hold(&self, owner: &[u8]) -> Hold<'static> {
        Hold { owner: Cow::Owned(owner.to_vec()), fence: self.fence, lease: self.lease, until: self.until, is_new: false }
    }

    /// All that the owner holds.
    fn share(&self, owner: Box<[u8]>) -> Share {
        match self.fence {
            Some(fence) => Share::Holds { owner, fence, count: u32::MAX },
            None => Share::Permits { owner, permits: u64::MAX, until: self.until },
        }
    }

    /// The time of the next renewal: when two thirds of the lease are left.
    fn next_renewal(&self, now: UnixMs) -> UnixMs {
        let kept = DurationMs(self.lease.0.saturating_sub(self.lease.0 / 3));
        self.until.minus(kept).max(now.plus(DurationMs(1)))
    }
}

/// All bound holds.
#[derive(Debug)]
pub struct Bindings {
    holders: BTreeMap<Rc<Holder>, Bound>,
    clients: BTreeMap<ClientId, BTreeSet<Rc<Holder>>>,
    renewals: BTreeSet<(UnixMs, Rc<Holder>)>,
}

impl Bindings {
    pub const fn new() -> Self {
        Self { holders: BTreeMap::new(), clients: BTreeMap::new(), renewals: BTreeSet::new() }
    }

    /// The number of bound holds.
    pub fn count(&self) -> usize {
        self.holders.len()
    }

    /// Binds a hold to a connection, and to no other one.
    pub fn bind(&mut self, client: ClientId, resource: &Resource, hold: &Hold<'_>, now: UnixMs) {
        let holder = Rc::new(Holder { resource: resource.clone(), owner: (*hold.owner).into() });
        self.forget(&holder);
        let mut bound = Bound { client, fence: hold.fence, lease: hold.lease, until: hold.until, renewal: now };
        bound.renewal = bound.next_renewal(now);
        self.renewals.insert((bound.renewal, holder.clone()));
        self.clients.entry(client).or_default().insert(holder.clone());
        self.holders.insert(holder, bound);
    }

    /// The connection to which a hold is bound.
    pub fn client(&self, holder: &Holder) -> Option<ClientId> {
        self.holders.get(holder).map(|bound| bound.client)
    }

    /// Unbinds a hold.
    pub fn forget(&mut self, holder: &Holder) {
        self.remove(holder);
    }

    /// Unbinds a hold from this connection.
    pub fn forget_of(&mut self, client: ClientId, holder: &Holder) {
        if self.client(holder) == Some(client) {
            self.forget(holder);
        }
    }

    /// Records a new end of a holder's lease, and its fencing token.
    pub fn renewed(&mut self, holder: &Holder, fence: Option<u64>, until: UnixMs, now: UnixMs) {
        let Some((holder, bound)) = self.holders.get_key_value(holder).map(|(holder, _)| holder.clone()).and_then(|holder| {
            let bound = self.holders.get_mut(&holder)?;
            Some((holder, bound))
        }) else {
            return;
        };
        self.renewals.remove(&(bound.renewal, holder.clone()));
        (bound.fence, bound.until) = (fence.or(bound.fence), until);
        bound.renewal = bound.next_renewal(now);
        self.renewals.insert((bound.renewal, holder));
    }

    /// Removes and returns the holds of a connection that closes.
    pub fn end(&mut self, client: ClientId) -> Vec<Held> {
        let holders = self.clients.remove(&client).unwrap_or_default();
        let held = |holder: Rc<Holder>| {
            let bound = self.remove(&holder)?;
            Some(Held { resource: holder.resource.clone(), share: bound.share(holder.owner.clone()) })
        };
        holders.into_iter().filter_map(held).collect()
    }

    /// The time of the earliest renewal.
    pub fn next_renewal(&self) -> Option<UnixMs> {
        self.renewals.first().map(|(at, _)| *at)
    }

    /// At most `limit` of the holds whose lease is due for a renewal.
    pub fn due(&self, now: UnixMs, limit: usize) -> Vec<(Resource, Hold<'static>)> {
        let due = self.renewals.iter().take_while(|(at, _)| *at <= now).take(limit);
        due.filter_map(|(_, holder)| Some((holder.resource.clone(), self.holders.get(holder)?.hold(&holder.owner)))).collect()
    }

    /// Follows a swap of two databases.
    pub fn swap_dbs(&mut self, one: i32, other: i32) {
        let moved = |holder: &Rc<Holder>| {
            let mut holder = Holder::clone(holder);
            holder.resource.swap_db(one, other);
            Rc::new(holder)
        };
        self.holders = mem::take(&mut self.holders).into_iter().map(|(holder, bound)| (moved(&holder), bound)).collect();
        self.renewals = self.renewals.iter().map(|(at, holder)| (*at, moved(holder))).collect();
        for holders in self.clients.values_mut() {
            *holders = holders.iter().map(moved).collect();
        }
    }

    fn remove(&mut self, holder: &Holder) -> Option<Bound> {
        let (holder, bound) = self.holders.remove_entry(holder)?;
        if let Some(holders) = self.clients.get_mut(&bound.client) {
            holders.remove(&holder);
            if holders.is_empty() {
                self.clients.remove(&bound.client);
            }
        }
        self.renewals.remove(&(bound.renewal, holder));
        Some(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::queues::Kind;

    fn resource(key: &str) -> Resource {
        Resource { key: Rc::from(key.as_bytes()), db: 0, kind: Kind::Lock }
    }

    fn holder(key: &str, owner: &str) -> Holder {
        Holder { resource: resource(key), owner: owner.as_bytes().into() }
    }

    fn hold(owner: &str, fence: u64, until: u64) -> Hold<'_> {
        let owner = Cow::Borrowed(owner.as_bytes());
        Hold { owner, fence: Some(fence), lease: DurationMs(30), until: UnixMs(until), is_new: true }
    }

    fn bind(bindings: &mut Bindings, client: ClientId, key: &str, owner: &str, fence: u64) {
        bindings.bind(client, &resource(key), &hold(owner, fence, 30), UnixMs(0));
    }

    /// The key and the fencing token of each.
    fn ended(bindings: &mut Bindings, client: ClientId) -> Vec<(String, u64)> {
        let fence = |share| if let Share::Holds { fence, count: u32::MAX, .. } = share { fence } else { 0 };
        let key = |held: &Held| String::from_utf8_lossy(&held.resource.key).into_owned();
        bindings.end(client).into_iter().map(|held| (key(&held), fence(held.share))).collect()
    }

    fn is_empty(bindings: &Bindings) -> bool {
        bindings.holders.is_empty() && bindings.clients.is_empty() && bindings.renewals.is_empty() && bindings.count() == 0
    }

    #[test]
    fn everything_of_a_connection_ends_with_it_and_nothing_else() {
        let mut bindings = Bindings::new();
        for (client, key, owner, fence) in [(1, "a", "me", 1), (1, "b", "me", 2), (2, "a", "you", 3)] {
            bind(&mut bindings, client, key, owner, fence);
        }
        assert_eq!(ended(&mut bindings, 1), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
        assert_eq!(ended(&mut bindings, 1), []);
        assert_eq!((bindings.count(), bindings.client(&holder("a", "you"))), (1, Some(2)));
        assert_eq!(ended(&mut bindings, 2), [("a".to_owned(), 3)]);
        assert!(is_empty(&bindings));
    }

    #[test]
    fn the_last_connection_has_the_hold() {
        let mut bindings = Bindings::new();
        bind(&mut bindings, 1, "a", "me", 1);
        bind(&mut bindings, 2, "a", "me", 1);
        assert_eq!(ended(&mut bindings, 1), []);
        assert_eq!(ended(&mut bindings, 2), [("a".to_owned(), 1)]);
        assert!(is_empty(&bindings));
    }

    #[test]
    fn a_released_hold_is_not_bound() {
        let mut bindings = Bindings::new();
        bind(&mut bindings, 1, "a", "me", 1);
        bind(&mut bindings, 1, "a", "you", 2);
        bindings.forget(&holder("a", "me"));
        bindings.forget(&holder("b", "you"));
        assert_eq!(ended(&mut bindings, 1), [("a".to_owned(), 2)]);
        assert!(is_empty(&bindings));
    }

    #[test]
    fn a_lease_is_renewed_when_two_thirds_of_it_are_left() {
        let mut bindings = Bindings::new();
        bind(&mut bindings, 1, "a", "me", 1);
        assert_eq!((bindings.next_renewal(), bindings.due(UnixMs(9), 9).len()), (Some(UnixMs(10)), 0));
        let due = bindings.due(UnixMs(10), 9);
        assert_eq!(due.iter().map(|(_, hold)| hold.until).collect::<Vec<_>>(), [UnixMs(30)]);
        bindings.renewed(&holder("a", "me"), None, UnixMs(40), UnixMs(10));
        assert_eq!(bindings.next_renewal(), Some(UnixMs(20)));
        // The owner has set a longer lease, then a very short one.
        bindings.renewed(&holder("a", "me"), Some(2), UnixMs(1000), UnixMs(10));
        assert_eq!(bindings.next_renewal(), Some(UnixMs(980)));
        bindings.renewed(&holder("a", "me"), None, UnixMs(12), UnixMs(11));
        assert_eq!(bindings.next_renewal(), Some(UnixMs(12)));
        bindings.renewed(&holder("b", "me"), None, UnixMs(12), UnixMs(11));
        assert_eq!(ended(&mut bindings, 1), [("a".to_owned(), 2)]);
        assert!(is_empty(&bindings));
    }

    #[test]
    fn bindings_follow_a_swap_of_databases() {
        let mut bindings = Bindings::new();
        bind(&mut bindings, 1, "a", "me", 1);
        bindings.swap_dbs(0, 3);
        bindings.forget(&holder("a", "me"));
        assert_eq!(bindings.due(UnixMs(99), 9).first().map(|(resource, _)| resource.db), Some(3));
        assert_eq!(bindings.end(1).first().map(|held| held.resource.db), Some(3));
        assert!(is_empty(&bindings));
    }
}
