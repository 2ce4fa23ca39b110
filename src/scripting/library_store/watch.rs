//! Whether somebody changed the server's function store: other clients with FUNCTION, or the master through its stream.
//!
//! Two follow the store: the libraries of scripts, and those of functions. Each asks for itself, when it needs to know.
//!
//! The filter sees such a command before it runs. It runs at once, or it is queued by MULTI, or held while clients are paused. So a client
//! whose command may run later is remembered, until it has left that state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::lua::library;
use crate::scripting;
use crate::server::acl::Caller;
use crate::server::command_filter::{self, Filtered, Look, Role};
use crate::server::module_api::{Ctx, Str};
use crate::server::thread::ServerThread;

/// So many clients are remembered. Beyond it every EXEC may change the store.
const MOST: usize = 1024;

/// Set when the store may have changed since its follower took note, in the order of [`Follower`].
static CHANGED: [AtomicBool; 2] = [AtomicBool::new(true), AtomicBool::new(true)];

/// Who follows the store.
#[derive(Clone, Copy)]
pub enum Follower {
    /// The scripts that are stored.
    Scripts,
    /// The libraries of functions.
    Functions,
}

impl Follower {
    fn changed(self) -> &'static AtomicBool {
        let [scripts, functions] = &CHANGED;
        match self {
            Self::Scripts => scripts,
            Self::Functions => functions,
        }
    }

    /// It no longer knows what the store holds.
    pub fn note_change(self) {
        self.changed().store(true, Ordering::Relaxed);
    }
}

/// The number of an EXEC that may change the store, until another command has come: the store may change all the while. 0 for none.
static EXEC: AtomicU64 = AtomicU64::new(0);

/// Set when nobody knows any more whose EXEC changes the store: without the ids of clients, or with too many of them.
static ANY_EXEC: AtomicBool = AtomicBool::new(false);

/// Whether somebody is in [`PENDING`].
static ANY_PENDING: AtomicBool = AtomicBool::new(false);

/// Whether somebody in [`PENDING`] is held.
static ANY_HELD: AtomicBool = AtomicBool::new(false);

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

/// Somebody may have changed the store.
pub fn note_change() {
    [Follower::Scripts, Follower::Functions].into_iter().for_each(Follower::note_change);
}

/// Whether the store may have changed since the follower took note. Costs next to nothing while nobody uses FUNCTION.
pub fn may_have_changed(ctx: Ctx, follower: Follower) -> bool {
    // While a transaction runs each of its commands may have changed the store.
    if exec_may_change(ctx) || (ANY_HELD.load(Ordering::Relaxed) && look_at_pending(ctx)) {
        note_change();
    }
    follower.changed().load(Ordering::Relaxed)
}

/// As [`may_have_changed`], and takes note.
pub fn take_changed(ctx: Ctx, follower: Follower) -> bool {
    if ANY_PENDING.load(Ordering::Relaxed) && look_at_pending(ctx) {
        note_change();
    }
    may_have_changed(ctx, follower) && follower.changed().swap(false, Ordering::Relaxed)
}

/// Forgets who does not wait any more. Whether a command that was held may have run since this was asked.
fn look_at_pending(ctx: Ctx) -> bool {
    let Some(mut pending) = PENDING.try_borrow_mut() else { return true };
    let held = pending.iter().any(|pending| pending.held);
    pending.retain_mut(|pending| pending.is_pending(ctx));
    note_pending(&pending);
    held
}

fn note_pending(pending: &[Pending]) {
    ANY_PENDING.store(!pending.is_empty(), Ordering::Relaxed);
    ANY_HELD.store(pending.iter().any(|pending| pending.held), Ordering::Relaxed);
}

/// Whether commands that change the store are seen.
static WATCHING: AtomicBool = AtomicBool::new(false);

/// What the filter shows us.
static LOOK: Look = Look { role: Role::Watches, names: &["FUNCTION", "EXEC"], at };

fn at(command: &mut Filtered) -> Result<()> {
    if command.is("FUNCTION") {
        function(command);
    } else {
        exec(command);
    }
    Ok(())
}

/// Whether commands that change the store are seen.
#[must_use]
pub fn is_watching() -> bool {
    WATCHING.load(Ordering::Relaxed)
}

/// Sees commands no more, at unload.
pub fn stop() {
    WATCHING.store(false, Ordering::Relaxed);
}

/// From now on commands are seen. What was queued before was not, and what ran before was not.
pub fn start(ctx: Ctx) {
    if WATCHING.swap(true, Ordering::Relaxed) {
        return;
    }
    // A filter that is refused leaves us with what the events tell.
    let _ = command_filter::join(ctx, &LOOK);
    note_change();
    if ctx.flags().is_in_exec() {
        EXEC.store(command_filter::seen().max(1), Ordering::Relaxed);
    }
    let clients = ctx.clients_in_transactions();
    if clients.is_empty() {
        return;
    }
    let Some(mut all) = PENDING.try_borrow_mut().filter(|_| command_filter::tells_clients() && clients.len() <= MOST) else {
        return ANY_EXEC.store(true, Ordering::Relaxed);
    };
    all.extend(clients.into_iter().map(|client| Pending { client, held: false, free: None }));
    note_pending(&all);
}

/// Whether an EXEC that may change the store runs, or has run since this was last asked. The commands that its scripts run do not end it.
fn exec_may_change(ctx: Ctx) -> bool {
    let exec = EXEC.load(Ordering::Relaxed);
    if exec != 0 && exec != command_filter::seen() && !ctx.flags().is_in_exec() {
        EXEC.store(0, Ordering::Relaxed);
    }
    exec != 0
}

/// FUNCTION is on its way.
fn function(command: &Filtered) {
    if !changes(command) || !is_allowed(command) || (is_of_master(command) && arrives(&words(command))) {
        return;
    }
    note_change();
    match command.client() {
        Some(client) => remember(command.ctx(), client),
        None => ANY_EXEC.store(true, Ordering::Relaxed),
    }
}

/// EXEC is on its way.
fn exec(command: &Filtered) {
    if EXEC.swap(0, Ordering::Relaxed) != 0 {
        note_change();
    }
    let queued = || {
        let (Some(client), Some(mut pending)) = (command.client(), PENDING.try_borrow_mut()) else { return true };
        let before = pending.len();
        pending.retain(|pending| pending.client != client || pending.held);
        note_pending(&pending);
        pending.len() < before
    };
    if ANY_EXEC.load(Ordering::Relaxed) || (ANY_PENDING.load(Ordering::Relaxed) && queued()) {
        note_change();
        EXEC.store(command_filter::seen().max(1), Ordering::Relaxed);
    }
}

/// Whether it is a command of the master that runs at once. It runs here as it ran there.
fn is_of_master(command: &Filtered) -> bool {
    let ctx = command.ctx();
    let from_nobody = |client| matches!(ctx.user_of(client), Caller::Nobody) && !ctx.waits_to_run(client);
    ctx.flags().is_replica() && !ctx.writes_are_paused() && command.client().is_some_and(from_nobody)
}

/// Applies a FUNCTION command of the primary that is about to run, if it changes only one of our libraries, and returns whether it does.
/// Thousands of scripts arrive this way; reading the store for each would be too slow.
fn arrives(words: &[&[u8]]) -> bool {
    let Ok(mut scripting) = scripting::engine() else { return false };
    match words {
        [_, verb, .., code] if verb.eq_ignore_ascii_case(b"LOAD") => {
            library::script(code).is_some_and(|(digest, source)| scripting.engine.adopt(digest, source))
        }
        [_, verb, name] if verb.eq_ignore_ascii_case(b"DELETE") => {
            library::digest(name).inspect(|digest| scripting.engine.set_evictable(*digest)).is_some()
        }
        _ => false,
    }
}

fn words(command: &Filtered) -> Vec<&[u8]> {
    (0..command.len()).map_while(|at| command.arg(at)).map(Str::bytes).collect()
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
    // Looking at each of them again for every one more would cost whoever sends the commands nothing, and the server much.
    if all.len() > MOST / 2 && !ANY_EXEC.load(Ordering::Relaxed) {
        all.retain_mut(|pending| pending.is_pending(ctx));
        ANY_EXEC.store(all.len() > MOST / 2, Ordering::Relaxed);
    }
    if all.len() < MOST {
        all.push(Pending { client, held, free: None });
    }
    note_pending(&all);
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
