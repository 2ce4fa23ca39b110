//! Detects changes to the server's function store by others: clients that use FUNCTION, or the primary through the replication
//! stream.
//!
//! Two followers need to know: the script store and the function libraries. Each asks for itself.
//!
//! The filter sees such a command before it runs. The command may run at once, be queued by MULTI, or be held while clients are
//! paused. So a client whose command may run later is remembered until it has left that state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::lua::library;
use crate::scripting;
use crate::server::acl::Caller;
use crate::server::command_filter::{self, Filtered, Look, Role};
use crate::server::module_api::{Ctx, Str};
use crate::server::thread::ServerThread;

/// The number of clients to remember. Beyond it, every EXEC may change the store.
const MAX_PENDING: usize = 1024;

/// Set when the store may have changed since its follower last read it, in the order of [`Follower`].
static CHANGED: [AtomicBool; 2] = [AtomicBool::new(true), AtomicBool::new(true)];

/// A reader of the store.
#[derive(Clone, Copy)]
pub enum Follower {
    /// The stored scripts.
    Scripts,
    /// The function libraries.
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

    /// Records that the store may have changed, for this follower.
    pub fn note_change(self) {
        self.changed().store(true, Ordering::Relaxed);
    }
}

/// The number of an EXEC that may change the store, until the next command: the store may change throughout. 0 for none.
static CHANGING_EXEC: AtomicU64 = AtomicU64::new(0);

/// Set when it is unknown whose EXEC changes the store: the server reports no client ids, or there are too many clients.
static SUSPECT_EVERY_EXEC: AtomicBool = AtomicBool::new(false);

/// Whether [`PENDING`] has clients.
static ANY_PENDING: AtomicBool = AtomicBool::new(false);

/// Whether [`PENDING`] has clients whose command is held.
static ANY_HELD: AtomicBool = AtomicBool::new(false);

static PENDING: ServerThread<Vec<Pending>> = ServerThread::new(Vec::new());

/// A client whose FUNCTION command may run later.
struct Pending {
    client: u64,
    /// Whether the command was held, not queued. A held command runs some time after the server releases it.
    held: bool,
    /// When the client was first seen to wait no longer.
    released: Option<Instant>,
}

impl Pending {
    /// Whether the command may still run.
    fn is_pending(&mut self, ctx: Ctx) -> bool {
        const RELEASE_DELAY: Duration = Duration::from_secs(1);
        if ctx.waits_to_run(self.client) {
            self.released = None;
            return true;
        }
        self.held && self.released.get_or_insert_with(Instant::now).elapsed() < RELEASE_DELAY
    }
}

/// Records that the store may have changed.
pub fn note_change() {
    [Follower::Scripts, Follower::Functions].into_iter().for_each(Follower::note_change);
}

/// Whether the store may have changed since the follower last read it. Nearly free while no client uses FUNCTION.
pub fn may_have_changed(ctx: Ctx, follower: Follower) -> bool {
    // While a transaction runs, each of its commands may have changed the store.
    if exec_may_change(ctx) || (ANY_HELD.load(Ordering::Relaxed) && check_pending(ctx)) {
        note_change();
    }
    follower.changed().load(Ordering::Relaxed)
}

/// Like [`may_have_changed`], but also clears the mark.
pub fn take_changed(ctx: Ctx, follower: Follower) -> bool {
    if ANY_PENDING.load(Ordering::Relaxed) && check_pending(ctx) {
        note_change();
    }
    may_have_changed(ctx, follower) && follower.changed().swap(false, Ordering::Relaxed)
}

/// Forgets clients that no longer wait. Returns whether a held command may have run since the last call.
fn check_pending(ctx: Ctx) -> bool {
    let Some(mut pending) = PENDING.try_borrow_mut() else { return true };
    let held = pending.iter().any(|pending| pending.held);
    pending.retain_mut(|pending| pending.is_pending(ctx));
    update_pending_flags(&pending);
    held
}

fn update_pending_flags(pending: &[Pending]) {
    ANY_PENDING.store(!pending.is_empty(), Ordering::Relaxed);
    ANY_HELD.store(pending.iter().any(|pending| pending.held), Ordering::Relaxed);
}

/// Whether the filter shows commands that change the store.
static WATCHING: AtomicBool = AtomicBool::new(false);

/// The commands that the filter shows.
static LOOK: Look = Look { role: Role::Watches, names: &["FUNCTION", "EXEC"], at };

fn at(command: &mut Filtered) -> Result<()> {
    if command.is("FUNCTION") {
        function(command);
    } else {
        exec(command);
    }
    Ok(())
}

/// Whether the filter shows commands that change the store.
#[must_use]
pub fn is_watching() -> bool {
    WATCHING.load(Ordering::Relaxed)
}

/// Stops watching, at unload.
pub fn stop() {
    WATCHING.store(false, Ordering::Relaxed);
}

/// Starts watching. Commands that ran or were queued before were not seen.
pub fn start(ctx: Ctx) {
    if WATCHING.swap(true, Ordering::Relaxed) {
        return;
    }
    // Without the filter, only the server's events report changes.
    let _ = command_filter::join(ctx, &LOOK);
    note_change();
    if ctx.flags().is_in_exec() {
        CHANGING_EXEC.store(command_filter::seen().max(1), Ordering::Relaxed);
    }
    let clients = ctx.clients_in_transactions();
    if clients.is_empty() {
        return;
    }
    let Some(mut all) = PENDING.try_borrow_mut().filter(|_| command_filter::tells_clients() && clients.len() <= MAX_PENDING)
    else {
        return SUSPECT_EVERY_EXEC.store(true, Ordering::Relaxed);
    };
    all.extend(clients.into_iter().map(|client| Pending { client, held: false, released: None }));
    update_pending_flags(&all);
}

/// Whether an EXEC that may change the store is running, or has run since the last call. Commands that its scripts run do not end it.
fn exec_may_change(ctx: Ctx) -> bool {
    let exec = CHANGING_EXEC.load(Ordering::Relaxed);
    if exec != 0 && exec != command_filter::seen() && !ctx.flags().is_in_exec() {
        CHANGING_EXEC.store(0, Ordering::Relaxed);
    }
    exec != 0
}

/// Called before a FUNCTION command.
fn function(command: &Filtered) {
    if !is_change(command) || !is_allowed(command) || (is_from_primary(command) && apply_from_primary(&words(command))) {
        return;
    }
    note_change();
    match command.client() {
        Some(client) => remember(command.ctx(), client),
        None => SUSPECT_EVERY_EXEC.store(true, Ordering::Relaxed),
    }
}

/// Called before an EXEC command.
fn exec(command: &Filtered) {
    if CHANGING_EXEC.swap(0, Ordering::Relaxed) != 0 {
        note_change();
    }
    let queued = || {
        let (Some(client), Some(mut pending)) = (command.client(), PENDING.try_borrow_mut()) else { return true };
        let before = pending.len();
        pending.retain(|pending| pending.client != client || pending.held);
        update_pending_flags(&pending);
        pending.len() < before
    };
    if SUSPECT_EVERY_EXEC.load(Ordering::Relaxed) || (ANY_PENDING.load(Ordering::Relaxed) && queued()) {
        note_change();
        CHANGING_EXEC.store(command_filter::seen().max(1), Ordering::Relaxed);
    }
}

/// Whether the command comes from the primary and runs at once. It succeeds here if it did there.
fn is_from_primary(command: &Filtered) -> bool {
    let ctx = command.ctx();
    let has_no_user = |client| matches!(ctx.user_of(client), Caller::Nobody) && !ctx.waits_to_run(client);
    ctx.flags().is_replica() && !ctx.writes_are_paused() && command.client().is_some_and(has_no_user)
}

/// Applies the primary's FUNCTION command to the engine before it runs, if it only changes a library that stores a script. Returns
/// whether it did. Thousands of scripts arrive this way; reading the store for each would be too slow.
fn apply_from_primary(words: &[&[u8]]) -> bool {
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
    // Checking all clients again for each new one would cost the sender nothing and the server a lot.
    if all.len() > MAX_PENDING / 2 && !SUSPECT_EVERY_EXEC.load(Ordering::Relaxed) {
        all.retain_mut(|pending| pending.is_pending(ctx));
        SUSPECT_EVERY_EXEC.store(all.len() > MAX_PENDING / 2, Ordering::Relaxed);
    }
    if all.len() < MAX_PENDING {
        all.push(Pending { client, held, released: None });
    }
    update_pending_flags(&all);
}

/// Whether the command changes the store.
fn is_change(command: &Filtered) -> bool {
    const CHANGES: [(&[u8], usize, usize); 4] = [(b"LOAD", 3, 4), (b"DELETE", 3, 3), (b"FLUSH", 2, 3), (b"RESTORE", 3, 4)];
    let Some(word) = command.arg(1) else { return false };
    let row = CHANGES.iter().find(|(name, ..)| word.bytes().eq_ignore_ascii_case(name));
    row.is_some_and(|(_, least, most)| (*least..=*most).contains(&command.len()))
}

/// Whether the client has permission for the command. The server may still refuse it for other reasons.
fn is_allowed(command: &Filtered) -> bool {
    let (Some(client), Some(name)) = (command.client(), command.arg(0)) else { return true };
    match command.ctx().user_of(client) {
        Caller::User(user) => command.with_name(name, |words| user.may(words)),
        Caller::Nobody | Caller::Stranger => true,
    }
}
