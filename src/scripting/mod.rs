//! The script engine on a real server: its port, its reply sink, and the one engine that all script commands share.
//!
//! The engine lives from load to unload. A command borrows it for one run, so a script that calls a script command is refused and
//! cannot recurse.

pub mod admission;
pub mod busy;
pub mod calls;
mod check;
mod client_reply;
pub mod cluster;
pub mod library_store;
mod limits;
mod port;
mod request;
mod run;
pub mod script_store;
pub mod scripted;
mod watched;
pub mod words;

use std::cell::RefMut;
use std::sync::atomic::{AtomicU64, Ordering};

use redis_module::raw;

pub use self::check::check;
pub use self::request::Request;
pub use self::run::{RunMode, ScriptArgument, ScriptedCall, command, function, script};
pub use self::watched::Inspection;

use self::calls::{KnownCommands, Native, Natives};
use self::library_store::{RefusedLibraries, watch};
use self::limits::{follow_server, limits};
use self::script_store::Store;
use self::words::Wording;
use crate::error::{Error, Result};
use crate::lua::port::NativeCommand;
use crate::lua::{Engine, ServerVersion, Version};
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;
use crate::server::{events, expirations, slots};
use crate::settings;

/// Counts the changes of commands and settings: a fact about the server that was cached before the last one may be stale.
static SERVER_CHANGES: AtomicU64 = AtomicU64::new(0);

static SCRIPTING: ServerThread<Option<Scripting>> = ServerThread::new(None);

/// The engine and its state on this server.
pub struct Scripting {
    pub engine: Engine,
    /// Scripts that are loaded but not stored.
    pub store: Store,
    /// Libraries that this engine cannot load.
    pub refused_libraries: RefusedLibraries,
    server_facts: ServerFacts,
    natives: Natives,
    runs: u64,
    failures: u64,
}

/// Cached facts about the server: its commands, and the wording of its errors.
#[derive(Default)]
struct ServerFacts {
    commands: KnownCommands,
    words: Wording,
    /// [`SERVER_CHANGES`] when the cache was empty.
    as_of: u64,
}

impl ServerFacts {
    /// Clears the cache if it may be stale.
    fn forget_if_stale(&mut self) {
        let as_of = SERVER_CHANGES.load(Ordering::Relaxed);
        if self.as_of != as_of {
            *self = Self { as_of, ..Self::default() };
        }
    }
}

/// Starts the engine, at load. Scripts can call `natives` as functions.
pub fn start(ctx: Ctx, natives: impl Iterator<Item = (NativeCommand, Native)>) -> Result<()> {
    slots::look(ctx);
    let (functions, natives) = natives.unzip();
    let natives = Natives::new(ctx, natives);
    follow_server(ctx);
    let field = |name| ctx.info_field(c"server", name);
    let redis = version(field(c"redis_version").unwrap_or_default());
    let version = ServerVersion { redis, valkey: field(c"valkey_version").map(version) };
    let engine = Engine::new(limits(), version, functions)?;
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        let (store, server_facts) = (Store::default(), ServerFacts::default());
        let refused_libraries = RefusedLibraries::default();
        *slot = Some(Scripting { engine, store, refused_libraries, server_facts, natives, runs: 0, failures: 0 });
    }
    Ok(())
}

/// Subscribes to the events that affect scripts, at the end of the load.
pub fn follow(ctx: Ctx) {
    // Every server since 6.0 has these events.
    let _ = admission::watch(ctx);
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_MODULE_CHANGE, |_, _, _| {
        SERVER_CHANGES.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    // Redis 7.0.0 has no such event.
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |ctx, _, _| {
        // The wording of the server's errors depends on its settings, too.
        SERVER_CHANGES.fetch_add(1, Ordering::Relaxed);
        follow_server(ctx);
        Ok(())
    });
}

/// Stops the engine and its thread, at unload.
pub fn stop() {
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        *slot = None;
    }
    calls::forget();
    watched::undeclared::forget();
    expirations::stop();
}

/// A version and its number argument, 0x00MMmmpp, as the server's own scripts see them.
fn version(text: String) -> Version {
    let part = |part: &str| part.parse::<u8>().unwrap_or(u8::MAX);
    let number = text.split('.').take(3).fold(0, |number, digits| (number << 8) | u32::from(part(digits)));
    Version { text, number }
}

/// Borrows the engine for one command.
pub fn engine() -> Result<RefMut<'static, Scripting>> {
    let slot = SCRIPTING.try_borrow_mut().ok_or(Error::Recursion)?;
    let mut scripting = RefMut::filter_map(slot, Option::as_mut).map_err(|_| Error::Text("ERR the module is being unloaded"))?;
    if settings::take_changed() {
        scripting.engine.set_limits(limits())?;
        // A library that exceeded a limit may load now.
        watch::note_change();
    }
    Ok(scripting)
}

/// Whether a script of this engine runs.
#[must_use]
pub fn is_running() -> bool {
    SCRIPTING.try_borrow_mut().is_none()
}

/// The fields of INFO; `None` while a script runs.
#[must_use]
pub fn figures() -> Option<[(&'static str, u64); 15]> {
    let scripting = engine().ok()?;
    let stats = scripting.engine.stats();
    let (libraries, functions) = scripting.engine.functions().count();
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    let [rollbacks, rollback_failures] = watched::rollback::figures();
    Some([
        ("cached", count(stats.cache.scripts)),
        ("cached_bytes", count(stats.cache.bytes)),
        ("stored", count(stats.cache.stored)),
        ("stored_bytes", count(stats.cache.stored_bytes)),
        ("stored_memory", count(stats.cache.stored_memory)),
        ("evicted", stats.cache.evicted),
        ("store_refused", scripting.store.refused()),
        ("libraries", count(libraries)),
        ("functions", count(functions)),
        ("vm_memory", count(stats.vm_bytes)),
        ("vm_memory_limit", count(limits().memory_bytes)),
        ("runs", scripting.runs),
        ("failures", scripting.failures),
        rollbacks,
        rollback_failures,
    ])
}

impl Scripting {
    /// The number of runs, and of failed runs.
    #[must_use]
    pub fn runs(&self) -> (u64, u64) {
        (self.runs, self.failures)
    }

    /// Resets the statistics.
    pub fn reset_stats(&mut self) {
        (self.runs, self.failures) = (0, 0);
        self.store.reset_stats();
        self.engine.reset_stats();
        cluster::reset_stats();
    }
}
