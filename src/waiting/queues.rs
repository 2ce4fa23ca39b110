//! The queues of waiters, as data: one queue per lock or semaphore, first come, first served.
//!
//! A visit takes a queue out of the map and puts it back afterwards. So the keyspace events of the visit's own write find no queue and
//! start no visit. To join, to leave and to be served costs O(log N) in the number of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::primitives::time::UnixMs;

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lock,
    Semaphore,
}

impl Kind {
    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lock => "lock",
            Self::Semaphore => "semaphore",
        }
    }
}

/// A lock or a semaphore: a key of a database.
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

/// The clients that wait for one resource. `W` is the data of a waiter.
#[derive(Debug)]
pub struct Queue<W> {
    pub resource: Resource,
    waiters: BTreeMap<u64, (ClientId, W)>,
    /// The time at which the head can be served if no owner releases anything.
    pub until: Option<UnixMs>,
    /// The entry of this queue among the alarms.
    alarm: Option<UnixMs>,
    /// Whether a visit is scheduled.
    visit_scheduled: bool,
}

impl<W> Queue<W> {
    fn new(resource: Resource) -> Self {
        Self { resource, waiters: BTreeMap::new(), until: None, alarm: None, visit_scheduled: false }
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn head(&self) -> Option<&W> {
        self.waiters.first_key_value().map(|(_, (_, waiter))| waiter)
    }

    /// Removes the head.
    pub fn pop(&mut self) -> Option<(ClientId, W)> {
        self.waiters.pop_first().map(|(_, waiter)| waiter)
    }
}

/// The position of a client.
#[derive(Debug)]
struct Position {
    resource: Resource,
    ticket: u64,
}

#[derive(Debug)]
pub struct Queues<W> {
    queues: BTreeMap<Rc<[u8]>, Vec<Queue<W>>>,
    positions: BTreeMap<ClientId, Position>,
    alarms: BTreeSet<(UnixMs, Resource)>,
    next_ticket: u64,
    /// Tickets of clients that left while a visit had their queue.
    gone: Vec<u64>,
}

/// A client that left its queue.
pub struct Left<W> {
    pub resource: Resource,
    pub waiter: W,
    /// Whether it was the head, so that the next waiter may now be served.
    pub was_head: bool,
}

impl<W> Queues<W> {
    pub const fn new() -> Self {
        Self { queues: BTreeMap::new(), positions: BTreeMap::new(), alarms: BTreeSet::new(), next_ticket: 0, gone: Vec::new() }
    }

    /// The number of waiting clients.
    pub fn clients(&self) -> usize {
        self.positions.len()
    }

    fn find(&self, db: i32, kind: Kind, key: &[u8]) -> Option<&Queue<W>> {
        self.queues.get(key)?.iter().find(|queue| queue.resource.db == db && queue.resource.kind == kind)
    }

    /// The number of clients that wait for a resource.
    pub fn waiters(&self, db: i32, kind: Kind, key: &[u8]) -> usize {
        self.find(db, kind, key).map_or(0, Queue::len)
    }

    /// Takes a queue out for a visit. The visit covers every change scheduled so far.
    pub fn visit(&mut self, db: i32, kind: Kind, key: &[u8]) -> Option<Queue<W>> {
        let mut queue = self.take(db, kind, key)?;
        queue.visit_scheduled = false;
        Some(queue)
    }

    fn take(&mut self, db: i32, kind: Kind, key: &[u8]) -> Option<Queue<W>> {
        let queues = self.queues.get_mut(key)?;
        let at = queues.iter().position(|queue| queue.resource.db == db && queue.resource.kind == kind)?;
        let queue = queues.swap_remove(at);
        if queues.is_empty() {
            self.queues.remove(key);
        }
        Some(queue)
    }

    /// Puts a queue back, without the clients that left meanwhile. An empty queue is dropped.
    pub fn put_back(&mut self, mut queue: Queue<W>) {
        for ticket in self.gone.drain(..) {
            queue.waiters.remove(&ticket);
        }
        let alarm = if queue.len() == 0 { None } else { queue.until };
        if queue.alarm != alarm {
            if let Some(at) = queue.alarm {
                self.alarms.remove(&(at, queue.resource.clone()));
            }
            if let Some(at) = alarm {
                self.alarms.insert((at, queue.resource.clone()));
            }
            queue.alarm = alarm;
        }
        if queue.len() > 0 {
            self.queues.entry(queue.resource.key.clone()).or_default().push(queue);
        }
    }

    /// Forgets the position of a client that a visit removed from its queue.
    pub fn served(&mut self, client: ClientId) {
        self.positions.remove(&client);
    }

    /// Adds a client at the end of a queue. `until` is the time at which the head of a new queue can be served if no owner releases
    /// anything.
    pub fn join(&mut self, resource: &Resource, client: ClientId, waiter: W, until: Option<UnixMs>) {
        let mut queue = self.take(resource.db, resource.kind, &resource.key).unwrap_or_else(|| Queue::new(resource.clone()));
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        if queue.len() == 0 {
            queue.until = until;
        }
        queue.waiters.insert(ticket, (client, waiter));
        self.positions.insert(client, Position { resource: queue.resource.clone(), ticket });
        self.put_back(queue);
    }

    /// Removes a client from its queue. `None` if it is in no queue, or if a visit has the queue: then [`Queues::put_back`] drops it.
    pub fn leave(&mut self, client: ClientId) -> Option<Left<W>> {
        let Position { resource, ticket } = self.positions.remove(&client)?;
        let Some(mut queue) = self.take(resource.db, resource.kind, &resource.key) else {
            self.gone.push(ticket);
            return None;
        };
        let was_head = queue.waiters.first_key_value().is_some_and(|(first, _)| *first == ticket);
        let left = queue.waiters.remove(&ticket);
        self.put_back(queue);
        left.map(|(_, waiter)| Left { resource, waiter, was_head })
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
        self.queues.values().flatten().map(|queue| queue.resource.clone()).collect()
    }
}

#[allow(clippy::unwrap_used)]
#[cfg(test)]
mod tests {
    use super::*;

    fn resource(key: &str, db: i32) -> Resource {
        Resource { key: Rc::from(key.as_bytes()), db, kind: Kind::Lock }
    }

    fn with(clients: &[u64]) -> Queues<u64> {
        let mut queues = Queues::new();
        for client in clients {
            queues.join(&resource("k", 0), *client, client * 10, Some(UnixMs(5)));
        }
        queues
    }

    fn drain(queues: &mut Queues<u64>) -> Vec<u64> {
        let Some(mut queue) = queues.visit(0, Kind::Lock, b"k") else { return Vec::new() };
        let mut order = Vec::new();
        while let Some((client, waiter)) = queue.pop() {
            assert_eq!(waiter, client * 10);
            queues.served(client);
            order.push(client);
        }
        queues.put_back(queue);
        order
    }

    #[test]
    fn first_come_first_served_without_those_who_left() {
        let mut queues = with(&[3, 1, 2, 4]);
        assert!(queues.leave(3).unwrap().was_head);
        assert!(!queues.leave(2).unwrap().was_head);
        assert!(queues.leave(2).is_none());
        assert_eq!(queues.waiters(0, Kind::Lock, b"k"), 2);
        assert_eq!(drain(&mut queues), [1, 4]);
        assert_eq!((queues.clients(), queues.next_alarm()), (0, None));
    }

    #[test]
    fn a_queue_belongs_to_a_key_a_database_and_a_kind() {
        let mut queues = with(&[1]);
        queues.join(&resource("k", 1), 2, 20, None);
        queues.join(&Resource { kind: Kind::Semaphore, ..resource("k", 0) }, 3, 30, None);
        queues.join(&resource("other", 0), 4, 40, None);
        assert_eq!(queues.resources_changed(&|resource| resource.db == 0).len(), 3);
        assert_eq!(queues.resources_changed(&|_| true).len(), 1, "the others have a visit scheduled");
        assert_eq!(queues.resources().len(), 4);
        assert_eq!(drain(&mut queues), [1]);
        assert_eq!(queues.waiters(1, Kind::Lock, b"k"), 1);
        assert_eq!(queues.waiters(0, Kind::Semaphore, b"k"), 1);
    }

    #[test]
    fn a_client_that_leaves_during_a_visit_is_dropped_with_it() {
        let mut queues = with(&[1, 2]);
        let queue = queues.visit(0, Kind::Lock, b"k").unwrap();
        assert!(queues.leave(1).is_none());
        assert!(!queues.key_changed(0, b"k"), "a visit's own events schedule none");
        queues.put_back(queue);
        assert_eq!(drain(&mut queues), [2]);
    }

    #[test]
    fn an_alarm_is_due_until_the_queue_changes_it() {
        let mut queues = with(&[1]);
        assert_eq!((queues.next_alarm(), queues.due(UnixMs(4), 9).len()), (Some(UnixMs(5)), 0));
        assert_eq!(queues.due(UnixMs(5), 9), [resource("k", 0)]);
        let mut queue = queues.visit(0, Kind::Lock, b"k").unwrap();
        queue.until = Some(UnixMs(9));
        queues.put_back(queue);
        assert_eq!(queues.next_alarm(), Some(UnixMs(9)));
        queues.leave(1);
        assert_eq!(queues.next_alarm(), None);
    }

    #[test]
    fn a_change_schedules_one_visit() {
        let mut queues = with(&[1]);
        assert!(!queues.key_changed(1, b"k"));
        assert!(queues.key_changed(0, b"k"));
        assert!(!queues.key_changed(0, b"k"));
        let queue = queues.visit(0, Kind::Lock, b"k").unwrap();
        queues.put_back(queue);
        assert!(queues.key_changed(0, b"k"));
    }
}
