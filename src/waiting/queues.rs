//! The lines of waiting clients, as data: a line per key, first come, first served.
//!
//! A line is taken out while its key is visited and put back afterwards. So the events of a visit's own write find no line, and start
//! no visit. Joining, leaving and being served cost a logarithm, whatever the number of clients.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::primitives::time::UnixMs;

/// What is waited for at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A lock.
    Lock,
    /// Permits of a semaphore.
    Semaphore,
}

/// The key of a line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The name of the key.
    pub key: Rc<[u8]>,
    /// The number of its database.
    pub db: i32,
    /// What is waited for.
    pub kind: Kind,
}

impl Place {
    /// The same key after two databases were swapped.
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

/// The clients that wait at one key. `W` is what is known of each.
#[derive(Debug)]
pub struct Line<W> {
    /// The key.
    pub place: Place,
    waiters: BTreeMap<u64, (ClientId, W)>,
    /// When the head could be served if nobody gave anything back.
    pub until: Option<UnixMs>,
    /// Where this line stands among the alarms.
    alarm: Option<UnixMs>,
    /// A visit is on its way.
    announced: bool,
}

impl<W> Line<W> {
    fn new(place: Place) -> Self {
        Self { place, waiters: BTreeMap::new(), until: None, alarm: None, announced: false }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Who is next.
    pub fn head(&self) -> Option<&W> {
        self.waiters.first_key_value().map(|(_, (_, waiter))| waiter)
    }

    /// Takes who is next out of the line.
    pub fn pop(&mut self) -> Option<(ClientId, W)> {
        self.waiters.pop_first().map(|(_, waiter)| waiter)
    }
}

/// Where a client stands.
#[derive(Debug)]
struct Seat {
    place: Place,
    ticket: u64,
}

/// All lines.
#[derive(Debug)]
pub struct Queues<W> {
    lines: BTreeMap<Rc<[u8]>, Vec<Line<W>>>,
    seats: BTreeMap<ClientId, Seat>,
    alarms: BTreeSet<(UnixMs, Place)>,
    tickets: u64,
    /// Clients that left while their line was taken out.
    gone: Vec<u64>,
}

/// A client that left its line.
pub struct Left<W> {
    /// The key it waited for.
    pub place: Place,
    /// What was known of it.
    pub waiter: W,
    /// Whether it was the head: then the next one may have its turn.
    pub was_head: bool,
}

impl<W> Queues<W> {
    /// No lines.
    pub const fn new() -> Self {
        Self { lines: BTreeMap::new(), seats: BTreeMap::new(), alarms: BTreeSet::new(), tickets: 0, gone: Vec::new() }
    }

    /// How many clients wait.
    pub fn clients(&self) -> usize {
        self.seats.len()
    }

    fn find(&self, db: i32, kind: Kind, key: &[u8]) -> Option<&Line<W>> {
        self.lines.get(key)?.iter().find(|line| line.place.db == db && line.place.kind == kind)
    }

    /// How many clients wait at a key.
    pub fn waiters(&self, db: i32, kind: Kind, key: &[u8]) -> usize {
        self.find(db, kind, key).map_or(0, Line::len)
    }

    /// Takes the line of a key out for a visit, which answers everything that was announced so far.
    pub fn visit(&mut self, db: i32, kind: Kind, key: &[u8]) -> Option<Line<W>> {
        let mut line = self.take(db, kind, key)?;
        line.announced = false;
        Some(line)
    }

    fn take(&mut self, db: i32, kind: Kind, key: &[u8]) -> Option<Line<W>> {
        let lines = self.lines.get_mut(key)?;
        let at = lines.iter().position(|line| line.place.db == db && line.place.kind == kind)?;
        let line = lines.swap_remove(at);
        if lines.is_empty() {
            self.lines.remove(key);
        }
        Some(line)
    }

    /// Puts a line back. Who was served or left meanwhile is forgotten; an empty line is no line.
    pub fn put_back(&mut self, mut line: Line<W>) {
        for ticket in self.gone.drain(..) {
            line.waiters.remove(&ticket);
        }
        let alarm = if line.len() == 0 { None } else { line.until };
        if line.alarm != alarm {
            if let Some(at) = line.alarm {
                self.alarms.remove(&(at, line.place.clone()));
            }
            if let Some(at) = alarm {
                self.alarms.insert((at, line.place.clone()));
            }
            line.alarm = alarm;
        }
        if line.len() > 0 {
            self.lines.entry(line.place.key.clone()).or_default().push(line);
        }
    }

    /// A client that was taken from a line has no seat any more.
    pub fn served(&mut self, client: ClientId) {
        self.seats.remove(&client);
    }

    /// Puts a client at the end of a line. `until` is when the head of the line could be served if nobody gave anything back.
    pub fn join(&mut self, place: &Place, client: ClientId, waiter: W, until: Option<UnixMs>) {
        let mut line = self.take(place.db, place.kind, &place.key).unwrap_or_else(|| Line::new(place.clone()));
        let ticket = self.tickets;
        self.tickets = self.tickets.wrapping_add(1);
        if line.len() == 0 {
            line.until = until;
        }
        line.waiters.insert(ticket, (client, waiter));
        self.seats.insert(client, Seat { place: line.place.clone(), ticket });
        self.put_back(line);
    }

    /// Takes a client out of the line it stands in. `None` when it stands in none; one whose line is being visited is dropped with the
    /// visit.
    pub fn leave(&mut self, client: ClientId) -> Option<Left<W>> {
        let Seat { place, ticket } = self.seats.remove(&client)?;
        let Some(mut line) = self.take(place.db, place.kind, &place.key) else {
            self.gone.push(ticket);
            return None;
        };
        let was_head = line.waiters.first_key_value().is_some_and(|(first, _)| *first == ticket);
        let left = line.waiters.remove(&ticket);
        self.put_back(line);
        left.map(|(_, waiter)| Left { place, waiter, was_head })
    }

    /// Notes that the key changed. True when a line is there that no visit was announced to yet.
    pub fn announce(&mut self, db: i32, key: &[u8]) -> bool {
        let Some(lines) = self.lines.get_mut(key) else { return false };
        let mut news = false;
        for line in lines.iter_mut().filter(|line| line.place.db == db && !line.announced) {
            line.announced = true;
            news = true;
        }
        news
    }

    /// The earliest alarm.
    pub fn next_alarm(&self) -> Option<UnixMs> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// At most `limit` of the keys whose alarm is over.
    pub fn due(&self, now: UnixMs, limit: usize) -> Vec<Place> {
        self.alarms.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, place)| place.clone()).collect()
    }

    /// Notes that these keys changed, and names those that no visit was announced to yet.
    pub fn announce_all(&mut self, which: &dyn Fn(&Place) -> bool) -> Vec<Place> {
        let lines = self.lines.values_mut().flatten().filter(|line| !line.announced && which(&line.place));
        lines
            .map(|line| {
                line.announced = true;
                line.place.clone()
            })
            .collect()
    }

    /// The keys of all lines.
    pub fn places(&self) -> Vec<Place> {
        self.lines.values().flatten().map(|line| line.place.clone()).collect()
    }
}

#[allow(clippy::unwrap_used)]
#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &str, db: i32) -> Place {
        Place { key: Rc::from(key.as_bytes()), db, kind: Kind::Lock }
    }

    fn with(clients: &[u64]) -> Queues<u64> {
        let mut queues = Queues::new();
        for client in clients {
            queues.join(&place("k", 0), *client, client * 10, Some(UnixMs(5)));
        }
        queues
    }

    fn drain(queues: &mut Queues<u64>) -> Vec<u64> {
        let Some(mut line) = queues.visit(0, Kind::Lock, b"k") else { return Vec::new() };
        let mut order = Vec::new();
        while let Some((client, waiter)) = line.pop() {
            assert_eq!(waiter, client * 10);
            queues.served(client);
            order.push(client);
        }
        queues.put_back(line);
        order
    }

    #[test]
    fn first_come_first_served_and_who_left_is_skipped() {
        let mut queues = with(&[3, 1, 2, 4]);
        assert!(queues.leave(3).unwrap().was_head);
        assert!(!queues.leave(2).unwrap().was_head);
        assert!(queues.leave(2).is_none());
        assert_eq!(queues.waiters(0, Kind::Lock, b"k"), 2);
        assert_eq!(drain(&mut queues), [1, 4]);
        assert_eq!((queues.clients(), queues.next_alarm()), (0, None));
    }

    #[test]
    fn a_line_belongs_to_a_key_a_database_and_a_kind() {
        let mut queues = with(&[1]);
        queues.join(&place("k", 1), 2, 20, None);
        queues.join(&Place { kind: Kind::Semaphore, ..place("k", 0) }, 3, 30, None);
        queues.join(&place("other", 0), 4, 40, None);
        assert_eq!(queues.announce_all(&|place| place.db == 0).len(), 3);
        assert_eq!(queues.announce_all(&|_| true).len(), 1, "the others were announced");
        assert_eq!(queues.places().len(), 4);
        assert_eq!(drain(&mut queues), [1]);
        assert_eq!(queues.waiters(1, Kind::Lock, b"k"), 1);
        assert_eq!(queues.waiters(0, Kind::Semaphore, b"k"), 1);
    }

    #[test]
    fn a_client_that_leaves_during_a_visit_is_dropped_with_it() {
        let mut queues = with(&[1, 2]);
        let line = queues.visit(0, Kind::Lock, b"k").unwrap();
        assert!(queues.leave(1).is_none());
        assert!(!queues.announce(0, b"k"), "the visit's own events start none");
        queues.put_back(line);
        assert_eq!(drain(&mut queues), [2]);
    }

    #[test]
    fn an_alarm_rings_until_the_line_says_otherwise() {
        let mut queues = with(&[1]);
        assert_eq!((queues.next_alarm(), queues.due(UnixMs(4), 9).len()), (Some(UnixMs(5)), 0));
        assert_eq!(queues.due(UnixMs(5), 9), [place("k", 0)]);
        let mut line = queues.visit(0, Kind::Lock, b"k").unwrap();
        line.until = Some(UnixMs(9));
        queues.put_back(line);
        assert_eq!(queues.next_alarm(), Some(UnixMs(9)));
        queues.leave(1);
        assert_eq!(queues.next_alarm(), None);
    }

    #[test]
    fn a_change_is_announced_once() {
        let mut queues = with(&[1]);
        assert!(!queues.announce(1, b"k"));
        assert!(queues.announce(0, b"k"));
        assert!(!queues.announce(0, b"k"));
        let line = queues.visit(0, Kind::Lock, b"k").unwrap();
        queues.put_back(line);
        assert!(queues.announce(0, b"k"));
    }
}
