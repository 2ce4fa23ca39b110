//! Whether somebody changed the server's function store: other clients with FUNCTION, or the master through its stream.
//!
//! The filter sees such a command before it runs. It runs at once, or it is queued by MULTI, or held while clients are paused. So a client
//! whose command may run later is remembered, until it has left that state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::keyspace::acl::Caller;
use crate::keyspace::command_filter::{self, Filtered};
use crate::keyspace::module_api::Ctx;
use crate::keyspace::server_thread::ServerThread;

/// So many clients are remembered. Beyond it every EXEC may change the store.
const MOST: usize = 1024;

/// Set when the store may have changed since [`take_changed`] asked.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Set from an EXEC that may change the store to the command that follows it: the store may change all the while.
static AGAIN: AtomicBool = AtomicBool::new(false);

/// Set when nobody knows any more whose EXEC changes the store: without the ids of clients, or with too many of them.
static ANY_EXEC: AtomicBool = AtomicBool::new(false);

/// Whether somebody is in [`PENDING`].
static ANY_PENDING: AtomicBool = AtomicBool::new(false);

static PENDING: ServerThread<Vec<Pending>> = ServerThread::new(Vec::new());

/// A client whose FUNCTION may run later.
struct Pending {
    client: u64,
    /// Whether it was held, and not queued; what was held runs some time after the server let go of it.
    held: bool,
    /// Since when it is known not to wait any more.
    free: Option<Instant>,
}

impl Pending {
    /// Whether it may still run.
    fn is_pending(&mut self, ctx: Ctx) -> bool {
        const SOON: Duration = Duration::from_secs(1);
        if ctx.waits_to_run(self.client) {
            self.free = None;
            return true;
        }
        self.held && self.free.get_or_insert_with(Instant::now).elapsed() < SOON
    }
}

/// Whether the store may have changed since the last time this was asked. Costs nothing while nobody uses FUNCTION.
pub fn take_changed(ctx: Ctx) -> bool {
    let changed = CHANGED.load(Ordering::Relaxed) && CHANGED.swap(false, Ordering::Relaxed);
    // While AGAIN is set a transaction runs, and each of its commands may have changed the store.
    let changed = changed || AGAIN.load(Ordering::Relaxed);
    if !ANY_PENDING.load(Ordering::Relaxed) {
        return changed;
    }
    let Some(mut pending) = PENDING.try_borrow_mut() else { return true };
    let held = pending.iter().any(|pending| pending.held);
    pending.retain_mut(|pending| pending.is_pending(ctx));
    ANY_PENDING.store(!pending.is_empty(), Ordering::Relaxed);
    changed || held
}

/// From now on commands are seen. What was queued before was not.
pub fn begin(ctx: Ctx) {
    if ctx.flags().is_in_exec() {
        AGAIN.store(true, Ordering::Relaxed);
    }
    let clients = ctx.clients_in_transactions();
    if clients.is_empty() {
        return;
    }
    let Some(mut all) = PENDING.try_borrow_mut().filter(|_| command_filter::tells_clients() && clients.len() <= MOST) else {
        return ANY_EXEC.store(true, Ordering::Relaxed);
    };
    all.extend(clients.into_iter().map(|client| Pending { client, held: false, free: None }));
    ANY_PENDING.store(true, Ordering::Relaxed);
}

/// Another command is on its way. Those that a transaction's own scripts run end nothing.
pub fn next_command() {
    if AGAIN.load(Ordering::Relaxed) && !command_filter::context().is_some_and(|ctx| ctx.flags().is_in_exec()) {
        AGAIN.store(false, Ordering::Relaxed);
        CHANGED.store(true, Ordering::Relaxed);
    }
}

/// FUNCTION is on its way.
pub fn function(command: &Filtered) {
    if !changes(command) || !is_allowed(command) {
        return;
    }
    CHANGED.store(true, Ordering::Relaxed);
    match command.client() {
        Some(client) => remember(command.ctx(), client),
        None => ANY_EXEC.store(true, Ordering::Relaxed),
    }
}

/// EXEC is on its way.
pub fn exec(command: &Filtered) {
    let queued = || {
        let (Some(client), Some(mut pending)) = (command.client(), PENDING.try_borrow_mut()) else { return true };
        let before = pending.len();
        pending.retain(|pending| pending.client != client || pending.held);
        pending.len() < before
    };
    if ANY_EXEC.load(Ordering::Relaxed) || (ANY_PENDING.load(Ordering::Relaxed) && queued()) {
        CHANGED.store(true, Ordering::Relaxed);
        AGAIN.store(true, Ordering::Relaxed);
    }
}

/// Remembers a client whose command does not run at once.
fn remember(ctx: Ctx, client: u64) {
    let held = ctx.writes_are_paused();
    if !held && !ctx.waits_to_run(client) {
        return;
    }
    let Some(mut all) = PENDING.try_borrow_mut() else { return };
    if all.iter().any(|pending| pending.client == client && pending.held == held) {
        return;
    }
    if all.len() >= MOST {
        all.retain_mut(|pending| pending.is_pending(ctx));
    }
    // Looking at each of them again for every one more would cost whoever sends the commands nothing, and the server much.
    if all.len() > MOST / 2 {
        ANY_EXEC.store(true, Ordering::Relaxed);
    }
    if all.len() < MOST {
        all.push(Pending { client, held, free: None });
    }
    ANY_PENDING.store(true, Ordering::Relaxed);
}

/// Whether the words are those of a command that changes the store.
fn changes(command: &Filtered) -> bool {
    const CHANGES: [(&[u8], usize, usize); 4] = [(b"LOAD", 3, 4), (b"DELETE", 3, 3), (b"FLUSH", 2, 3), (b"RESTORE", 3, 4)];
    let Some(word) = command.arg(1) else { return false };
    let row = CHANGES.iter().find(|(name, ..)| word.bytes().eq_ignore_ascii_case(name));
    row.is_some_and(|(_, least, most)| (*least..=*most).contains(&command.len()))
}

/// Whether the server will not refuse it for lack of rights. It may for other reasons.
fn is_allowed(command: &Filtered) -> bool {
    let (Some(client), Some(name)) = (command.client(), command.arg(0)) else { return true };
    match command.ctx().user_of(client) {
        Caller::User(user) => command.with_name(name, |words| user.may(words)),
        Caller::Nobody | Caller::Stranger => true,
    }
}
