//! Draining: nobody waits any more, and nobody begins to.
//!
//! The servers refuse to unload a module while a client is blocked in it or a timer of it runs. So everybody who waits is answered, no
//! request waits or binds from then on, and the timers are stopped. Bound holds become plain leases: their end would need a timer.
//! Known to this process only; a load starts without it.

use std::sync::atomic::{AtomicBool, Ordering};

use super::bindings::Bindings;
use super::events;
use super::state::with;
use super::visit::{self, Terms};
use crate::error::{Error, Result};
use crate::server::module_api::Ctx;
use crate::server::state::ContextFlags;

static DRAINING: AtomicBool = AtomicBool::new(false);

/// Whether nobody may wait.
#[must_use]
pub fn is_on() -> bool {
    DRAINING.load(Ordering::Relaxed)
}

/// Refuses a request that asks to wait or to bind. Where waiting is not possible anyway, in MULTI and in scripts, WAIT asks for nothing.
pub fn refuse(flags: ContextFlags, terms: Terms) -> Result<()> {
    let waits = terms.patience.is_some() && !flags.deny_blocking();
    if waits || terms.bind {
        return Err(Error::Text("TRYAGAIN draining: WAIT and BIND are refused on this server for now"));
    }
    Ok(())
}

/// From now on nobody waits. The outcome is how many clients were waiting.
pub fn start(ctx: Ctx) -> Result<usize> {
    DRAINING.store(true, Ordering::Relaxed);
    let (places, db) = (with(|state| state.queues.places())?, ctx.db());
    let answered = places.iter().map(|place| visit::turn_away(ctx, place)).sum::<Result<usize>>();
    ctx.select(db);
    with(|state| {
        state.bindings = Bindings::new();
        state.fresh.clear();
    })?;
    events::stop_timers(ctx)?;
    ctx.select(db);
    answered
}

/// From now on requests may wait again.
pub fn stop() {
    DRAINING.store(false, Ordering::Relaxed);
}
