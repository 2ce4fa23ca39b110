//! Load and unload.
//!
//! Loading does first what can fail (arguments, settings, commands, the engine) and last what the server would not take back. It
//! fails loudly and never half: on an error the server unloads us and says so.

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

/// The version as the server wants it: 1.2.3 is 10203.
pub const VERSION: i32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + number(env!("CARGO_PKG_VERSION_PATCH"));

/// The version as people write it.
pub const PACKAGE: &str = env!("CARGO_PKG_VERSION");

/// Which build this is: the commit of the checkout that it was built from, else the version. `build.rs` finds it out.
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
    // Behind what stops: the end of a connection must not lead to a timer of ours any more.
    let _ = guarded(|| {
        unload::finish(module, &connections);
        Ok(())
    });
    let _ = panic::take_hook();
    Status::Ok
}

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION`: nothing of ours is tied to a slot but the lines, and those ask the server
/// where their keys are.
const HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

fn load(ctx: Ctx, args: &[RedisString]) -> Result<()> {
    const OPTIONS: u32 = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    if let Some(name) = required::absent_functions().first() {
        return Err(Error::Internal(format!("the server does not export {name}; Redis 7.0 and Valkey 8.0 do")));
    }
    let defaults = config::arguments(args)?;
    config::register(ctx, &defaults)?;
    scripting::start(ctx, commands::natives::all())?;
    // Before there are commands that a failed load has to take back: Valkey 8.1 can crash on that (see `unload::crashes`).
    scripted::load(ctx, |name| commands::registered().any(|entry| entry.spec.name == name))?;
    register::commands(ctx)?;
    scripted::register(|spec| register::scripted(ctx, spec))?;
    // Valkey 9 refuses CLUSTER MIGRATESLOTS while a module is loaded that does not say so. Other servers may give this bit another
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
    // Nothing may fail behind it: the server does not take a filter back.
    let _ = guarded(|| command_filter::open(ctx));
    let _ = guarded(|| dropin::start(ctx));
    unload::note_load(ctx);
    ctx.log(c"notice", &format!("loaded: version {PACKAGE}, build {BUILD}"));
    Ok(())
}

/// A panic becomes an error reply that carries its message; the default hook would also write it to standard error, where it cannot
/// be told from the server's own.
fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}

/// The refusal of a load step that the server gave no reason for.
pub(super) fn refused(what: &str) -> Error {
    Error::Internal(format!("the server refused {what}"))
}
