//! What an operator sees of waiting: the queues, and what this server knows of the clients at a key.
//!
//! A report is no visit: it opens no key, grants nothing and writes nothing. Queues and bindings belong to the server process, so each node
//! reports its own. A place whose connection closed is in no list, because no client waits there.

use std::rc::Rc;

use super::bindings::Holder;
use super::queues::{ClientId, Kind, Queue, Resource, Ticket};
use super::state::{resource, with};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::module_api::Str;

/// A queue in which clients wait.
#[derive(Debug)]
pub struct Waiting {
    pub key: Rc<[u8]>,
    pub db: i32,
    pub kind: Kind,
    /// The number of waiting clients.
    pub clients: usize,
    /// The wait of the head, whose place is the oldest.
    pub longest: DurationMs,
    /// The clients at the head of the queue, in order.
    pub first: Vec<ClientId>,
}

/// The `limit` queues with the longest waits among those whose key `shows` accepts, the longest first, each with its first `clients`.
/// `shows` may call the server.
pub fn longest_waits(now: UnixMs, limit: usize, clients: usize, shows: impl Fn(&[u8]) -> bool) -> Result<Vec<Waiting>> {
    let mut heads: Vec<(Ticket, Resource)> = with(|state| {
        let head = |queue: &Queue<_>| queue.head().map(|(ticket, _)| (ticket, queue.resource.clone()));
        state.queues.all().filter_map(head).collect()
    })?;
    // Tickets are unique over all queues, and their order is that of arrival, whatever the clock did.
    heads.sort_unstable_by_key(|(ticket, _)| *ticket);
    let chosen: Vec<(Ticket, Resource)> = heads.into_iter().filter(|(_, resource)| shows(&resource.key)).take(limit).collect();
    with(|state| {
        let report = |(ticket, Resource { key, db, kind }): (Ticket, Resource)| {
            let queue = state.queues.find(db, kind, &key)?;
            let first = queue.waiters().map(|(client, _)| client).take(clients).collect();
            Some(Waiting { clients: queue.len(), longest: now.since(ticket.since), first, key, db, kind })
        };
        chosen.into_iter().filter_map(report).collect()
    })
}

/// What this server knows of the clients at a key.
#[derive(Debug)]
pub struct Clients {
    /// The owners whose hold is bound to a connection, in the order in which the caller lists the owners.
    pub bound: Vec<(Vec<u8>, ClientId)>,
    /// The number of waiting clients.
    pub waiting: usize,
    /// The owners at the head of the queue, in order.
    pub queue: Vec<Vec<u8>>,
}

/// What this server knows of the clients at a key: of the connections of its `owners`, and of the first `limit` waiters.
pub fn clients<'o>(
    keyspace: &Keyspace,
    kind: Kind,
    key: Str<'_>,
    owners: impl Iterator<Item = &'o [u8]>,
    limit: usize,
) -> Result<Clients> {
    let resource = resource(keyspace, kind, key);
    with(|state| {
        let bound = |owner: &[u8]| {
            let client = state.bindings.client(&Holder { resource: resource.clone(), owner: owner.into() })?;
            Some((owner.to_vec(), client))
        };
        let bound = if state.bindings.count() == 0 { Vec::new() } else { owners.filter_map(bound).collect() };
        let queue = state.queues.find(resource.db, kind, &resource.key);
        let waiting = queue.map_or(0, Queue::len);
        let owners = queue.into_iter().flat_map(Queue::waiters).filter_map(|(_, waiter)| waiter.claim.owner());
        Clients { bound, waiting, queue: owners.take(limit).map(<[u8]>::to_vec).collect() }
    })
}
