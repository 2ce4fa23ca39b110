//! What ends with a connection: the shares that were taken with BIND.
//!
//! A share that was given back otherwise is forgotten then; one whose lease ended is dropped when there are many.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use super::holding::{Held, Share};
use super::queues::{ClientId, Place};
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

/// One bound share of a holder.
#[derive(Debug)]
struct Bound {
    client: ClientId,
    share: Share,
    until: UnixMs,
}

/// All bound shares.
#[derive(Debug)]
pub struct Bindings {
    holders: BTreeMap<Rc<Holder>, Vec<Bound>>,
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Binds a share to a connection.
    pub fn add(&mut self, client: ClientId, held: Held, now: UnixMs) {
        let holder = Rc::new(Holder { place: held.place, owner: held.owner });
        self.clients.entry(client).or_default().insert(holder.clone());
        self.holders.entry(holder).or_default().push(Bound { client, share: held.share, until: held.until });
        self.count = self.count.saturating_add(1);
        if self.count > self.crowded {
            let all: Vec<_> = self.holders.keys().cloned().collect();
            all.iter().for_each(|holder| drop(self.extract(holder, |bound| bound.until <= now)));
            self.crowded = self.count.saturating_mul(2).max(FEW);
        }
    }

    /// Everything that ends with this connection.
    pub fn end(&mut self, client: ClientId) -> Vec<Held> {
        let holders = self.clients.remove(&client).unwrap_or_default();
        let mut ended = Vec::new();
        for holder in holders {
            for Bound { share, until, .. } in self.extract(&holder, |bound| bound.client == client) {
                ended.push(Held { place: holder.place.clone(), owner: holder.owner.clone(), share, until });
            }
        }
        ended
    }

    /// Forgets a holder that gave everything back.
    pub fn forget(&mut self, holder: &Holder) {
        self.extract(holder, |_| true);
    }

    /// A holder gave back `count` holds or permits and has some left: as many are not bound any more, those of the connection that gave
    /// them back before those of others.
    pub fn released(&mut self, holder: &Holder, client: ClientId, count: u64) {
        let mut left = count;
        for of_client in [true, false] {
            self.extract(holder, |bound| {
                if left == 0 || (bound.client == client) != of_client {
                    return false;
                }
                match &mut bound.share {
                    Share::Permits(permits) if *permits > left => {
                        *permits = permits.saturating_sub(left);
                        left = 0;
                        false
                    }
                    Share::Permits(permits) => {
                        left = left.saturating_sub(*permits);
                        true
                    }
                    Share::Hold(_) => {
                        left = left.saturating_sub(1);
                        true
                    }
                }
            });
        }
    }

    /// A holder's lease has a new end. For permits it says which ones are meant; for a lock only until when it is not dropped for its age.
    pub fn prolong(&mut self, holder: &Holder, until: UnixMs) {
        for bound in self.holders.get_mut(holder).into_iter().flatten() {
            bound.until = match bound.share {
                Share::Hold(_) => bound.until.max(until),
                Share::Permits(_) => until,
            };
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

    fn extract(&mut self, holder: &Holder, which: impl FnMut(&mut Bound) -> bool) -> Vec<Bound> {
        let Some(bound) = self.holders.get_mut(holder) else { return Vec::new() };
        let out: Vec<Bound> = bound.extract_if(.., which).collect();
        self.count = self.count.saturating_sub(out.len());
        let left: BTreeSet<ClientId> =
            if out.is_empty() { BTreeSet::new() } else { bound.iter().map(|bound| bound.client).collect() };
        if bound.is_empty() {
            self.holders.remove(holder);
        }
        for client in out.iter().map(|bound| bound.client).filter(|client| !left.contains(client)) {
            if let Some(holders) = self.clients.get_mut(&client) {
                holders.remove(holder);
                if holders.is_empty() {
                    self.clients.remove(&client);
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::queues::Kind;

    fn holder(key: &str, owner: &str) -> Holder {
        let place = Place { key: Rc::from(key.as_bytes()), db: 0, kind: Kind::Lock };
        Holder { place, owner: owner.as_bytes().into() }
    }

    fn held(key: &str, owner: &str, share: Share, until: u64) -> Held {
        let Holder { place, owner } = holder(key, owner);
        Held { place, owner, share, until: UnixMs(until) }
    }

    fn hold(key: &str, owner: &str, fence: u64) -> Held {
        held(key, owner, Share::Hold(fence), fence)
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
        assert_eq!(shares(&bindings.end(1)), [Share::Hold(1), Share::Hold(4), Share::Hold(2)]);
        assert_eq!(shares(&bindings.end(1)), []);
        assert_eq!(bindings.count(), 1);
        assert_eq!(shares(&bindings.end(2)), [Share::Hold(3)]);
        assert!(bindings.holders.is_empty() && bindings.clients.is_empty());
    }

    #[test]
    fn what_was_given_back_is_forgotten() {
        let mut bindings = Bindings::new();
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "you", 2), UnixMs(0));
        bindings.forget(&holder("a", "me"));
        bindings.forget(&holder("b", "you"));
        assert_eq!(shares(&bindings.end(1)), [Share::Hold(2)]);
    }

    #[test]
    fn a_part_that_was_given_back_is_not_bound_any_more() {
        let mut bindings = Bindings::new();
        for (client, permits) in [(1, 2), (2, 3), (1, 4)] {
            bindings.add(client, held("a", "me", Share::Permits(permits), 9), UnixMs(0));
        }
        bindings.released(&holder("a", "me"), 1, 5);
        bindings.released(&holder("a", "me"), 3, 2);
        // Five of the first connection's six; two of those that are left to others.
        assert_eq!(shares(&bindings.end(1)), [Share::Permits(1)]);
        assert_eq!(shares(&bindings.end(2)), [Share::Permits(1)]);
        assert_eq!(bindings.count(), 0);
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.add(1, hold("a", "me", 1), UnixMs(0));
        bindings.released(&holder("a", "me"), 1, 1);
        assert_eq!(bindings.end(1).len(), 1);
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
