//! The queues: order, places of owners, places whose connection closed, alarms.
#![allow(clippy::unwrap_used)]

use super::*;

fn resource(key: &str, db: i32) -> Resource {
    Resource { key: Rc::from(key.as_bytes()), db, kind: Kind::Lock }
}

/// A waiter with the number of its client and its owner.
struct Waiting(u64, Option<&'static str>);

impl Place for Waiting {
    fn owner(&self) -> Option<&[u8]> {
        self.1.map(str::as_bytes)
    }

    fn since(&self) -> UnixMs {
        UnixMs(self.0)
    }
}

fn with(clients: &[u64]) -> Queues<Waiting> {
    let mut queues = Queues::new();
    for client in clients {
        queues.join(&resource("k", 0), *client, Waiting(*client, None), Some(UnixMs(5)), None);
    }
    queues
}

fn leave(queues: &mut Queues<Waiting>, client: u64) -> Option<Left<Waiting>> {
    queues.leave(client, |_| None)
}

fn visit(queues: &mut Queues<Waiting>) -> Option<Queue<Waiting>> {
    queues.visit(0, Kind::Lock, b"k", UnixMs(0))
}

fn drain(queues: &mut Queues<Waiting>) -> Vec<u64> {
    let Some(mut queue) = visit(queues) else { return Vec::new() };
    let mut order = Vec::new();
    while let Some((client, waiter)) = queue.pop() {
        assert_eq!(waiter.0, client);
        queues.served(client);
        order.push(client);
    }
    queues.put_back(queue);
    order
}

#[test]
fn an_owner_finds_its_place_again_until_it_ends() {
    let mut queues = Queues::new();
    let owners = [(1, "a"), (2, "b"), (3, "c")];
    let join = |queues: &mut Queues<Waiting>, client, owner, place| {
        queues.join(&resource("k", 0), client, Waiting(client, Some(owner)), Some(UnixMs(5)), place);
    };
    owners.into_iter().for_each(|(client, owner)| join(&mut queues, client, owner, None));
    // The connections of a and b close.
    assert!(queues.leave(1, |_| Some(UnixMs(20))).unwrap().was_head);
    queues.leave(2, |_| Some(UnixMs(10)));
    let queue = visit(&mut queues).unwrap();
    assert_eq!((queue.len(), queue.places(), queue.head().map(|(_, waiter)| waiter.0)), (1, 3, Some(3)));
    assert_eq!(queue.next_alarm(), Some(UnixMs(5)));
    queues.put_back(queue);
    assert_eq!((queues.clients(), queues.vacant_places()), (1, 2));
    let mut queue = visit(&mut queues).unwrap();
    // a comes again.
    let place = queue.place_of(b"a").unwrap();
    assert!(queue.remove(place).is_none());
    queues.put_back(queue);
    join(&mut queues, 4, "a", Some(place));
    assert_eq!(queues.next_alarm(), Some(UnixMs(5)));
    let head = queues.find(0, Kind::Lock, b"k").and_then(Queue::head).map(|(ticket, waiter)| (waiter.0, ticket.since));
    assert_eq!(head, Some((4, UnixMs(1))), "the owner has waited since its first request");
    // The place of b ends, and it joins at the end.
    queues.drop_ended_places(&resource("k", 0), UnixMs(10));
    assert_eq!(queues.find(0, Kind::Lock, b"k").map(|queue| (queue.places(), queue.place_of(b"b"))), Some((2, None)));
    join(&mut queues, 5, "b", None);
    assert_eq!(drain(&mut queues), [4, 3, 5]);
    assert!(queues.is_empty() && queues.alarms.is_empty());
}

#[test]
fn a_vacant_place_keeps_its_queue_and_its_alarm() {
    let mut queues = Queues::new();
    queues.join(&resource("k", 0), 1, Waiting(1, Some("a")), Some(UnixMs(5)), None);
    queues.leave(1, |_| Some(UnixMs(20)));
    assert_eq!((queues.clients(), queues.is_empty(), queues.next_alarm()), (0, false, Some(UnixMs(20))));
    queues.drop_ended_places(&resource("k", 0), UnixMs(19));
    assert!(!queues.is_empty());
    queues.drop_ended_places(&resource("k", 0), UnixMs(20));
    assert_eq!((queues.is_empty(), queues.next_alarm()), (true, None));
    queues.join(&resource("k", 0), 2, Waiting(2, Some("a")), None, None);
    queues.leave(2, |_| Some(UnixMs(40)));
    let mut queue = visit(&mut queues).unwrap();
    queue.remove_vacant();
    queues.put_back(queue);
    assert!(queues.is_empty() && queues.alarms.is_empty());
}

#[test]
fn first_come_first_served_without_those_who_left() {
    let mut queues = with(&[3, 1, 2, 4]);
    assert!(leave(&mut queues, 3).unwrap().was_head);
    assert!(!leave(&mut queues, 2).unwrap().was_head);
    assert!(leave(&mut queues, 2).is_none());
    assert_eq!(queues.waiters(0, Kind::Lock, b"k"), 2);
    assert_eq!(drain(&mut queues), [1, 4]);
    assert_eq!((queues.clients(), queues.next_alarm()), (0, None));
}

#[test]
fn a_queue_belongs_to_a_key_a_database_and_a_kind() {
    let mut queues = with(&[1]);
    queues.join(&resource("k", 1), 2, Waiting(2, None), None, None);
    queues.join(&Resource { kind: Kind::Semaphore, ..resource("k", 0) }, 3, Waiting(3, None), None, None);
    queues.join(&resource("other", 0), 4, Waiting(4, None), None, None);
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
    let queue = visit(&mut queues).unwrap();
    assert!(leave(&mut queues, 1).is_none());
    assert!(!queues.key_changed(0, b"k"), "a visit's own events schedule none");
    queues.put_back(queue);
    assert_eq!(drain(&mut queues), [2]);
}

#[test]
fn an_alarm_is_due_until_the_queue_changes_it() {
    let mut queues = with(&[1]);
    assert_eq!((queues.next_alarm(), queues.due(UnixMs(4), 9).len()), (Some(UnixMs(5)), 0));
    assert_eq!(queues.due(UnixMs(5), 9), [resource("k", 0)]);
    let mut queue = visit(&mut queues).unwrap();
    queue.until = Some(UnixMs(9));
    queues.put_back(queue);
    assert_eq!(queues.next_alarm(), Some(UnixMs(9)));
    leave(&mut queues, 1);
    assert_eq!(queues.next_alarm(), None);
}

#[test]
fn a_change_schedules_one_visit() {
    let mut queues = with(&[1]);
    assert!(!queues.key_changed(1, b"k"));
    assert!(queues.key_changed(0, b"k"));
    assert!(!queues.key_changed(0, b"k"));
    let queue = visit(&mut queues).unwrap();
    queues.put_back(queue);
    assert!(queues.key_changed(0, b"k"));
}
