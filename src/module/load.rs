//! Load and unload.
//!
//! The load starts with the steps that can fail (arguments, settings, commands, the engine) and ends with those that the server cannot
//! undo. It is never half done: on an error the server unloads the module and reports the failure.

use std::panic;

use redis_module::{Context, RedisString, Status, raw};

use super::{config, events, info, register, required, tested, unload};
use crate::commands;
use crate::dropin;
use crate::error::{Error, Result, guarded};
use crate::keyspace::growth;
use crate::scripting;
use crate::scripting::library_store::watch;
use crate::scripting::scripted;
use crate::server::command_filter;
use crate::server::events as server_events;
use crate::server::kept;
use crate::server::module_api::{Ctx, api};
use crate::waiting;

/// The version in the server's form: 1.2.3 is 10203.
pub const VERSION: i32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + number(env!("CARGO_PKG_VERSION_PATCH"));

/// The version as text.
pub const PACKAGE: &str = env!("CARGO_PKG_VERSION");

/// The build: the commit that `build.rs` found in the checkout, or else the version.
pub const BUILD: &str = match option_env!("ATOMIC_COMMIT") {
    Some(commit) => commit,
    None => PACKAGE,
};

#[allow(clippy::indexing_slicing, clippy::as_conversions)]
const fn number(text: &str) -> i32 {
    let bytes = text.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as i32;
        at += 1;
    }
    value
}

/// Called by the server when it loads the module, with the module's arguments.
pub fn on_load(ctx: &Context, args: &[RedisString]) -> Status {
    // SAFETY: the server's context, valid until we return.
    let module = unsafe { Ctx::new(ctx.ctx) };
    silence_panics();
    match guarded(|| load(module, args)) {
        Ok(()) => Status::Ok,
        Err(error) => {
            module.log(c"warning", &format!("not loaded: {error}"));
            let _ = guarded(|| {
                scripted::stop();
                scripting::stop();
                config::stop();
                Ok(())
            });
            Status::Err
        }
    }
}

/// Called by the server before it unloads the module.
pub fn on_unload(ctx: &Context) -> Status {
    // SAFETY: the server's context, valid until we return.
    let module = unsafe { Ctx::new(ctx.ctx) };
    let prepared = guarded(|| Ok(unload::prepare(module))).unwrap_or_else(|error| Err(error.to_string()));
    let connections = match prepared {
        Ok(connections) => connections,
        Err(why) => {
            module.log(c"warning", &format!("not unloaded: {why}"));
            return Status::Err;
        }
    };
    let _ = guarded(|| {
        command_filter::close(module);
        dropin::stop();
        watch::stop();
        scripted::stop();
        scripting::stop();
        config::stop();
        server_events::stop();
        kept::free_all();
        waiting::stop()
    });
    // After everything has stopped: the end of a connection must not start a timer of the module any more.
    let _ = guarded(|| {
        unload::finish(module, &connections);
        Ok(())
    });
    let _ = panic::take_hook();
    Status::Ok
}

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION`: only the queues of waiters depend on slots, and these ask the server where their
/// keys are.
const HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

fn load(ctx: Ctx, args: &[RedisString]) -> Result<()> {
    const OPTIONS: u32 = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    if let Some(name) = required::absent_functions().first() {
        return Err(Error::Internal(format!("the server does not export {name}; Redis 7.0, Valkey 8.0 and later versions do")));
    }
    let defaults = config::arguments(args)?;
    config::register(ctx, &defaults)?;
    scripting::start(ctx, commands::natives::all())?;
    // Before any command is registered: if the load fails later, the server must remove them, on which Valkey 8.1 can crash (see
    // `unload::crashes`).
    scripted::load(ctx, |name| commands::registered().any(|entry| entry.spec.name == name))?;
    register::commands(ctx)?;
    scripted::register(|spec| register::scripted(ctx, spec))?;
    // Valkey 9 refuses CLUSTER MIGRATESLOTS while any loaded module lacks this option. On other servers the bit may have another
    // meaning.
    let slots = if ctx.info_field(c"server", c"valkey_version").is_some() { HANDLE_ATOMIC_SLOT_MIGRATION } else { 0 };
    // SAFETY: the context belongs to the load that is running, here and below.
    unsafe { api!(RedisModule_SetModuleOptions)(ctx.raw(), (OPTIONS | slots) as i32) };
    info::register(ctx);
    growth::watch(ctx);
    waiting::start(ctx);
    scripting::follow(ctx);
    events::start(ctx);
    tested::check(ctx);
    // Last, because nothing may fail after it: the server does not remove a filter when a load fails.
    let _ = guarded(|| command_filter::open(ctx));
    let _ = guarded(|| dropin::start(ctx));
    unload::note_load(ctx);
    ctx.log(c"notice", &format!("loaded: version {PACKAGE}, build {BUILD}"));
    Ok(())
}

/// A panic becomes an error reply with its message. The default hook would also write it to standard error, among the server's own
/// output.
fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

/// The error for a load step that the server refused without a reason.
pub(super) fn refused(what: &str) -> Error {
    Error::Internal(format!("the server refused {what}"))
}
