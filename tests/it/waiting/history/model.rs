//! What the server must do, written naively: the queues of database 0, the bound holds, the grants whose replies are not made yet, and the
//! work that follows a command.

use std::collections::{BTreeMap, BTreeSet};

use super::keys::{Claim, Client, Db, KINDS, Kind, Outcome, Reply, Share, Stored, Taken};

/// Something that was granted at a key.
#[derive(Debug, Clone)]
struct Held {
    db: Db,
    key: &'static str,
    owner: &'static str,
    share: Share,
}

impl Held {
    fn kind(&self) -> Kind {
        match self.share {
            Share::Holds { .. } => Kind::Lock,
            Share::Permits(_) => Kind::Semaphore,
            Share::Members(_) => Kind::Due,
        }
    }
}

#[derive(Debug)]
enum Task {
    Visit(&'static str),
    TakeBack(Held),
}

#[derive(Debug, Clone)]
struct Place {
    owner: Option<&'static str>,
    /// `None` if the connection closed.
    waiter: Option<(Client, Claim)>,
}

type Queue = BTreeMap<u64, Place>;

type Holder = (Db, &'static str, Kind, &'static str);

#[derive(Default)]
pub struct Model {
    pub data: [BTreeMap<&'static str, Stored>; 2],
    queues: BTreeMap<(&'static str, Kind), Queue>,
    pub bindings: BTreeMap<Holder, (Client, u64)>,
    unread: BTreeMap<Client, Held>,
    /// Connections that closed before their reply was made.
    closed: BTreeSet<Client>,
    changed: Vec<&'static str>,
    /// The queues whose visit follows anyway, so that a change schedules none.
    scheduled: BTreeSet<(&'static str, Kind)>,
    tasks: Vec<Task>,
    /// The replies to clients that waited.
    pub deliveries: Vec<(Client, Reply)>,
    ticket: u64,
    /// The last fence and the last token.
    pub issued: u64,
    pub draining: bool,
    /// Whether the server visits a changed key at the end of the command or transaction; otherwise after the whole write.
    pub jobs: bool,
    /// Whether a place is kept when its connection closes.
    pub keeps_places: bool,
    pub grants: BTreeMap<Kind, usize>,
    pub taken_over: usize,
}

impl Model {
    pub fn waiting(&self, client: Client) -> bool {
        self.all_places().any(|place| place.waiter.is_some_and(|(it, _)| it == client))
    }

    /// The owner of the first place that has one.
    pub fn next_owner(&self, key: &str) -> Option<&'static str> {
        self.queues.iter().filter(|((it, _), _)| *it == key).find_map(|(_, queue)| queue.values().next()?.owner)
    }

    pub fn is_unread(&self, client: Client) -> bool {
        self.unread.contains_key(&client)
    }

    fn all_places(&self) -> impl Iterator<Item = &Place> {
        self.queues.values().flat_map(BTreeMap::values)
    }

    pub fn waiting_clients(&self) -> usize {
        self.all_places().filter(|place| place.waiter.is_some()).count()
    }

    pub fn vacant_places(&self) -> usize {
        self.all_places().filter(|place| place.waiter.is_none()).count()
    }

    pub fn next(&mut self) -> u64 {
        self.issued += 1;
        self.issued
    }

    /// The last request of an owner decides about its hold: an earlier grant is not taken back any more.
    fn acquired(&mut self, claim: &Claim, fence: u64, is_new: bool, client: Option<Client>) {
        let Some(owner) = claim.place() else { return };
        let same = |held: &Held| (held.db, held.key, held.kind(), held.owner) == (0, claim.key, claim.kind(), owner);
        self.unread.retain(|_, held| !same(held));
        self.tasks.retain(|task| !matches!(task, Task::TakeBack(held) if same(held)));
        let holder = (0, claim.key, claim.kind(), owner);
        match client {
            Some(client) => drop(self.bindings.insert(holder, (client, fence))),
            None if is_new => drop(self.bindings.remove(&holder)),
            None => drop(self.bindings.entry(holder).and_modify(|bound| bound.1 = fence)),
        }
    }

    /// Serves the head until it is denied, or until the place `end` has its turn.
    fn serve(&mut self, key: &'static str, kind: Kind, end: Option<u64>, served: &mut Vec<(Client, Reply)>) {
        loop {
            let queue = self.queues.entry((key, kind)).or_default();
            let Some((ticket, client, claim)) =
                queue.iter().find_map(|(ticket, place)| place.waiter.map(|(client, claim)| (*ticket, client, claim)))
            else {
                return;
            };
            if end.is_some_and(|end| end <= ticket) {
                return;
            }
            let reply = match self.claim_now(&claim) {
                Outcome::Denied { never: false } => return,
                Outcome::Denied { never: true } => Reply::Denied { waiters: 0 },
                Outcome::Failed => Reply::Failed,
                Outcome::Granted { reply, share, is_new } => {
                    self.granted(&claim, &reply, is_new, client);
                    if let Some(share) = share {
                        self.unread.insert(client, Held { db: 0, key, owner: claim.owner, share });
                    }
                    reply
                }
            };
            served.push((client, reply));
            self.queues.entry((key, kind)).or_default().remove(&ticket);
        }
    }

    fn granted(&mut self, claim: &Claim, reply: &Reply, is_new: bool, client: Client) {
        let fence = if let Reply::Granted { fence, .. } = reply { *fence } else { 0 };
        self.acquired(claim, fence, is_new, claim.bind.then_some(client));
        *self.grants.entry(claim.kind()).or_default() += 1;
    }

    fn len(&self, key: &'static str, kind: Kind) -> usize {
        self.queues.get(&(key, kind)).map_or(0, |queue| queue.values().filter(|place| place.waiter.is_some()).count())
    }

    fn end_visit(&mut self, key: &'static str, kind: Kind, served: Vec<(Client, Reply)>) {
        let waiters = self.len(key, kind);
        self.deliveries.extend(served.into_iter().map(|(client, reply)| (client, with_waiters(reply, waiters))));
    }

    /// Ends the wait of everyone in a queue.
    fn empty(&mut self, key: &'static str, kind: Kind, reply: &Reply) -> usize {
        self.scheduled.remove(&(key, kind));
        let places = self.queues.remove(&(key, kind)).unwrap_or_default();
        let clients: Vec<Client> = places.into_values().filter_map(|place| Some(place.waiter?.0)).collect();
        self.deliveries.extend(clients.iter().map(|client| (*client, reply.clone())));
        clients.len()
    }

    fn visit(&mut self, db: Db, key: &'static str, kind: Kind, act: impl FnOnce(&mut Self) -> Reply) -> Reply {
        if !self.is_of(db, key, kind) {
            if db == 0 {
                self.empty(key, kind, &Reply::Failed);
            }
            return Reply::Failed;
        }
        if db == 0 {
            self.scheduled.remove(&(key, kind));
        }
        let (mut served, before) = (Vec::new(), self.data[0].get(key).cloned());
        let mut serve = |model: &mut Self| {
            if db == 0 {
                model.serve(key, kind, None, &mut served)
            }
        };
        serve(self);
        let reply = act(self);
        self.tidy(db);
        serve(self);
        self.end_visit(key, kind, served);
        self.note(key, kind, before.as_ref());
        reply
    }

    /// Schedules visits for the other queues of a key if it has changed.
    fn note(&mut self, key: &'static str, kind: Kind, before: Option<&Stored>) {
        if self.data[0].get(key) != before {
            self.key_changed(key, Some(kind));
        }
    }

    /// The queue of the kind that a visit has is not concerned.
    fn key_changed(&mut self, key: &'static str, visited: Option<Kind>) {
        let has_places = |kind: &Kind| self.queues.get(&(key, *kind)).is_some_and(|queue| !queue.is_empty());
        let kinds: Vec<Kind> = KINDS.into_iter().filter(|kind| Some(*kind) != visited && has_places(kind)).collect();
        let mut schedule = false;
        for kind in kinds {
            schedule |= self.scheduled.insert((key, kind));
        }
        self.changed.extend(schedule.then_some(key));
    }

    /// A claim of a connection. `most` is MAXQUEUE.
    pub fn claim(&mut self, claim: Claim, client: Client, waits: bool, most: Option<usize>, in_multi: bool) -> Reply {
        let (key, kind) = (claim.key, claim.kind());
        let can_wait = waits && !in_multi;
        if self.draining && (can_wait || claim.bind) {
            return Reply::Failed;
        }
        if !self.is_of(0, key, kind) {
            self.empty(key, kind, &Reply::Failed);
            return Reply::Failed;
        }
        self.scheduled.remove(&(key, kind));
        let (mut served, before) = (Vec::new(), self.data[0].get(key).cloned());
        let queue = self.queues.entry((key, kind)).or_default();
        let place =
            queue.iter().find(|(_, place)| place.owner.is_some() && place.owner == claim.place()).map(|(ticket, _)| *ticket);
        let earlier = place.filter(|_| can_wait).and_then(|place| queue.remove(&place));
        self.taken_over += usize::from(earlier.is_some());
        self.serve(key, kind, place, &mut served);
        let queue = self.queues.entry((key, kind)).or_default();
        let head = queue.iter().find(|(_, place)| place.waiter.is_some()).map(|(ticket, _)| *ticket);
        let is_next = head.is_none_or(|head| place.is_some_and(|place| place <= head));
        let others = queue.len();
        let outcome = if is_next || self.may_pass(&claim) { self.claim_now(&claim) } else { Outcome::Denied { never: false } };
        let reply = match outcome {
            Outcome::Failed => Reply::Failed,
            Outcome::Granted { reply, is_new, .. } => {
                self.granted(&claim, &reply, is_new, client);
                reply
            }
            Outcome::Denied { never: false } if can_wait && (place.is_some() || most.is_none_or(|most| others < most)) => {
                self.ticket += 1;
                let waiter = Place { owner: claim.place(), waiter: Some((client, claim)) };
                let ticket = place.unwrap_or(self.ticket);
                self.queues.entry((key, kind)).or_default().insert(ticket, waiter);
                Reply::Nothing
            }
            Outcome::Denied { .. } => Reply::Denied { waiters: 0 },
        };
        self.serve(key, kind, None, &mut served);
        if let Some((earlier, _)) = earlier.and_then(|place| place.waiter) {
            served.push((earlier, Reply::Denied { waiters: 0 }));
        }
        // The earlier request is answered before the later one joins.
        let joined = usize::from(reply == Reply::Nothing);
        let waiters = self.len(key, kind) - joined;
        self.deliveries.extend(served.into_iter().map(|(client, reply)| (client, with_waiters(reply, waiters))));
        self.note(key, kind, before.as_ref());
        with_waiters(reply, waiters)
    }

    pub fn unlock(&mut self, key: &'static str, owner: &'static str, all: bool) -> Reply {
        self.visit(0, key, Kind::Lock, |model| {
            let Some(Stored::Lock { holders, .. }) = model.data[0].get_mut(key) else { return Reply::Integer(-1) };
            let Some((_, holds)) = holders.get_mut(owner) else { return Reply::Integer(-1) };
            *holds -= if all { *holds } else { 1 };
            let left = *holds;
            if left == 0 {
                holders.remove(owner);
                model.bindings.remove(&(0, key, Kind::Lock, owner));
            }
            Reply::Integer(left as i64)
        })
    }

    pub fn release(&mut self, key: &'static str, owner: &'static str, n: u64) -> Reply {
        self.visit(0, key, Kind::Semaphore, |model| {
            let Some(Stored::Permits(owners)) = model.data[0].get_mut(key) else { return Reply::Integer(-1) };
            let Some(held) = owners.get_mut(owner) else { return Reply::Integer(-1) };
            *held = held.saturating_sub(n);
            let left = *held;
            if left == 0 {
                owners.remove(owner);
                model.bindings.remove(&(0, key, Kind::Semaphore, owner));
            }
            Reply::Integer(left as i64)
        })
    }

    fn take_back(&mut self, held: Held) {
        let Held { db, key, owner, .. } = held;
        self.visit(db, key, held.kind(), |model| {
            match (held.share, model.data[db].get_mut(key)) {
                (Share::Holds { fence, count }, Some(Stored::Lock { holders, .. })) => {
                    if let Some((held, holds)) = holders.get_mut(owner)
                        && *held == fence
                    {
                        *holds = holds.saturating_sub(count);
                        holders.retain(|_, (_, holds)| *holds > 0);
                    }
                }
                (Share::Permits(n), Some(Stored::Permits(owners))) => {
                    owners.entry(owner).and_modify(|held| *held = held.saturating_sub(n));
                    owners.retain(|_, held| *held > 0);
                }
                (Share::Members(taken), stored) => {
                    let mut members =
                        if let Some(Stored::Set(members)) = stored { std::mem::take(members) } else { BTreeMap::new() };
                    for Taken { member, was, lease } in taken {
                        if members.get(&member).copied() == lease {
                            members.insert(member, was);
                        }
                    }
                    model.data[db].insert(key, Stored::Set(members));
                }
                _ => {}
            }
            Reply::Anything
        });
    }

    /// Another command changes the keys of database 0.
    pub fn change(&mut self, key: &'static str, change: impl FnOnce(&mut BTreeMap<&'static str, Stored>)) {
        change(&mut self.data[0]);
        self.tidy(0);
        self.key_changed(key, None);
    }

    fn post_visits(&mut self) {
        for (at, queue) in &self.queues {
            if !queue.is_empty() && self.scheduled.insert(*at) {
                self.tasks.push(Task::Visit(at.0));
            }
        }
    }

    pub fn flush(&mut self) {
        self.data[0].clear();
        self.post_visits();
    }

    pub fn swap(&mut self) {
        self.data.swap(0, 1);
        self.bindings =
            std::mem::take(&mut self.bindings).into_iter().map(|((db, k, kind, o), b)| ((1 - db, k, kind, o), b)).collect();
        let pending = self.tasks.iter_mut().filter_map(|task| if let Task::TakeBack(held) = task { Some(held) } else { None });
        self.unread.values_mut().chain(pending).for_each(|held| held.db = 1 - held.db);
        self.post_visits();
    }

    /// Removes a waiting client from its queue, and keeps its place if `keep`.
    fn leave(&mut self, client: Client, keep: bool) -> Option<(&'static str, Kind)> {
        let is_it = |place: &Place| place.waiter.is_some_and(|(it, _)| it == client);
        let (at, ticket) =
            self.queues.iter().find_map(|(at, queue)| Some((*at, *queue.iter().find(|(_, place)| is_it(place))?.0)))?;
        let queue = self.queues.get_mut(&at)?;
        let was_head = queue.iter().find(|(_, place)| place.waiter.is_some()).is_some_and(|(head, _)| *head == ticket);
        let place = queue.remove(&ticket)?;
        if keep && place.owner.is_some() {
            queue.insert(ticket, Place { waiter: None, ..place });
        }
        if queue.is_empty() {
            self.scheduled.remove(&at);
        }
        if was_head {
            let changed = std::mem::take(&mut self.changed);
            self.key_changed(at.0, None);
            self.tasks.extend(std::mem::replace(&mut self.changed, changed).into_iter().map(Task::Visit));
        }
        Some(at)
    }

    /// CLIENT UNBLOCK of a client that waits, or the end of its wait.
    pub fn unblock(&mut self, client: Client, with_error: bool) {
        let Some((key, kind)) = self.leave(client, false) else { return };
        let failed = with_error || !self.is_of(0, key, kind);
        let reply = if failed { Reply::Failed } else { Reply::Denied { waiters: self.len(key, kind) } };
        self.deliveries.push((client, reply));
    }

    /// A connection closes.
    pub fn close(&mut self, client: Client) {
        self.closed.insert(client);
        let (ended, kept) = std::mem::take(&mut self.bindings).into_iter().partition(|(_, bound)| bound.0 == client);
        self.bindings = kept;
        let ended: BTreeMap<Holder, (Client, u64)> = ended;
        for ((db, key, kind, owner), (_, fence)) in ended {
            let share = if kind == Kind::Lock { Share::Holds { fence, count: u64::MAX } } else { Share::Permits(u64::MAX) };
            self.tasks.push(Task::TakeBack(Held { db, key, owner, share }));
        }
        self.leave(client, self.keeps_places && !self.draining);
    }

    pub fn drain(&mut self) -> Reply {
        self.draining = true;
        let mut answered = 0;
        for (key, kind) in self.queues.keys().copied().collect::<Vec<_>>() {
            let reply = if self.is_of(0, key, kind) { Reply::Denied { waiters: 0 } } else { Reply::Failed };
            answered += self.empty(key, kind, &reply);
        }
        self.bindings.clear();
        self.run_tasks();
        Reply::Integer(answered as i64)
    }

    /// Vacant places need no visit.
    fn visit_all(&mut self, key: &'static str) {
        for kind in KINDS {
            if self.len(key, kind) > 0 {
                self.visit(0, key, kind, |_| Reply::Anything);
            } else {
                self.scheduled.remove(&(key, kind));
            }
        }
    }

    fn run_tasks(&mut self) {
        while !self.tasks.is_empty() {
            match self.tasks.remove(0) {
                Task::Visit(key) => self.visit_all(key),
                Task::TakeBack(held) => self.take_back(held),
            }
        }
    }

    /// The end of a command, or of a transaction.
    pub fn end_of_unit(&mut self) {
        if !self.jobs {
            self.tasks.extend(self.changed.drain(..).map(Task::Visit));
        }
        // A visit may change the key once more, for its queues of other kinds.
        while !self.changed.is_empty() {
            let key = self.changed.remove(0);
            self.visit_all(key);
        }
    }

    /// The server has run all that was sent, and makes the replies. Returns them.
    pub fn settle(&mut self) -> Vec<(Client, Reply)> {
        loop {
            self.run_tasks();
            let lost: Vec<Client> = self.unread.keys().copied().filter(|client| self.closed.contains(client)).collect();
            let lost: Vec<Held> = lost.iter().filter_map(|client| self.unread.remove(client)).collect();
            self.tasks.extend(lost.into_iter().map(Task::TakeBack));
            self.end_of_unit();
            if self.tasks.is_empty() {
                break;
            }
        }
        self.unread.clear();
        let closed = std::mem::take(&mut self.closed);
        self.queues.retain(|_, queue| !queue.is_empty());
        std::mem::take(&mut self.deliveries).into_iter().filter(|(client, _)| !closed.contains(client)).collect()
    }
}

fn with_waiters(reply: Reply, waiters: usize) -> Reply {
    match reply {
        Reply::Granted { at, fence, number, .. } => Reply::Granted { at, fence, number, waiters },
        Reply::Denied { .. } => Reply::Denied { waiters },
        other => other,
    }
}
