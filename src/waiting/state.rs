//! State between commands: the queues, the bound shares, the grants in delivery, and the tasks for the next timer.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::bindings::{Bindings, Holder};
use super::blocked::Waiter;
use super::claim::{Claim, Granted, Held, Hold};
use super::deferred::{self, Change};
use super::queues::{ClientId, Kind, Queues, Resource};
use super::unread::Unread;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::module_api::Str;
use crate::server::thread::ServerThread;

/// A timer of the server.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    pub id: u64,
    /// The time for which it was set.
    pub at: UnixMs,
    /// The delay for which it was set.
    pub delay: DurationMs,
}

impl Timer {
    /// Whether the clock has been set since the timer: the time is further from the timer's than the delay allows.
    #[must_use]
    pub fn is_off(self, now: UnixMs) -> bool {
        self.at.since(now) > self.delay.plus(CLOCK_STEP) || now.since(self.at) > CLOCK_STEP
    }
}

/// A smaller step of the clock is not noticed.
const CLOCK_STEP: DurationMs = DurationMs(100);

/// The shortest time between two lines in the log about lost holds.
const LOG_PERIOD: DurationMs = DurationMs(1000);

/// A task for a timer.
#[derive(Debug)]
pub enum Task {
    /// Visit a resource whose queue may advance.
    Visit(Resource),
    /// Take back a share whose client is gone.
    TakeBack(Held),
}

pub struct State {
    pub queues: Queues<Waiter>,
    pub bindings: Bindings,
    /// Grants to waiters that may not have read them.
    pub unread: Unread,
    pub tasks: Vec<Task>,
    /// The timer for [`State::tasks`].
    pub task_timer: Option<Timer>,
    /// The timer for the earliest moment at which a waiter may be served or a bound lease must be renewed.
    pub alarm: Option<Timer>,
    /// Whether the events that advance a queue are subscribed.
    pub listens: bool,
    /// The connection that the server is closing.
    pub closing: Option<ClientId>,
    /// The number of grants after a wait.
    pub handed_over: u64,
    /// The number of places that a repeated request took over.
    pub taken_over: u64,
    /// The number of bound holds that their owners lost while the connection lived.
    pub bound_lost: u64,
    /// The time of the last line in the log about a lost hold.
    lost_logged: UnixMs,
}

static STATE: ServerThread<State> = ServerThread::new(State {
    queues: Queues::new(),
    bindings: Bindings::new(),
    unread: Unread::new(),
    tasks: Vec::new(),
    task_timer: None,
    alarm: None,
    listens: false,
    closing: None,
    handed_over: 0,
    taken_over: 0,
    bound_lost: 0,
    lost_logged: UnixMs(0),
});

/// [`is_idle`], readable without the state.
static IDLE: AtomicBool = AtomicBool::new(true);
/// Whether grants may be taken back.
static UNSETTLED: AtomicBool = AtomicBool::new(false);

/// Whether an alarm is set or may be needed.
static TIMED: AtomicBool = AtomicBool::new(false);

/// The number of bound holds.
static BINDINGS: AtomicUsize = AtomicUsize::new(0);

/// Whether ATOMIC.DRAIN is in effect: no request waits or binds.
static DRAINING: AtomicBool = AtomicBool::new(false);

impl State {
    /// The earliest moment at which a waiter may be served or a bound lease must be renewed.
    pub fn next_alarm(&self) -> Option<UnixMs> {
        self.queues.next_alarm().into_iter().chain(self.bindings.next_renewal()).min()
    }

    /// Counts a bound hold that its owner has lost. True if the log should have a line about it.
    pub fn lost_binding(&mut self, now: UnixMs) -> bool {
        self.bound_lost = self.bound_lost.saturating_add(1);
        let report = now.since(self.lost_logged) >= LOG_PERIOD || now < self.lost_logged;
        if report {
            self.lost_logged = now;
        }
        report
    }

    /// Records a grant to an owner. `bind` is the connection that asked for BIND. Without one, a binding of an earlier ownership ends and
    /// that of this ownership stays. An earlier grant to the owner is not taken back any more, since its hold now belongs to this request.
    pub fn acquired(&mut self, resource: &Resource, hold: &Hold<'_>, bind: Option<ClientId>, now: UnixMs) {
        let holder = Holder { resource: resource.clone(), owner: (*hold.owner).into() };
        let is_same = |held: &Held| held.resource == *resource && held.share.owner() == Some(&*hold.owner);
        self.unread.remove_of(&holder);
        self.tasks.retain(|task| !matches!(task, Task::TakeBack(held) if is_same(held)));
        if let Some(client) = bind {
            self.bindings.bind(client, resource, hold, now);
            return;
        }
        if hold.is_new {
            self.bindings.forget(&holder);
        } else {
            self.bindings.renewed(&holder, hold.fence, hold.until, now);
        }
    }

    /// Records a grant to a waiter.
    pub fn granted(
        &mut self,
        client: ClientId,
        resource: &Resource,
        granted: &Granted,
        claim: &Claim<'_>,
        bind: bool,
        now: UnixMs,
    ) {
        self.handed_over = self.handed_over.saturating_add(1);
        if let Some(hold) = granted.hold(claim) {
            self.acquired(resource, &hold, bind.then_some(client), now);
        }
        if let Some(share) = granted.share(claim) {
            self.unread.add(client, Held { resource: resource.clone(), share });
        }
    }

    /// Removes and returns a grant that its waiter did not get.
    pub fn undelivered(&mut self, client: ClientId) -> Option<Held> {
        let held = self.unread.remove(client)?;
        if let Some(owner) = held.share.owner() {
            self.bindings.forget_of(client, &Holder { resource: held.resource.clone(), owner: owner.into() });
        }
        Some(held)
    }

    /// Removes and returns what a connection that closes leaves: its bound holds, and a grant whose reply was made and not read. A grant
    /// without a reply is taken back when the server drops it.
    pub fn close(&mut self, client: ClientId) -> (Vec<Held>, Option<Held>) {
        self.closing = Some(client);
        let bound = self.bindings.end(client);
        // A bound hold is released as a whole.
        let is_bound =
            |held: &Held| bound.iter().any(|it| it.resource == held.resource && it.share.owner() == held.share.owner());
        let unread = self.unread.remove_delivered(client).filter(|held| !is_bound(held));
        (bound, unread)
    }
}

/// Reads or changes the state. `act` must not call the server, which may call back.
pub fn with<R>(act: impl FnOnce(&mut State) -> R) -> Result<R> {
    let mut state = STATE.try_borrow_mut().ok_or_else(|| Error::Internal("the queues of waiters are in use".to_owned()))?;
    let result = act(&mut state);
    IDLE.store(state.queues.is_empty(), Ordering::Relaxed);
    BINDINGS.store(state.bindings.count(), Ordering::Relaxed);
    TIMED.store(state.alarm.is_some() || !state.queues.is_empty() || state.bindings.count() > 0, Ordering::Relaxed);
    UNSETTLED.store(!state.unread.is_empty() || !state.tasks.is_empty(), Ordering::Relaxed);
    Ok(result)
}

/// Whether no queue has a place.
#[must_use]
pub fn is_idle() -> bool {
    IDLE.load(Ordering::Relaxed)
}

/// Whether an alarm is set or may be needed.
#[must_use]
pub fn is_timed() -> bool {
    TIMED.load(Ordering::Relaxed)
}

/// Whether no request may wait or bind.
#[must_use]
pub fn is_draining() -> bool {
    DRAINING.load(Ordering::Relaxed)
}

pub fn set_draining(draining: bool) {
    DRAINING.store(draining, Ordering::Relaxed);
}

/// Unbinds the hold of an owner that released everything.
pub fn forget(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let holder = holder(keyspace, kind, key, owner);
    if deferred::is_on() {
        deferred::note(Change::Forgotten(holder));
        return Ok(());
    }
    with(|state| state.bindings.forget(&holder))
}

/// Records the new end of an owner's lease.
pub fn renewed(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8], until: UnixMs) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let (holder, now) = (holder(keyspace, kind, key, owner), keyspace.now().floor_ms());
    if deferred::is_on() {
        deferred::note(Change::Renewed(holder, until, now));
        return Ok(());
    }
    with(|state| state.bindings.renewed(&holder, None, until, now))
}

/// Records a grant to the owner of a request that did not wait; `hold` is `None` if the request has no owner.
pub fn acquired<'c>(
    keyspace: &Keyspace,
    kind: Kind,
    key: Str<'_>,
    hold: impl FnOnce() -> Option<Hold<'c>>,
    bind: Option<ClientId>,
) -> Result<()> {
    if bind.is_none() && BINDINGS.load(Ordering::Relaxed) == 0 && !UNSETTLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let Some(hold) = hold() else { return Ok(()) };
    let (resource, now) = (resource(keyspace, kind, key), keyspace.now().floor_ms());
    if deferred::is_on() {
        // A script cannot bind.
        deferred::note(Change::Acquired(resource, hold.into_owned(), now));
        return Ok(());
    }
    with(|state| state.acquired(&resource, &hold, bind, now))
}

pub fn resource(keyspace: &Keyspace, kind: Kind, key: Str<'_>) -> Resource {
    Resource { key: Rc::from(key.bytes()), db: keyspace.ctx().db(), kind }
}

fn holder(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Holder {
    Holder { resource: resource(keyspace, kind, key), owner: owner.into() }
}

/// The figures for INFO.
pub fn figures() -> Result<[(&'static str, u64); 7]> {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    with(|state| {
        [
            ("waiting_clients", count(state.queues.clients())),
            ("bound_to_connections", count(state.bindings.count())),
            ("bound_lost", state.bound_lost),
            ("handed_over", state.handed_over),
            ("vacant_places", count(state.queues.vacant_places())),
            ("places_taken_over", state.taken_over),
            ("draining", is_draining().into()),
        ]
    })
}

/// Clears the state when the module ends. The server does not unload the module while a client waits or a timer runs.
pub fn stop() -> Result<()> {
    super::warnings::stop();
    set_draining(false);
    with(|state| {
        state.bindings = Bindings::new();
        state.listens = false;
        state.unread = Unread::new();
    })
}
