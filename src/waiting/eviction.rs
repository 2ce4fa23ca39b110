//! The warning that a lock can be evicted.
//!
//! Lock keys have TTLs, so every policy but `noeviction` may take one away under memory pressure, and with it the exclusion. That is for
//! the operator to know, once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::module_api::Ctx;

/// Whether the settings are to be looked at: at the first grant, and after each change.
static LOOK: AtomicBool = AtomicBool::new(true);
static WARNED: AtomicBool = AtomicBool::new(false);

/// The server's settings changed.
pub fn settings_changed() {
    LOOK.store(true, Ordering::Relaxed);
}

/// Warns once when locks can be evicted. Called for every lock, so it looks only when there may be something new.
pub fn warn_once(ctx: Ctx) {
    if !LOOK.load(Ordering::Relaxed) || WARNED.load(Ordering::Relaxed) {
        return;
    }
    LOOK.store(false, Ordering::Relaxed);
    let limited = ctx.info_field(c"memory", c"maxmemory").is_some_and(|limit| limit != "0");
    let policy = ctx.info_field(c"memory", c"maxmemory_policy").unwrap_or_default();
    if limited && policy != "noeviction" {
        WARNED.store(true, Ordering::Relaxed);
        ctx.log(
            c"warning",
            &format!("maxmemory-policy {policy} can evict locks and semaphores: then two clients can hold the same one. Use noeviction, or fences."),
        );
    }
}

/// Forgets that it warned, for the next load.
pub fn stop() {
    LOOK.store(true, Ordering::Relaxed);
    WARNED.store(false, Ordering::Relaxed);
}
