//! Events of the server. It keeps one callback per module and event, so that whoever wants one asks here.

use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::module_api::{Ctx, api};
use super::thread::ServerThread;
use crate::error::{Error, Result, guarded};

/// What is called: the context, the number of what happened, and its data, whose type depends on the event.
pub type Callback = fn(Ctx, u64, *mut c_void) -> Result<()>;

static SUBSCRIBERS: ServerThread<Vec<(u64, Callback)>> = ServerThread::new(Vec::new());

/// Calls back at every event of this kind, from now on. Some kinds are unknown to older servers.
pub fn subscribe(ctx: Ctx, id: u64, callback: Callback) -> Result<()> {
    let refused = || Error::Internal("an event was refused".to_owned());
    let mut subscribers = SUBSCRIBERS.try_borrow_mut().ok_or_else(refused)?;
    let event = raw::RedisModuleEvent { id, dataver: 1 };
    // SAFETY: the context belongs to the running callback; the callback's code stays loaded as long as the subscription lives.
    let status = unsafe { api!(RedisModule_SubscribeToServerEvent)(ctx.raw(), event, Some(dispatch)) };
    if status != raw::REDISMODULE_OK as c_int {
        return Err(refused());
    }
    subscribers.push((id, callback));
    Ok(())
}

/// Forgets everybody, for the unload of the module.
pub fn stop() {
    if let Some(mut subscribers) = SUBSCRIBERS.try_borrow_mut() {
        subscribers.clear();
    }
}

unsafe extern "C" fn dispatch(ctx: *mut raw::RedisModuleCtx, event: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    // SAFETY: the context of this callback.
    let ctx = unsafe { Ctx::new(ctx) };
    // A callback may subscribe to more.
    let callbacks: Vec<Callback> = match SUBSCRIBERS.try_borrow_mut() {
        Some(subscribers) => subscribers.iter().filter(|(id, _)| *id == event.id).map(|(_, callback)| *callback).collect(),
        None => return,
    };
    for callback in callbacks {
        let _ = guarded(|| callback(ctx, sub, data));
    }
}
