//! Load and unload.
//!
//! The load starts with the steps that can fail (arguments, settings, commands, the engine) and ends with those that the server cannot
//! undo. It is never half done: on an error the server unloads the module and reports the failure.

use std::panic;

use redis_module::{Context, RedisString, Status, raw};

use super::version::{BUILD, PACKAGE};
use super::{config, events, info, register, required, tested, unload};
use crate::commands;
use crate::dropin;
use crate::error::{Error, Result, guarded};
use crate::keyspace::growth;
use crate::scripting;
use crate::scripting::cluster;
use crate::scripting::library_store::watch;
use crate::scripting::scripted;
use crate::server::command_filter;
use crate::server::events as server_events;
use crate::server::module_api::{Ctx, api};
use crate::server::thread;
use crate::server::{in_place, kept, key, readers};
use crate::waiting;

/// A part of the module that starts with the load and stops at the unload, or when the load fails.
struct Stage {
    start: fn(Ctx, &[RedisString]) -> Result<()>,
    /// Also called if `start` has not run.
    stop: fn(Ctx),
}

/// The stages in the order of their start. They stop in the reverse order. The stages that can fail come first, and the command filter
/// comes last, because the server does not remove a filter when a load fails.
const STAGES: [Stage; 9] = [
    Stage { start: |_, _| check_server(), stop: |_| kept::free_all() },
    Stage { start: config::start, stop: |_| config::stop() },
    Stage { start: |ctx, _| scripting::start(ctx, commands::natives::all()), stop: |_| scripting::stop() },
    Stage { start: |ctx, _| register_commands(ctx), stop: |_| scripted::stop() },
    Stage { start: |ctx, _| subscribe(ctx), stop: |_| server_events::stop() },
    Stage { start: |ctx, _| start_waiting(ctx), stop: |_| drop(waiting::stop()) },
    Stage { start: |ctx, _| follow_scripts(ctx), stop: |_| watch::stop() },
    Stage { start: |ctx, _| follow_cluster(ctx), stop: cluster::stop },
    Stage { start: |ctx, _| start_filter(ctx), stop: stop_filter },
];

/// The server calls this when it loads the module, with the module's arguments.
pub fn on_load(ctx: &Context, args: &[RedisString]) -> Status {
    thread::note_main();
    // SAFETY: the server passes a context that is valid until this function returns.
    let module = unsafe { Ctx::new(ctx.ctx) };
    silence_panics();
    match STAGES.iter().try_for_each(|stage| guarded(|| (stage.start)(module, args))) {
        Ok(()) => {
            in_place::allow(tested::check(module));
            key::note_field_ttl(module);
            unload::note_load(module);
            module.log(c"notice", &format!("loaded: version {PACKAGE}, build {BUILD}"));
            Status::Ok
        }
        Err(error) => {
            module.log(c"warning", &format!("not loaded: {error}"));
            stop(module);
            Status::Err
        }
    }
}

/// The server calls this before it unloads the module.
pub fn on_unload(ctx: &Context) -> Status {
    // SAFETY: the server passes a context that is valid until this function returns.
    let module = unsafe { Ctx::new(ctx.ctx) };
    let prepared = guarded(|| Ok(unload::prepare(module))).unwrap_or_else(|error| Err(error.to_string()));
    let connections = match prepared {
        Ok(connections) => connections,
        Err(why) => {
            module.log(c"warning", &format!("not unloaded: {why}"));
            return Status::Err;
        }
    };
    stop(module);
    // After everything has stopped: the end of a connection must not start a timer of the module any more.
    let _ = guarded(|| {
        unload::finish(module, &connections);
        Ok(())
    });
    let _ = panic::take_hook();
    Status::Ok
}

/// Stops all stages. A panic in one does not keep the others from stopping.
fn stop(ctx: Ctx) {
    for stage in STAGES.iter().rev() {
        let _ = guarded(|| {
            (stage.stop)(ctx);
            Ok(())
        });
    }
}

fn check_server() -> Result<()> {
    match required::absent_functions().first() {
        Some(name) => {
            Err(Error::Internal(format!("the server does not export {name}; Redis 7.0, Valkey 8.0 and later versions do")))
        }
        None => Ok(()),
    }
}

fn register_commands(ctx: Ctx) -> Result<()> {
    // Before any command is registered: if the load fails later, the server must remove them, on which Valkey 8.1 can crash (see
    // `unload::crashes`).
    scripted::load(ctx, |name| commands::registered().any(|entry| entry.spec.name == name))?;
    register::commands(ctx)?;
    scripted::register(|spec| register::scripted(ctx, spec))?;
    set_options(ctx);
    info::register(ctx);
    Ok(())
}

/// `VALKEYMODULE_OPTIONS_HANDLE_ATOMIC_SLOT_MIGRATION`: only the queues of waiters depend on slots, and these ask the server where their
/// keys are.
const HANDLE_ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

fn set_options(ctx: Ctx) {
    const OPTIONS: u32 = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
        | raw::REDISMODULE_OPTIONS_HANDLE_REPL_ASYNC_LOAD
        | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
    // Valkey 9 refuses CLUSTER MIGRATESLOTS while any loaded module lacks this option. On other servers the bit may have another
    // meaning.
    let slots = if ctx.info_field(c"server", c"valkey_version").is_some() { HANDLE_ATOMIC_SLOT_MIGRATION } else { 0 };
    // SAFETY: the context belongs to the running load.
    unsafe { api!(RedisModule_SetModuleOptions)(ctx.raw(), (OPTIONS | slots) as i32) };
}

fn subscribe(ctx: Ctx) -> Result<()> {
    growth::watch(ctx);
    scripting::follow(ctx);
    Ok(())
}

fn start_waiting(ctx: Ctx) -> Result<()> {
    waiting::start(ctx);
    Ok(())
}

fn follow_scripts(ctx: Ctx) -> Result<()> {
    events::start(ctx);
    Ok(())
}

fn follow_cluster(ctx: Ctx) -> Result<()> {
    cluster::start(ctx);
    Ok(())
}

/// Starts the command filter. A failure only costs the features that use the filter.
fn start_filter(ctx: Ctx) -> Result<()> {
    let _ = guarded(|| command_filter::open(ctx));
    let _ = guarded(|| dropin::start(ctx));
    Ok(())
}

fn stop_filter(ctx: Ctx) {
    command_filter::close(ctx);
    readers::stop();
    dropin::stop();
}

/// A panic becomes an error reply with its message. The default hook would also write it to standard error, among the server's own
/// output.
fn silence_panics() {
    panic::set_hook(Box::new(|_| {}));
}
