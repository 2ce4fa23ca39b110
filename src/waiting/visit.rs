//! A visit: read the key, serve the waiters at the head of the queue, write the key once, unblock the served clients.

use super::blocked::{Delivery, Outcome, Waiter};
use super::claim::{Answer, Claim, Claimable, Decision, Held, Hold};
use super::due::DueSet;
use super::queues::{ClientId, Kind, Queue, Resource, Ticket};
use super::state::{acquired, is_idle, resource, with};
use super::{deferred, events, redirect};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace};
use crate::primitives::time::{DurationMs, UnixMs};
use crate::primitives::{lock, semaphore};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::slots;

/// The longest time without a visit of a queue that must be looked after: in a cluster, where its slot may leave this node without an event
/// for the key, and for a sorted set, which another module may change without an event.
const CHECK: DurationMs = DurationMs(1000);

/// The shortest time between two visits of a queue by its alarm, so that an unchanged key costs little.
const PAUSE: DurationMs = DurationMs(1);

/// Reads a key, lets `act` decide about it, and serves its queue before and after, all in one write. `act` gets the number of waiters.
pub fn visit<C: Claimable, R>(
    keyspace: &Keyspace,
    key: Str<'_>,
    act: impl FnOnce(&mut C, &mut KeyEntry<'_>, usize) -> Result<R>,
) -> Result<R> {
    if is_idle() {
        let mut entry = keyspace.entry(key);
        let mut state = C::read(&mut entry, keyspace.now())?;
        let outcome = act(&mut state, &mut entry, 0);
        state.write(entry)?;
        events::set_alarm(keyspace.ctx())?;
        return outcome;
    }
    visit_queue(keyspace, key, act)
}

/// [`visit`] where a key has a queue.
#[inline(never)]
fn visit_queue<C: Claimable, R>(
    keyspace: &Keyspace,
    key: Str<'_>,
    act: impl FnOnce(&mut C, &mut KeyEntry<'_>, usize) -> Result<R>,
) -> Result<R> {
    let mut visit = Visit::begin(keyspace, C::KIND, key)?;
    let mut entry = keyspace.entry(key);
    let mut state = visit.read::<C>(&mut entry)?;
    visit.serve(&mut state, &mut entry, None);
    let outcome = act(&mut state, &mut entry, visit.waiters());
    visit.serve(&mut state, &mut entry, None);
    visit.set_next_look(&state, &mut entry);
    visit.write(state, entry)?;
    visit.end()?;
    outcome
}

/// The outcome of a claim.
pub struct Claimed {
    pub decision: Decision,
    /// The number of waiters.
    pub waiters: usize,
    /// The number of places of others.
    pub places: usize,
    /// The place that the claim's owner had, which is free now.
    pub place: Option<Ticket>,
}

/// Makes a claim. A claim that `can_wait` takes over the place of its owner: the earlier request for it is denied. A claim is made when its
/// place has its turn, so it overtakes no waiter, except where its owner already holds what it claims. `bind` is the connection to which the
/// hold is bound.
pub fn claim<C: Claimable>(
    keyspace: &Keyspace,
    key: Str<'_>,
    claim: &Claim<'_>,
    can_wait: bool,
    bind: Option<ClientId>,
) -> Result<Claimed> {
    if !is_idle() {
        return claim_in_line::<C>(keyspace, key, claim, can_wait, bind);
    }
    let mut entry = keyspace.entry(key);
    let mut state = C::read(&mut entry, keyspace.now())?;
    let mut decision = state.claim(&mut entry, claim, keyspace.now())?;
    match &mut decision {
        Decision::Granted(granted) => acquired(keyspace, C::KIND, key, || granted.hold(claim), bind)?,
        Decision::Denied(denied) => denied.ends_with(entry.expiry()),
    }
    state.write(entry)?;
    events::set_alarm(keyspace.ctx())?;
    Ok(Claimed { decision, waiters: 0, places: 0, place: None })
}

/// [`claim`] where a key has a queue.
#[inline(never)]
fn claim_in_line<C: Claimable>(
    keyspace: &Keyspace,
    key: Str<'_>,
    claim: &Claim<'_>,
    can_wait: bool,
    bind: Option<ClientId>,
) -> Result<Claimed> {
    let mut visit = Visit::begin(keyspace, C::KIND, key)?;
    let mut entry = keyspace.entry(key);
    let mut state = visit.read::<C>(&mut entry)?;
    let place = claim.owner().and_then(|owner| visit.queue.as_ref()?.place_of(owner));
    let earlier = if can_wait { place.and_then(|place| visit.vacate(place)) } else { None };
    visit.serve(&mut state, &mut entry, place);
    let is_next = visit.is_next(place);
    let may_claim = if is_next { Ok(true) } else { state.may_pass(&mut entry, claim) };
    let decided = may_claim.and_then(|may_claim| {
        if may_claim {
            state.claim(&mut entry, claim, keyspace.now())
        } else {
            state.denied(&mut entry, claim).map(Decision::Denied)
        }
    });
    // At once, because a waiter of the same owner may be served next, and the later grant decides about the binding.
    if let Ok(Decision::Granted(granted)) = &decided {
        acquired(keyspace, C::KIND, key, || granted.hold(claim), bind)?;
    }
    let waits = can_wait && matches!(&decided, Ok(Decision::Denied(denied)) if !denied.never);
    if !waits {
        visit.serve(&mut state, &mut entry, None);
    }
    if let Some((client, waiter)) = earlier {
        let denied = state.denied(&mut entry, &waiter.claim).map(|denied| Outcome::Denied(denied.answer));
        visit.answer(client, waiter, denied);
    }
    visit.set_next_look(&state, &mut entry);
    let expiry = entry.expiry();
    visit.write(state, entry)?;
    let (waiters, places) =
        visit.queue.as_ref().map_or((visit.held_back, visit.held_back), |queue| (queue.len(), queue.places()));
    visit.end()?;
    let mut decision = decided?;
    if let Decision::Denied(denied) = &mut decision {
        denied.ends_with(expiry);
    }
    Ok(Claimed { decision, waiters, places, place: place.filter(|_| can_wait) })
}

/// The state of a key after its queue was served, and the number of remaining waiters: for a decision about several keys.
pub fn settled<C: Claimable>(keyspace: &Keyspace, key: Str<'_>) -> Result<(C, usize)> {
    let waiters = if is_idle() { 0 } else { visit::<C, _>(keyspace, key, |_, _, waiters| Ok(waiters))? };
    Ok((C::read(&mut keyspace.entry(key), keyspace.now())?, waiters))
}

/// Visits a resource only to serve its queue. Does nothing without a queue, since the key may then be of any type.
pub fn advance(keyspace: &Keyspace, resource: &Resource) -> Result<()> {
    if with(|state| state.queues.waiters(resource.db, resource.kind, &resource.key))? == 0 {
        return with(|state| state.queues.drop_ended_places(resource, keyspace.now().floor_ms()));
    }
    (resource.kind.operations().advance)(keyspace, OwnedStr::new(&resource.key).as_str())
}

/// Unblocks all waiters of a resource with an error, because the server has become a replica.
pub fn dismiss(ctx: Ctx, resource: &Resource) -> Result<()> {
    const UNBLOCKED: &str = "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    ctx.select(resource.db);
    let (keyspace, key) = (Keyspace::new(ctx), OwnedStr::new(&resource.key));
    let mut visit = Visit::begin(&keyspace, resource.kind, key.as_str())?;
    visit.refuse_all(&Error::Text(UNBLOCKED));
    visit.end()
}

/// Denies all waiters of a resource, as if their time were up, and returns their number. Writes nothing.
pub fn deny_waiters(ctx: Ctx, resource: &Resource) -> Result<usize> {
    ctx.select(resource.db);
    (resource.kind.operations().deny_all)(&Keyspace::new(ctx), OwnedStr::new(&resource.key).as_str())
}

/// Visits a resource to take back a share whose client is gone.
pub fn take_back(keyspace: &Keyspace, held: &Held) -> Result<()> {
    (held.resource.kind.operations().take_back)(keyspace, OwnedStr::new(&held.resource.key).as_str(), held)
}

/// Visits a resource to renew the lease of a hold. Returns the end of the lease, or `None` if the owner has lost the hold.
pub fn keep(keyspace: &Keyspace, resource: &Resource, hold: &Hold<'_>) -> Result<Option<UnixMs>> {
    (resource.kind.operations().keep)(keyspace, OwnedStr::new(&resource.key).as_str(), hold)
}

/// What the engine does with a key of one kind.
pub struct Operations {
    advance: fn(&Keyspace, Str<'_>) -> Result<()>,
    deny_all: fn(&Keyspace, Str<'_>) -> Result<usize>,
    take_back: fn(&Keyspace, Str<'_>, &Held) -> Result<()>,
    keep: fn(&Keyspace, Str<'_>, &Hold<'_>) -> Result<Option<UnixMs>>,
    /// The denial of a claim at this moment.
    pub denial: fn(&Keyspace, Str<'_>, &Claim<'_>) -> Result<Answer>,
}

impl Kind {
    pub fn operations(self) -> &'static Operations {
        match self {
            Self::Lock => &const { operations::<lock::Draft>() },
            Self::Semaphore => &const { operations::<semaphore::Draft>() },
            Self::Due => &const { operations::<DueSet>() },
        }
    }
}

const fn operations<C: Claimable>() -> Operations {
    Operations {
        advance: |keyspace, key| visit::<C, _>(keyspace, key, |_, _, _| Ok(())),
        deny_all: deny_all::<C>,
        take_back: |keyspace, key, held| visit::<C, _>(keyspace, key, |state, entry, _| state.take_back(entry, &held.share)),
        keep: |keyspace, key, hold| visit::<C, _>(keyspace, key, |state, entry, _| state.keep(entry, hold)),
        denial: denial::<C>,
    }
}

fn denial<C: Claimable>(keyspace: &Keyspace, key: Str<'_>, claim: &Claim<'_>) -> Result<Answer> {
    let mut entry = keyspace.entry(key);
    let state = C::read(&mut entry, keyspace.now())?;
    Ok(state.denied(&mut entry, claim)?.answer)
}

fn deny_all<C: Claimable>(keyspace: &Keyspace, key: Str<'_>) -> Result<usize> {
    let mut visit = Visit::begin(keyspace, C::KIND, key)?;
    let mut entry = keyspace.entry(key);
    match C::read(&mut entry, keyspace.now()) {
        Ok(state) => visit.deny_all(&state, &mut entry),
        Err(error) => visit.refuse_all(&error),
    }
    drop(entry);
    let answered = visit.served.len();
    visit.end()?;
    Ok(answered)
}

/// The time of a queue's next visit without an event.
pub fn next_look(kind: Kind, until: Option<UnixMs>, now: UnixMs) -> Option<UnixMs> {
    let check = (kind == Kind::Due || slots::is_cluster()).then_some(now.plus(CHECK));
    until.into_iter().chain(check).min().map(|at| at.max(now.plus(PAUSE)))
}

/// The queue of a key during a visit. It is put back however the visit ends, and the served clients are unblocked.
struct Visit<'k> {
    keyspace: &'k Keyspace,
    queue: Option<Queue<Waiter>>,
    /// The waiters that were served or refused.
    served: Vec<(Waiter, Delivery)>,
    /// The number of waiters that are served after the running script, which may be undone.
    held_back: usize,
}

impl<'k> Visit<'k> {
    fn begin(keyspace: &'k Keyspace, kind: Kind, key: Str<'_>) -> Result<Self> {
        let mut visit = Self { keyspace, queue: None, served: Vec::new(), held_back: 0 };
        if is_idle() {
            return Ok(visit);
        }
        let db = keyspace.ctx().db();
        if deferred::is_on() {
            visit.held_back = with(|state| state.queues.waiters(db, kind, key.bytes()))?;
            if visit.held_back > 0 {
                deferred::note_visit(resource(keyspace, kind, key));
            }
            return Ok(visit);
        }
        let now = keyspace.now().floor_ms();
        visit.queue = with(|state| state.queues.visit(db, kind, key.bytes(), now))?;
        if visit.queue.is_some()
            && slots::is_cluster()
            && let Some(elsewhere) = redirect::elsewhere(keyspace.ctx(), key)
        {
            visit.refuse_all(&elsewhere);
        }
        Ok(visit)
    }

    fn waiters(&self) -> usize {
        self.queue.as_ref().map_or(self.held_back, Queue::len)
    }

    /// Reads the state of the key. On an error the waiters get the same error.
    fn read<C: Claimable>(&mut self, entry: &mut KeyEntry<'_>) -> Result<C> {
        C::read(entry, self.keyspace.now()).inspect_err(|error| {
            self.refuse_all(error);
            let _ = self.put_back_and_unblock();
        })
    }

    /// Writes the state of the key. On an error the served waiters get the same error.
    fn write<C: Claimable>(&mut self, state: C, entry: KeyEntry<'_>) -> Result<()> {
        state.write(entry).inspect_err(|error| {
            for (_, delivery) in &mut self.served {
                delivery.outcome = Err(error.clone());
                let _ = with(|state| state.undelivered(delivery.client));
            }
            let _ = self.put_back_and_unblock();
        })
    }

    /// Removes the waiter at a place from the queue.
    fn vacate(&mut self, place: Ticket) -> Option<(ClientId, Waiter)> {
        let earlier = self.queue.as_mut()?.remove(place);
        let _ = with(|state| state.taken_over = state.taken_over.saturating_add(1));
        earlier
    }

    /// Whether no waiter stands before a place, or before the end of the queue.
    fn is_next(&self, place: Option<Ticket>) -> bool {
        let head = self.queue.as_ref().and_then(Queue::head);
        self.held_back == 0 && head.is_none_or(|(head, _)| place.is_some_and(|place| place <= head))
    }

    /// Adds the answer to a waiter that has left the queue.
    fn answer(&mut self, client: ClientId, waiter: Waiter, outcome: Result<Outcome>) {
        self.served.push((waiter, Delivery::new(client, outcome)));
    }

    /// Grants the claims at the head of the queue until one is denied, or until `end` has its turn.
    fn serve<C: Claimable>(&mut self, state: &mut C, entry: &mut KeyEntry<'_>, end: Option<Ticket>) {
        while let Some((ticket, head)) = self.queue.as_ref().and_then(Queue::head) {
            if end.is_some_and(|end| end <= ticket) {
                return;
            }
            let decision = state.claim(entry, &head.claim, self.keyspace.now());
            if matches!(&decision, Ok(Decision::Denied(denied)) if !denied.never) {
                return;
            }
            let Some(queue) = &mut self.queue else { return };
            let Some((client, waiter)) = queue.pop() else { return };
            let outcome = decision.map(|decision| match decision {
                Decision::Denied(denied) => Outcome::Denied(denied.answer),
                Decision::Granted(granted) => {
                    let (answer, now) = (granted.answer.clone(), self.keyspace.now().floor_ms());
                    // At once, because a later decision of this visit may concern the same owner. Only a caller further up the stack could
                    // have borrowed the state, and none calls a visit meanwhile.
                    let _ = with(|state| state.granted(client, &queue.resource, &granted, &waiter.claim, waiter.terms.bind, now));
                    Outcome::Granted(answer)
                }
            });
            self.answer(client, waiter, outcome);
        }
    }

    /// Sets the time at which the head may be served without an event.
    fn set_next_look<C: Claimable>(&mut self, state: &C, entry: &mut KeyEntry<'_>) {
        let Some(queue) = &mut self.queue else { return };
        if let Some((_, head)) = queue.head() {
            // A key that cannot be read now is read again soon.
            let until = state.denied(entry, &head.claim).map_or(Some(self.keyspace.now().floor_ms()), |denied| denied.until);
            // The key may expire before the lease does.
            let until = until.into_iter().chain(entry.expiry()).min();
            queue.until = next_look(queue.resource.kind, until, self.keyspace.now().floor_ms());
        }
    }

    fn refuse_all(&mut self, error: &Error) {
        while let Some((client, waiter)) = self.queue.as_mut().and_then(Queue::pop) {
            self.answer(client, waiter, Err(error.clone()));
        }
        self.queue.iter_mut().for_each(Queue::remove_vacant);
    }

    fn deny_all<C: Claimable>(&mut self, state: &C, entry: &mut KeyEntry<'_>) {
        while let Some((client, waiter)) = self.queue.as_mut().and_then(Queue::pop) {
            let outcome = state.denied(entry, &waiter.claim).map(|denied| Outcome::Denied(denied.answer));
            self.answer(client, waiter, outcome);
        }
        self.queue.iter_mut().for_each(Queue::remove_vacant);
    }

    /// Puts the queue back and unblocks the served clients. The visit may have bound, renewed or unbound a hold, so the alarm may be due at
    /// another time.
    fn end(mut self) -> Result<()> {
        self.put_back_and_unblock()?;
        events::set_alarm(self.keyspace.ctx())
    }

    fn put_back_and_unblock(&mut self) -> Result<()> {
        if self.queue.is_none() {
            return Ok(());
        }
        let waiters = self.waiters();
        self.put_back();
        let set = events::set_alarm(self.keyspace.ctx());
        for (waiter, delivery) in self.served.drain(..) {
            waiter.blocked.finish(Delivery { waiters, ..delivery }, waiter.terms);
        }
        set
    }

    fn put_back(&mut self) {
        let Some(queue) = self.queue.take() else { return };
        let clients: Vec<ClientId> = self.served.iter().map(|(_, delivery)| delivery.client).collect();
        let _ = with(|state| {
            clients.into_iter().for_each(|client| state.queues.served(client));
            state.queues.put_back(queue);
        });
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let _ = self.put_back_and_unblock();
    }
}
