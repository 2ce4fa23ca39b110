//! Warnings in the log about settings of the server that break locks. Each appears once.
//!
//! Lock keys have TTLs, so under memory pressure every policy except `noeviction` may evict one and so break mutual exclusion. The setting
//! `timeout` closes idle connections, and with them go the holds that are bound to them; no call of the module API prevents it. The
//! operator must know both.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::server::module_api::Ctx;

/// A warning that is given once.
struct Warning {
    /// Whether to read the settings: at the first request, and after each change.
    look: AtomicBool,
    given: AtomicBool,
    /// The text, if the settings call for the warning.
    text: fn(Ctx) -> Option<String>,
}

static EVICTION: Warning = Warning::new(|ctx| {
    let limited = ctx.info_field(c"memory", c"maxmemory").is_some_and(|limit| limit != "0");
    let policy = ctx.info_field(c"memory", c"maxmemory_policy").unwrap_or_default();
    let text = "can evict locks and semaphores: then two clients can hold the same one. Use noeviction, or fences.";
    (limited && policy != "noeviction").then(|| format!("maxmemory-policy {policy} {text}"))
});

static IDLE_TIMEOUT: Warning = Warning::new(|ctx| {
    let timeout = ctx.config("timeout").filter(|timeout| timeout != "0")?;
    Some(format!(
        "timeout {timeout} closes idle connections: their holds with BIND are released. Use timeout 0, or send commands."
    ))
});

impl Warning {
    const fn new(text: fn(Ctx) -> Option<String>) -> Self {
        Self { look: AtomicBool::new(true), given: AtomicBool::new(false), text }
    }

    /// Called for every request, so it reads the settings only after a change.
    fn give_once(&self, ctx: Ctx) {
        if !self.look.load(Ordering::Relaxed) || self.given.load(Ordering::Relaxed) {
            return;
        }
        self.look.store(false, Ordering::Relaxed);
        if let Some(text) = (self.text)(ctx) {
            self.given.store(true, Ordering::Relaxed);
            ctx.log(c"warning", &text);
        }
    }

    fn look_again(&self) {
        self.look.store(true, Ordering::Relaxed);
    }

    /// Resets the warning, for the next load.
    fn reset(&self) {
        self.look_again();
        self.given.store(false, Ordering::Relaxed);
    }
}

/// Called when the server's settings change.
pub fn settings_changed() {
    [&EVICTION, &IDLE_TIMEOUT].into_iter().for_each(Warning::look_again);
}

/// Warns once if the server can evict locks.
pub fn warn_once(ctx: Ctx) {
    EVICTION.give_once(ctx);
}

/// Warns once if the server closes idle connections.
pub fn warn_of_idle_timeout(ctx: Ctx) {
    IDLE_TIMEOUT.give_once(ctx);
}

pub fn stop() {
    [&EVICTION, &IDLE_TIMEOUT].into_iter().for_each(Warning::reset);
}
