//! A warning in the log that the server can evict locks.
//!
//! Lock keys have TTLs, so every policy except `noeviction` may evict one under memory pressure and so break mutual exclusion. The
//! operator must know that, once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::module_api::Ctx;

/// Whether to read the settings: at the first request, and after each change.
static LOOK: AtomicBool = AtomicBool::new(true);
static WARNED: AtomicBool = AtomicBool::new(false);

/// Called when the server's settings change.
pub fn settings_changed() {
    LOOK.store(true, Ordering::Relaxed);
}

/// Warns once if the server can evict locks. Called for every request, so it reads the settings only after a change.
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

/// Resets the warning, for the next load.
pub fn stop() {
    LOOK.store(true, Ordering::Relaxed);
    WARNED.store(false, Ordering::Relaxed);
}
