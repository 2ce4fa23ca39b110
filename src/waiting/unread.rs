//! Grants to waiters that may not have read them.
//!
//! A later grant to the same owner supersedes an earlier one, so an owner of a key has one unread grant at most.

use std::collections::BTreeMap;

use super::bindings::Holder;
use super::claim::Held;
use super::queues::ClientId;

#[derive(Debug)]
struct Grant {
    held: Held,
    /// Whether the reply was made. The client has not read it before the server sleeps.
    is_delivered: bool,
}

impl Grant {
    fn holder(&self) -> Option<Holder> {
        Some(Holder { resource: self.held.resource.clone(), owner: self.held.share.owner()?.into() })
    }
}

#[derive(Debug)]
pub struct Unread {
    grants: BTreeMap<ClientId, Grant>,
    /// The clients of the grants that have an owner.
    holders: BTreeMap<Holder, ClientId>,
}

impl Unread {
    pub const fn new() -> Self {
        Self { grants: BTreeMap::new(), holders: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Adds a grant whose reply is not made yet.
    pub fn add(&mut self, client: ClientId, held: Held) {
        self.remove(client);
        let grant = Grant { held, is_delivered: false };
        self.holders.extend(grant.holder().map(|holder| (holder, client)));
        self.grants.insert(client, grant);
    }

    pub fn remove(&mut self, client: ClientId) -> Option<Held> {
        let grant = self.grants.remove(&client)?;
        if let Some(holder) = grant.holder() {
            self.holders.remove(&holder);
        }
        Some(grant.held)
    }

    /// Removes the grant to an owner.
    pub fn remove_of(&mut self, holder: &Holder) {
        if let Some(client) = self.holders.remove(holder) {
            self.grants.remove(&client);
        }
    }

    /// Removes and returns a grant whose reply was made.
    pub fn remove_delivered(&mut self, client: ClientId) -> Option<Held> {
        if self.grants.get(&client)?.is_delivered { self.remove(client) } else { None }
    }

    /// Records that the reply was made.
    pub fn delivered(&mut self, client: ClientId) {
        if let Some(grant) = self.grants.get_mut(&client) {
            grant.is_delivered = true;
        }
    }

    /// Forgets the grants whose reply was made.
    pub fn forget_delivered(&mut self) {
        self.grants.retain(|_, grant| !grant.is_delivered);
        let grants = &self.grants;
        self.holders.retain(|_, client| grants.contains_key(client));
    }

    /// Follows a swap of two databases.
    pub fn swap_dbs(&mut self, one: i32, other: i32) {
        self.grants.values_mut().for_each(|grant| grant.held.resource.swap_db(one, other));
        self.holders = self.grants.iter().filter_map(|(client, grant)| Some((grant.holder()?, *client))).collect();
    }
}
