//! What is remembered between commands: the lines, the bound shares, the grants on their way, the work for the next timer.

use std::collections::BTreeMap;
use std::mem;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::bindings::{Bindings, Holder};
use super::blocked::Waiter;
use super::drain;
use super::holding::Held;
use super::queues::{ClientId, Kind, Place, Queues};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::time::UnixMs;
use crate::server::module_api::Str;
use crate::server::reply::number;
use crate::server::thread::ServerThread;

/// A timer of the server.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    /// Its id.
    pub id: u64,
    /// When it was meant to ring.
    pub at: UnixMs,
}

/// What a timer has to do.
#[derive(Debug)]
pub enum Work {
    /// Look at a key whose line may move on.
    Visit(Place),
    /// Give back what nobody holds any more.
    GiveBack(Held),
}

/// See the top of this file.
pub struct State {
    /// The lines.
    pub queues: Queues<Waiter>,
    /// What ends with a connection.
    pub bindings: Bindings,
    /// Grants whose reply was made since the server last slept: a client that is closed before it sleeps again has not read it.
    pub fresh: BTreeMap<ClientId, Held>,
    /// What the next timer does.
    pub work: Vec<Work>,
    /// The timer for [`State::work`].
    pub work_timer: Option<Timer>,
    /// The timer for the earliest end of a lease that somebody waits for.
    pub alarm: Option<Timer>,
    /// Whether the server tells us of events.
    pub listens: bool,
    /// The swaps of databases since the server last slept, numbered: a verdict on its way names the database as it was.
    pub swaps: Vec<(u64, i32, i32)>,
    /// How many swaps there were.
    pub swapped: u64,
    /// The connection that the server is closing.
    pub closing: Option<ClientId>,
    /// How many clients were granted something after waiting.
    pub handed_over: u64,
}

static STATE: ServerThread<State> = ServerThread::new(State {
    queues: Queues::new(),
    bindings: Bindings::new(),
    fresh: BTreeMap::new(),
    work: Vec::new(),
    work_timer: None,
    alarm: None,
    listens: false,
    swaps: Vec::new(),
    swapped: 0,
    closing: None,
    handed_over: 0,
});

/// How many lines and bindings there are: most commands find none, and look no further.
static CLIENTS: AtomicUsize = AtomicUsize::new(0);
static BINDINGS: AtomicUsize = AtomicUsize::new(0);

impl State {
    /// Follows a place through the swaps of databases since swap number `since`.
    pub fn follow(&self, place: &mut Place, since: u64) {
        let later = self.swaps.iter().filter(|(number, ..)| *number >= since);
        later.for_each(|(_, one, other)| place.swap_db(*one, *other));
    }
}

/// Looks at the state, or changes it. The server must not be called meanwhile: it may call back.
pub fn with<R>(act: impl FnOnce(&mut State) -> R) -> Result<R> {
    let mut state = STATE.try_borrow_mut().ok_or_else(|| Error::Internal("the waiting lines are in use".to_owned()))?;
    let result = act(&mut state);
    CLIENTS.store(state.queues.clients(), Ordering::Relaxed);
    BINDINGS.store(state.bindings.count(), Ordering::Relaxed);
    Ok(result)
}

/// Whether nobody waits for anything.
#[must_use]
pub fn lines_are_empty() -> bool {
    CLIENTS.load(Ordering::Relaxed) == 0
}

/// How many clients wait at a key.
pub fn waiters(keyspace: &Keyspace, kind: Kind, key: Str<'_>) -> Result<i64> {
    if lines_are_empty() {
        return Ok(0);
    }
    let db = keyspace.ctx().db();
    with(|state| number(state.queues.waiters(db, kind, key.bytes())))
}

/// An owner gave everything back: nothing of it ends with a connection any more.
pub fn forget(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let holder = holder(keyspace, kind, key, owner);
    with(|state| state.bindings.forget(&holder))
}

/// An owner gave back `count` holds or permits and has some left.
pub fn released(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8], count: u64) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let (holder, client) = (holder(keyspace, kind, key, owner), keyspace.ctx().client_id());
    with(|state| state.bindings.released(&holder, client, count))
}

fn holder(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8]) -> Holder {
    Holder { place: Place { key: Rc::from(key.bytes()), db: keyspace.ctx().db(), kind }, owner: owner.into() }
}

/// The lease of an owner has a new end.
pub fn prolong(keyspace: &Keyspace, kind: Kind, key: Str<'_>, owner: &[u8], until: UnixMs) -> Result<()> {
    if BINDINGS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    let holder = holder(keyspace, kind, key, owner);
    with(|state| state.bindings.prolong(&holder, until))
}

/// The figures for INFO: clients that wait, shares that end with a connection, grants after waiting, whether nobody may wait.
pub fn figures() -> Result<[(&'static str, u64); 4]> {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    with(|state| {
        [
            ("waiting_clients", count(state.queues.clients())),
            ("bound_to_connections", count(state.bindings.count())),
            ("handed_over", state.handed_over),
            ("draining", drain::is_on().into()),
        ]
    })
}

/// Forgets everything, for the unload of the module. The server does not unload it while clients wait or timers run.
pub fn stop() -> Result<()> {
    super::eviction::stop();
    drain::stop();
    with(|state| {
        state.bindings = Bindings::new();
        state.listens = false;
        drop(mem::take(&mut state.fresh));
    })
}
