//! The one command filter, for two purposes: drop-in mode, and word of changes to the server's function store.
//!
//! It is registered while at least one of them wants it, so that it costs nothing otherwise.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{known_users, rename, serve, transactions};
use crate::error::Result;
use crate::scripting::library_store::watch;
use crate::server::command_filter::{self, Filtered, Look};
use crate::server::module_api::Ctx;
use crate::settings;

/// Set at the end of the load: the server does not take a filter back when a load fails.
static LOADED: AtomicBool = AtomicBool::new(false);

/// Whether drop-in mode is on.
static INTERCEPTING: AtomicBool = AtomicBool::new(false);

/// Whether somebody wants to know of changes to the function store.
static WATCHING: AtomicBool = AtomicBool::new(false);

/// Whether drop-in mode is on.
#[must_use]
pub fn is_intercepting() -> bool {
    INTERCEPTING.load(Ordering::Relaxed)
}

/// From the end of the load on, does as the settings say.
pub fn start(ctx: Ctx) -> Result<()> {
    LOADED.store(true, Ordering::Relaxed);
    rename::look(ctx);
    settle(ctx)
}

/// Looks at no command any more, at unload.
pub fn stop(ctx: Ctx) {
    for state in [&LOADED, &INTERCEPTING, &WATCHING] {
        state.store(false, Ordering::Relaxed);
    }
    command_filter::stop(ctx);
}

/// Whether changes to the function store are seen.
#[must_use]
pub fn is_watching() -> bool {
    WATCHING.load(Ordering::Relaxed)
}

/// From now on [`store_watch`] is asked.
pub fn watch_functions(ctx: Ctx) {
    if !WATCHING.load(Ordering::Relaxed) {
        WATCHING.store(true, Ordering::Relaxed);
        // A filter that is refused leaves us with what the events tell.
        let _ = settle(ctx);
        watch::begin(ctx);
    }
}

/// Does as the settings say, and as was asked for.
pub fn settle(ctx: Ctx) -> Result<()> {
    if !LOADED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let intercept = settings::INTERCEPT.get() == 1;
    if intercept || WATCHING.load(Ordering::Relaxed) {
        command_filter::start::<Commands>(ctx)?;
    } else {
        command_filter::stop(ctx);
    }
    let was = INTERCEPTING.swap(intercept, Ordering::Relaxed);
    // The context of a setting is none to run commands with.
    if let Some(ctx) = command_filter::context().filter(|_| intercept && !was) {
        transactions::begin(ctx);
        rename::warn(ctx);
    }
    Ok(())
}

/// What the filter looks for.
struct Commands;

impl Look for Commands {
    fn concerns(name: &[u8]) -> bool {
        serve::forget_permit();
        watch::next_command();
        known_users::next_command();
        let [first, second, ..] = name else { return false };
        // ACL and AUTH; EVAL, EVALSHA, EVAL_RO and EVALSHA_RO; EXEC; FCALL, FCALL_RO and FUNCTION; HELLO, RESET, MULTI, SCRIPT. Others
        // that begin so only take a little longer.
        matches!(
            (name.len(), first | 0x20, second | 0x20),
            (3, b'a', b'c')
                | (4, b'a', b'u')
                | (4 | 7 | 10, b'e', b'v')
                | (4, b'e', b'x')
                | (5 | 8, b'f', b'c' | b'u')
                | (5, b'h' | b'r', b'e')
                | (5, b'm', b'u')
                | (6, b's', b'c')
        )
    }

    fn at(command: &mut Filtered) -> Result<()> {
        if INTERCEPTING.load(Ordering::Relaxed) && rename::rename(command) {
            return Ok(());
        }
        let is = |name: &[u8]| command.arg(0).is_some_and(|word| word.bytes().eq_ignore_ascii_case(name));
        if is(b"ACL") {
            known_users::acl();
        } else if is(b"MULTI") {
            transactions::multi(command);
        } else if is(b"AUTH") || is(b"HELLO") || is(b"RESET") {
            known_users::user_changes(command, false);
        } else if is(b"EXEC") {
            transactions::end(command);
            known_users::user_changes(command, true);
            watch::exec(command);
        } else if is(b"FUNCTION") && WATCHING.load(Ordering::Relaxed) {
            watch::function(command);
        }
        Ok(())
    }
}
