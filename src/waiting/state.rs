//! State between commands: the queues, the bound shares, the grants in delivery, and the tasks for the next timer.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::bindings::{Bindings, Holder};
use super::blocked::Waiter;
use super::claim::{Held, Hold};
use super::queues::{ClientId, Kind, Queues, Resource};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::module_api::Str;
use crate::server::reply::number;
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
    /// Grants whose reply was made since the server last slept. A client that is closed before the next sleep has not read it.
    pub unread: BTreeMap<ClientId, Held>,
    pub tasks: Vec<Task>,
    /// The timer for [`State::tasks`].
    pub task_timer: Option<Timer>,
    /// The timer for the earliest moment at which a waiter may be served or a bound lease must be renewed.
    pub alarm: Option<Timer>,
    /// Whether the events that advance a queue are subscribed.
    pub listens: bool,
    /// The numbered swaps of databases since the server last slept. A delivery names the database as it was when the decision was made.
    pub swaps: Vec<(u64, i32, i32)>,
    /// The number of the next swap.
    pub next_swap: u64,
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
    unread: BTreeMap::new(),
    tasks: Vec::new(),
    task_timer: None,
    alarm: None,
    listens: false,
    swaps: Vec::new(),
    next_swap: 0,
    closing: None,
    handed_over: 0,
    taken_over: 0,
    bound_lost: 0,
    lost_logged: UnixMs(0),
});

/// [`is_idle`], readable without the state.
static IDLE: AtomicBool = AtomicBool::new(true);
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

    /// Updates a resource for the swaps of databases since swap number `since`.
    pub fn follow_swaps(&self, resource: &mut Resource, since: u64) {
        let later = self.swaps.iter().filter(|(number, ..)| *number >= since);
        later.for_each(|(_, one, other)| resource.swap_db(*one, *other));
    }
}

/// Reads or changes the state. `act` must not call the server, which may call back.
pub fn with<R>(act: impl FnOnce(&mut State) -> R) -> Result<R> {
    let mut state = STATE.try_borrow_mut().ok_or_else(|| Error::Internal("the queues of waiters are in use".to_owned()))?;
    let result = act(&mut state);
    IDLE.store(state.queues.is_empty(), Ordering::Relaxed);
    BINDINGS.store(state.bindings.count(), Ordering::Relaxed);
    Ok(result)
}

/// Whether no queue has a place.
#[must_use]
pub fn is_idle() -> bool {
    IDLE.load(Ordering::Relaxed)
}

/// Whether no request may wait or bind.
#[must_use]
pub fn is_draining() -> bool {
    DRAINING.load(Ordering::Relaxed)
}

pub fn set_draining(draining: bool) {
    DRAINING.store(draining, Ordering::Relaxed);
}

/// The number of clients that wait for a resource.
pub fn waiters(keyspace: &Keyspace, kind: Kind, key: Str<'_>) -> Result<i64> {
    if is_idle() {
        return Ok(0);
    }
    let db = keyspace.ctx().db();
    with(|state| number(state.queues.waiters(db, kind, key.bytes())))
}

/// Unbinds the hold of an owner that released everything.
pub fn forget(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let holder = holder(keyspace, kind, key, owner);
    with(|state| state.bindings.forget(&holder))
}

/// Records the new end of an owner's lease.
pub fn renewed(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8], until: UnixMs) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let (holder, now) = (holder(keyspace, kind, key, owner), keyspace.now().floor_ms());
    with(|state| state.bindings.renewed(&holder, None, until, now))
}

/// Records a grant to an owner. `bind` is the connection that asked for BIND. Without one, a binding of an earlier ownership ends and that
/// of this ownership stays.
pub fn acquired(resource: &Resource, hold: &Hold, bind: Option<ClientId>, now: UnixMs) -> Result<()> {
    if bind.is_none() && BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    with(|state| match bind {
        Some(client) => state.bindings.bind(client, resource, hold, now),
        None => {
            let holder = Holder { resource: resource.clone(), owner: hold.owner.clone() };
            if hold.is_new {
                state.bindings.forget(&holder)
            } else {
                state.bindings.renewed(&holder, hold.fence, hold.until, now)
            }
        }
    })
}

pub fn resource(keyspace: &Keyspace, kind: Kind, key: Str<'_>) -> Resource {
    Resource { key: Rc::from(key.bytes()), db: keyspace.ctx().db(), kind }
}

fn holder(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Holder {
    Holder { resource: resource(keyspace, kind, key), owner: owner.into() }
}

/// The figures for INFO.
pub fn figures() -> Result<[(&'static str, u64); 6]> {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    with(|state| {
        [
            ("waiting_clients", count(state.queues.clients())),
            ("bound_to_connections", count(state.bindings.count())),
            ("bound_lost", state.bound_lost),
            ("handed_over", state.handed_over),
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
        drop(mem::take(&mut state.unread));
    })
}
