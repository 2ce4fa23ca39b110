//! The queues of waiters, as data: one queue per key and kind, first come, first served.
//!
//! A visit takes a queue out of the map and puts it back afterwards. So the keyspace events of the visit's own write find no queue and
//! start no visit. To join, to leave and to be served costs O(log N) in the number of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::rc::Rc;

use crate::primitives::time::UnixMs;

#[cfg(test)]
mod tests;

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lock,
    Semaphore,
    /// A sorted set whose members come due.
    Due,
}

impl Kind {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Semaphore => "semaphore",
            Self::Due => "due",
        }
    }

    pub const ALL: [Self; 3] = [Self::Lock, Self::Semaphore, Self::Due];
}

/// The object of a queue: a key of a database, as one kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    pub key: Rc<[u8]>,
    pub db: i32,
    pub kind: Kind,
}

impl Resource {
    /// Follows a swap of two databases.
    pub fn swap_db(&mut self, one: i32, other: i32) {
        if self.db == one {
            self.db = other;
        } else if self.db == other {
            self.db = one;
        }
    }
}

/// The id of a client of the server.
pub type ClientId = u64;

/// A place in a queue. A lower ticket is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    number: u64,
    /// The time at which the owner took the place. A request that takes the place over keeps it.
    pub since: UnixMs,
}

/// The clients that wait for one resource. `W` is the data of a waiter.
///
/// An owner has one place in a queue. If its connection closes, the place is kept for a while, so that the owner finds it when it sends its
/// request again. A vacant place is not served.
#[derive(Debug)]
pub struct Queue<W> {
    pub resource: Resource,
    waiters: BTreeMap<Ticket, (ClientId, W)>,
    /// Places without a connection: their owners, and until when they are kept.
    vacant: BTreeMap<Ticket, (Box<[u8]>, UnixMs)>,
    /// The vacant places by their ends.
    ends: BTreeSet<(UnixMs, Ticket)>,
    /// The places of owners.
    owners: BTreeMap<Box<[u8]>, Ticket>,
    /// The moment at which the head may be served if no client changes the key.
    pub until: Option<UnixMs>,
    /// The entry of this queue among the alarms.
    alarm: Option<UnixMs>,
    /// Whether a visit is scheduled.
    visit_scheduled: bool,
}

/// The data of a waiter, as far as its place depends on it.
pub trait Place {
    /// The owner of the place, if it has one.
    fn owner(&self) -> Option<&[u8]>;

    /// The time at which the waiter joins its queue.
    fn since(&self) -> UnixMs;
}

impl<W: Place> Queue<W> {
    fn new(resource: Resource) -> Self {
        Self {
            resource,
            waiters: BTreeMap::new(),
            vacant: BTreeMap::new(),
            ends: BTreeSet::new(),
            owners: BTreeMap::new(),
            until: None,
            alarm: None,
            visit_scheduled: false,
        }
    }

    /// The number of waiting clients.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// The number of places, vacant ones included.
    pub fn places(&self) -> usize {
        self.waiters.len().saturating_add(self.vacant.len())
    }

    pub fn head(&self) -> Option<(Ticket, &W)> {
        self.waiters.first_key_value().map(|(ticket, (_, waiter))| (*ticket, waiter))
    }

    /// The waiters in their order.
    pub fn waiters(&self) -> impl Iterator<Item = (ClientId, &W)> {
        self.waiters.values().map(|(client, waiter)| (*client, waiter))
    }

    /// Removes the head.
    pub fn pop(&mut self) -> Option<(ClientId, W)> {
        let (ticket, _) = self.head()?;
        self.remove(ticket)
    }

    /// The place of an owner.
    pub fn place_of(&self, owner: &[u8]) -> Option<Ticket> {
        self.owners.get(owner).copied()
    }

    /// Removes a place and returns its waiter, if it has one.
    pub fn remove(&mut self, ticket: Ticket) -> Option<(ClientId, W)> {
        if let Some((owner, end)) = self.vacant.remove(&ticket) {
            self.owners.remove(&owner);
            self.ends.remove(&(end, ticket));
            return None;
        }
        let removed = self.waiters.remove(&ticket)?;
        if let Some(owner) = removed.1.owner() {
            self.owners.remove(owner);
        }
        Some(removed)
    }

    /// Removes the vacant places.
    pub fn remove_vacant(&mut self) {
        for (owner, _) in mem::take(&mut self.vacant).into_values() {
            self.owners.remove(&owner);
        }
        self.ends.clear();
    }

    /// Keeps a place without its waiter, which is returned, until `end`.
    fn vacate(&mut self, ticket: Ticket, end: Option<UnixMs>) -> Option<W> {
        let (_, waiter) = self.remove(ticket)?;
        if let (Some(end), Some(owner)) = (end, waiter.owner()) {
            self.vacant.insert(ticket, (owner.into(), end));
            self.owners.insert(owner.into(), ticket);
            self.ends.insert((end, ticket));
        }
        Some(waiter)
    }

    /// Removes the vacant places that have ended.
    fn drop_ended(&mut self, now: UnixMs) {
        while let Some((_, ticket)) = self.ends.first().copied().filter(|(end, _)| *end <= now) {
            self.remove(ticket);
        }
    }

    /// The earliest moment at which something is to be done.
    fn next_alarm(&self) -> Option<UnixMs> {
        let until = if self.len() == 0 { None } else { self.until };
        until.into_iter().chain(self.ends.first().map(|(end, _)| *end)).min()
    }
}

/// The position of a client.
#[derive(Debug)]
struct Position {
    resource: Resource,
    ticket: Ticket,
}

#[derive(Debug)]
pub struct Queues<W> {
    queues: BTreeMap<Rc<[u8]>, Vec<Queue<W>>>,
    positions: BTreeMap<ClientId, Position>,
    alarms: BTreeSet<(UnixMs, Resource)>,
    /// The number of the next ticket.
    next_ticket: u64,
    /// The number of places in the queues, those during a visit not included.
    places: usize,
    /// Tickets of clients that left while a visit had their queue.
    gone: Vec<Ticket>,
}

/// A client that left its queue.
pub struct Left<W> {
    pub resource: Resource,
    pub waiter: W,
    /// Whether it was the head, so that the next waiter may now be served.
    pub was_head: bool,
}

impl<W: Place> Queues<W> {
    pub const fn new() -> Self {
        Self {
            queues: BTreeMap::new(),
            positions: BTreeMap::new(),
            alarms: BTreeSet::new(),
            next_ticket: 0,
            places: 0,
            gone: Vec::new(),
        }
    }

    /// The number of waiting clients.
    pub fn clients(&self) -> usize {
        self.positions.len()
    }

    /// The number of places whose connection closed.
    pub fn vacant_places(&self) -> usize {
        self.places.saturating_sub(self.positions.len())
    }

    /// Whether there is no place in any queue, except those that a visit has.
    pub fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// The queue of a resource.
    pub fn find(&self, db: i32, kind: Kind, key: &[u8]) -> Option<&Queue<W>> {
        self.queues.get(key)?.iter().find(|queue| queue.resource.db == db && queue.resource.kind == kind)
    }

    /// The number of clients that wait for a resource.
    pub fn waiters(&self, db: i32, kind: Kind, key: &[u8]) -> usize {
        self.find(db, kind, key).map_or(0, Queue::len)
    }

    /// All queues.
    pub fn all(&self) -> impl Iterator<Item = &Queue<W>> {
        self.queues.values().flatten()
    }

    /// Takes a queue out for a visit, without the vacant places that have ended. The visit covers every change scheduled so far.
    pub fn visit(&mut self, db: i32, kind: Kind, key: &[u8], now: UnixMs) -> Option<Queue<W>> {
        let mut queue = self.take(db, kind, key)?;
        queue.visit_scheduled = false;
        queue.drop_ended(now);
        Some(queue)
    }

    /// Removes the vacant places of a queue that have ended.
    pub fn drop_ended_places(&mut self, resource: &Resource, now: UnixMs) {
        if let Some(queue) = self.visit(resource.db, resource.kind, &resource.key, now) {
            self.put_back(queue);
        }
    }

    fn take(&mut self, db: i32, kind: Kind, key: &[u8]) -> Option<Queue<W>> {
        let queues = self.queues.get_mut(key)?;
        let at = queues.iter().position(|queue| queue.resource.db == db && queue.resource.kind == kind)?;
        let queue = queues.swap_remove(at);
        self.places = self.places.saturating_sub(queue.places());
        if queues.is_empty() {
            self.queues.remove(key);
        }
        Some(queue)
    }

    /// Puts a queue back, without the clients that left meanwhile. A queue without places is dropped.
    pub fn put_back(&mut self, mut queue: Queue<W>) {
        for ticket in self.gone.drain(..) {
            queue.remove(ticket);
        }
        let alarm = queue.next_alarm();
        if queue.alarm != alarm {
            if let Some(at) = queue.alarm {
                self.alarms.remove(&(at, queue.resource.clone()));
            }
            if let Some(at) = alarm {
                self.alarms.insert((at, queue.resource.clone()));
            }
            queue.alarm = alarm;
        }
        if queue.places() > 0 {
            self.places = self.places.saturating_add(queue.places());
            self.queues.entry(queue.resource.key.clone()).or_default().push(queue);
        }
    }

    /// Forgets the position of a client that a visit removed from its queue.
    pub fn served(&mut self, client: ClientId) {
        self.positions.remove(&client);
    }

    /// Adds a client to a queue: at a place that its owner had, or at the end. `until` is the moment at which it may be served if no client
    /// changes the key; it counts if the client is the head.
    pub fn join(&mut self, resource: &Resource, client: ClientId, waiter: W, until: Option<UnixMs>, place: Option<Ticket>) {
        let mut queue = self.take(resource.db, resource.kind, &resource.key).unwrap_or_else(|| Queue::new(resource.clone()));
        let ticket = place.unwrap_or_else(|| {
            let ticket = Ticket { number: self.next_ticket, since: waiter.since() };
            self.next_ticket = self.next_ticket.wrapping_add(1);
            ticket
        });
        if let Some(owner) = waiter.owner() {
            queue.owners.insert(owner.into(), ticket);
        }
        if queue.head().is_none_or(|(head, _)| head > ticket) {
            queue.until = until;
        }
        queue.waiters.insert(ticket, (client, waiter));
        self.positions.insert(client, Position { resource: queue.resource.clone(), ticket });
        self.put_back(queue);
    }

    /// Removes a client from its queue and keeps its place until the time that `keep` returns. `None` if the client is in no queue, or if a
    /// visit has the queue: then [`Queues::put_back`] removes it.
    pub fn leave(&mut self, client: ClientId, keep: impl FnOnce(&W) -> Option<UnixMs>) -> Option<Left<W>> {
        let Position { resource, ticket } = self.positions.remove(&client)?;
        let Some(mut queue) = self.take(resource.db, resource.kind, &resource.key) else {
            self.gone.push(ticket);
            return None;
        };
        let was_head = queue.head().is_some_and(|(head, _)| head == ticket);
        let end = queue.waiters.get(&ticket).and_then(|(_, waiter)| keep(waiter));
        let left = queue.vacate(ticket, end);
        self.put_back(queue);
        left.map(|waiter| Left { resource, waiter, was_head })
    }

    /// Records that the key changed. True if the caller must schedule a visit, because one of its queues has none.
    pub fn key_changed(&mut self, db: i32, key: &[u8]) -> bool {
        let Some(queues) = self.queues.get_mut(key) else { return false };
        let mut schedule = false;
        for queue in queues.iter_mut().filter(|queue| queue.resource.db == db && !queue.visit_scheduled) {
            queue.visit_scheduled = true;
            schedule = true;
        }
        schedule
    }

    /// Records that these resources changed, and returns those for which the caller must schedule a visit.
    pub fn resources_changed(&mut self, which: &dyn Fn(&Resource) -> bool) -> Vec<Resource> {
        let queues = self.queues.values_mut().flatten().filter(|queue| !queue.visit_scheduled && which(&queue.resource));
        queues
            .map(|queue| {
                queue.visit_scheduled = true;
                queue.resource.clone()
            })
            .collect()
    }

    /// The earliest alarm.
    pub fn next_alarm(&self) -> Option<UnixMs> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// At most `limit` of the resources whose alarm is due.
    pub fn due(&self, now: UnixMs, limit: usize) -> Vec<Resource> {
        self.alarms.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, resource)| resource.clone()).collect()
    }

    /// The resources that have a queue.
    pub fn resources(&self) -> Vec<Resource> {
        self.all().map(|queue| queue.resource.clone()).collect()
    }
}
