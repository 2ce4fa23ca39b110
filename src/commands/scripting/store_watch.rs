//! Whether somebody changed the server's function store: other clients with FUNCTION, or the master through its stream.
//!
//! The filter sees such a command before it runs. It runs at once, or it is queued by MULTI, or held while clients are paused. So a client
//! whose command may run later is remembered, until it has left that state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::keyspace::command_filter::Filtered;
use crate::keyspace::module_api::Ctx;
use crate::keyspace::server_thread::ServerThread;

/// Beyond so many, those that are gone are forgotten before another is remembered.
const MOST: usize = 1024;

/// Set when the store may have changed since [`take_changed`] asked.
static CHANGED: AtomicBool = AtomicBool::new(false);

/// Set from an EXEC, of nobody knows whom, to the command that follows it: the store may change all the while.
static AGAIN: AtomicBool = AtomicBool::new(false);

/// Whether FUNCTION was ever seen. Without the ids of clients every EXEC may be its.
static SEEN: AtomicBool = AtomicBool::new(false);

/// Whether somebody is in [`PENDING`].
static ANY_PENDING: AtomicBool = AtomicBool::new(false);

static PENDING: ServerThread<Vec<Pending>> = ServerThread::new(Vec::new());

/// A client whose FUNCTION may run later.
struct Pending {
    client: u64,
    /// Whether it may run by now, and not only at an EXEC that is still to come.
    begun: bool,
    /// Whether it was held; what was held runs some time after the server let go of it.
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
    let begun = pending.iter().any(|pending| pending.begun);
    pending.retain_mut(|pending| pending.is_pending(ctx));
    ANY_PENDING.store(!pending.is_empty(), Ordering::Relaxed);
    changed || begun
}

/// Another command is on its way.
pub fn next_command() {
    if AGAIN.load(Ordering::Relaxed) {
        AGAIN.store(false, Ordering::Relaxed);
        CHANGED.store(true, Ordering::Relaxed);
    }
}

/// FUNCTION is on its way, with a subcommand that changes the store.
pub fn function(command: &Filtered) {
    if command.arg(1).is_some_and(|word| reads(word.bytes())) {
        return;
    }
    SEEN.store(true, Ordering::Relaxed);
    CHANGED.store(true, Ordering::Relaxed);
    remember(command);
}

/// EXEC is on its way.
pub fn exec(command: &Filtered) {
    if !SEEN.load(Ordering::Relaxed) {
        return;
    }
    match (command.client(), PENDING.try_borrow_mut()) {
        (Some(client), Some(mut pending)) => {
            for pending in pending.iter_mut().filter(|pending| pending.client == client) {
                pending.begun = true;
                CHANGED.store(true, Ordering::Relaxed);
            }
        }
        _ => {
            CHANGED.store(true, Ordering::Relaxed);
            AGAIN.store(true, Ordering::Relaxed);
        }
    }
}

fn remember(command: &Filtered) {
    let Some(client) = command.client() else { return };
    let ctx = command.ctx();
    let held = ctx.writes_are_paused();
    if !held && !ctx.waits_to_run(client) {
        return;
    }
    let Some(mut all) = PENDING.try_borrow_mut() else { return };
    if all.len() >= MOST {
        all.retain_mut(|pending| pending.is_pending(ctx));
    }
    all.push(Pending { client, begun: held, held, free: None });
    ANY_PENDING.store(true, Ordering::Relaxed);
}

fn reads(subcommand: &[u8]) -> bool {
    const READS: [&[u8]; 5] = [b"LIST", b"STATS", b"DUMP", b"KILL", b"HELP"];
    READS.iter().any(|name| subcommand.eq_ignore_ascii_case(name))
}
