//! Moments at which the server's function store may hold other scripts than the engine knows: data was loaded, or the role changed.

use std::ffi::c_void;

use redis_module::raw;

use crate::commands::script::store;
use crate::error::guarded;
use crate::keyspace::module_api::{Ctx, api};

/// Subscribes to them, and looks for the first time: the module may have been loaded into a server that runs.
pub fn start(ctx: Ctx) {
    subscribe(ctx, raw::REDISMODULE_EVENT_LOADING, on_loading);
    subscribe(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, on_role);
    refresh(ctx);
}

type Callback = unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void);

/// Every server since 6.0 has these events; without them the engine would only learn later what is stored.
fn subscribe(ctx: Ctx, id: u64, callback: Callback) {
    // SAFETY: the context belongs to the load that is running, which cannot fail any more; the server ends the subscription before it
    // unloads the module.
    unsafe { api!(RedisModule_SubscribeToServerEvent)(ctx.raw(), raw::RedisModuleEvent { id, dataver: 1 }, Some(callback)) };
}

/// The server loads an RDB file, an AOF or its master's data; with the latter, the master's scripts.
unsafe extern "C" fn on_loading(ctx: *mut raw::RedisModuleCtx, _: raw::RedisModuleEvent, sub: u64, _: *mut c_void) {
    if [raw::REDISMODULE_SUBEVENT_LOADING_ENDED, raw::REDISMODULE_SUBEVENT_LOADING_FAILED].contains(&sub) {
        // SAFETY: the context of this callback.
        refresh(unsafe { Ctx::new(ctx) });
    }
}

/// A master's scripts came one by one, unnoticed.
unsafe extern "C" fn on_role(ctx: *mut raw::RedisModuleCtx, _: raw::RedisModuleEvent, _: u64, _: *mut c_void) {
    // SAFETY: the context of this callback.
    refresh(unsafe { Ctx::new(ctx) });
}

fn refresh(ctx: Ctx) {
    let _ = guarded(|| {
        store::refresh(ctx);
        Ok(())
    });
}
