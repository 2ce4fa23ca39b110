//! What ends with a connection: the shares that were taken with BIND.
//!
//! A share that was given back otherwise is forgotten then; one whose lease ended is dropped when there are many.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::holding::Held;
use super::queues::{ClientId, Kind};
use crate::primitives::time::UnixMs;

/// Below this many nothing is dropped for its age.
const FEW: usize = 1024;

/// All bound shares.
#[derive(Debug)]
pub struct Bindings {
    by_key: BTreeMap<Rc<[u8]>, Vec<(ClientId, Held)>>,
    keys: BTreeMap<ClientId, BTreeSet<Rc<[u8]>>>,
    count: usize,
    /// The count at which ended leases are dropped next.
    crowded: usize,
}

impl Bindings {
    /// None.
    pub const fn new() -> Self {
        Self { by_key: BTreeMap::new(), keys: BTreeMap::new(), count: 0, crowded: FEW }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Binds a share to a connection.
    pub fn add(&mut self, client: ClientId, held: Held, now: UnixMs) {
        self.keys.entry(client).or_default().insert(held.place.key.clone());
        self.by_key.entry(held.place.key.clone()).or_default().push((client, held));
        self.count = self.count.saturating_add(1);
        if self.count > self.crowded {
            let keys: Vec<_> = self.by_key.keys().cloned().collect();
            keys.iter().for_each(|key| drop(self.extract(key, |_, held| held.until <= now)));
            self.crowded = self.count.saturating_mul(2).max(FEW);
        }
    }

    /// Everything that ends with this connection.
    pub fn end(&mut self, client: ClientId) -> Vec<Held> {
        let keys = self.keys.remove(&client).unwrap_or_default();
        keys.iter().flat_map(|key| self.extract(key, |bound, _| bound == client)).collect()
    }

    /// Forgets what an owner gave back.
    pub fn forget(&mut self, db: i32, kind: Kind, key: &[u8], owner: &[u8]) {
        self.extract(key, |_, held| is_of(held, db, kind, owner));
    }

    /// An owner's lease has a new end.
    pub fn prolong(&mut self, db: i32, kind: Kind, key: &[u8], owner: &[u8], until: UnixMs) {
        let bound = self.by_key.get_mut(key).into_iter().flatten();
        bound.filter(|(_, held)| is_of(held, db, kind, owner)).for_each(|(_, held)| held.until = until);
    }

    /// Two databases were swapped.
    pub fn swap_dbs(&mut self, one: i32, other: i32) {
        self.by_key.values_mut().flatten().for_each(|(_, held)| held.place.swap_db(one, other));
    }

    fn extract(&mut self, key: &[u8], mut which: impl FnMut(ClientId, &Held) -> bool) -> Vec<Held> {
        let Some(bound) = self.by_key.get_mut(key) else { return Vec::new() };
        let (out, kept): (Vec<_>, Vec<_>) = std::mem::take(bound).into_iter().partition(|(client, held)| which(*client, held));
        *bound = kept;
        let left: BTreeSet<ClientId> = bound.iter().map(|(client, _)| *client).collect();
        if left.is_empty() {
            self.by_key.remove(key);
        }
        self.count = self.count.saturating_sub(out.len());
        for (client, _) in out.iter().filter(|(client, _)| !left.contains(client)) {
            if let Some(keys) = self.keys.get_mut(client) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(client);
                }
            }
        }
        out.into_iter().map(|(_, held)| held).collect()
    }
}

fn is_of(held: &Held, db: i32, kind: Kind, owner: &[u8]) -> bool {
    held.place.db == db && held.place.kind == kind && *held.owner == *owner
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::holding::Share;
    use crate::waiting::queues::Place;

    fn held(key: &str, owner: &str, until: u64) -> Held {
        let place = Place { key: Rc::from(key.as_bytes()), db: 0, kind: Kind::Lock };
        Held { place, owner: owner.as_bytes().into(), share: Share::Hold(until), until: UnixMs(until) }
    }

    fn fences(held: &[Held]) -> Vec<Share> {
        held.iter().map(|held| held.share).collect()
    }

    #[test]
    fn everything_of_a_connection_ends_with_it_and_nothing_else() {
        let mut bindings = Bindings::new();
        for (client, key, until) in [(1, "a", 1), (1, "b", 2), (2, "a", 3), (1, "a", 4)] {
            bindings.add(client, held(key, "me", until), UnixMs(0));
        }
        assert_eq!(fences(&bindings.end(1)), [Share::Hold(1), Share::Hold(4), Share::Hold(2)]);
        assert_eq!(fences(&bindings.end(1)), []);
        assert_eq!(bindings.count(), 1);
        assert_eq!(fences(&bindings.end(2)), [Share::Hold(3)]);
        assert!(bindings.by_key.is_empty() && bindings.keys.is_empty());
    }

    #[test]
    fn what_was_given_back_is_forgotten() {
        let mut bindings = Bindings::new();
        bindings.add(1, held("a", "me", 1), UnixMs(0));
        bindings.add(1, held("a", "you", 2), UnixMs(0));
        bindings.forget(0, Kind::Lock, b"a", b"me");
        bindings.forget(1, Kind::Lock, b"a", b"you");
        assert_eq!(fences(&bindings.end(1)), [Share::Hold(2)]);
    }

    #[test]
    fn ended_leases_do_not_pile_up() {
        let mut bindings = Bindings::new();
        bindings.add(7, held("kept", "me", 1), UnixMs(0));
        bindings.prolong(0, Kind::Lock, b"kept", b"me", UnixMs(u64::MAX));
        for until in 1..=10 * u64::try_from(FEW).unwrap_or(0) {
            bindings.add(1, held(&format!("k{until}"), "me", until), UnixMs(until));
            assert!(bindings.count() <= FEW + 1);
        }
        assert_eq!(bindings.end(7).len(), 1);
    }
}
