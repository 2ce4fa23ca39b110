//! The one command filter, for two purposes: drop-in mode, and word of changes to the server's function store.
//!
//! It is registered while at least one of them wants it, so that it costs nothing otherwise.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{intercept, stand_in, store_watch};
use crate::error::Result;
use crate::keyspace::command_filter::{self, Filtered, Look};
use crate::keyspace::module_api::Ctx;
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
    settle(ctx)
}

/// Looks at no command any more, at unload.
pub fn stop(ctx: Ctx) {
    for state in [&LOADED, &INTERCEPTING, &WATCHING] {
        state.store(false, Ordering::Relaxed);
    }
    command_filter::stop(ctx);
}

/// From now on [`store_watch::take_changed`] is asked.
pub fn watch_functions(ctx: Ctx) {
    if !WATCHING.load(Ordering::Relaxed) {
        WATCHING.store(true, Ordering::Relaxed);
        // A filter that is refused leaves us with what the events tell.
        let _ = settle(ctx);
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
        intercept::warn(ctx);
    }
    Ok(())
}

/// What the filter looks for.
struct Commands;

impl Look for Commands {
    fn concerns(name: &[u8]) -> bool {
        stand_in::forget_permit();
        store_watch::next_command();
        let Some(first) = name.first() else { return false };
        // EVAL and EXEC, FCALL, SCRIPT, EVALSHA and EVAL_RO, FUNCTION and FCALL_RO, EVALSHA_RO.
        matches!((name.len(), first | 0x20), (4 | 7 | 10, b'e') | (5 | 8, b'f') | (6, b's'))
    }

    fn at(command: &mut Filtered) -> Result<()> {
        if INTERCEPTING.load(Ordering::Relaxed) && intercept::rename(command) {
            return Ok(());
        }
        if WATCHING.load(Ordering::Relaxed) {
            let is = |name: &[u8]| command.arg(0).is_some_and(|word| word.bytes().eq_ignore_ascii_case(name));
            if is(b"FUNCTION") {
                store_watch::function(command);
            } else if is(b"EXEC") {
                store_watch::exec(command);
            }
        }
        Ok(())
    }
}
