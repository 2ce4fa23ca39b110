//! Draining: no client waits, and no request may wait.
//!
//! The server refuses to unload a module while the module has a blocked client or a running timer. So a drain answers every waiter,
//! refuses requests that wait or bind from then on, and stops the timers. Bound holds become plain leases, because their end needs a
//! timer. Only this process knows of the drain; a new load starts without it.

use super::bindings::Bindings;
use super::claim::Terms;
pub use super::state::is_draining as is_on;
use super::state::{set_draining, with};
use super::{events, visit};
use crate::error::{Error, Result};
use crate::server::module_api::Ctx;
use crate::server::state::ContextFlags;

/// Refuses a request that asks to wait or to bind. In a transaction and in a script WAIT never waits, so it is allowed there.
pub fn refuse(flags: ContextFlags, terms: Terms) -> Result<()> {
    let waits = terms.wait.is_some() && !flags.deny_blocking();
    if waits || terms.bind {
        return Err(Error::Text("TRYAGAIN draining: WAIT and BIND are refused on this server for now"));
    }
    Ok(())
}

/// Starts the drain and returns the number of clients that were waiting.
pub fn start(ctx: Ctx) -> Result<usize> {
    set_draining(true);
    let (resources, db) = (with(|state| state.queues.resources())?, ctx.db());
    let answered = resources.iter().map(|resource| visit::deny_waiters(ctx, resource)).sum::<Result<usize>>();
    ctx.select(db);
    with(|state| {
        state.bindings = Bindings::new();
        state.unread.forget_delivered();
    })?;
    events::stop_timers(ctx)?;
    ctx.select(db);
    answered
}

/// Ends the drain.
pub fn stop() {
    set_draining(false);
}
