//! Timers of the server.

use std::ffi::c_void;
use std::time::Duration;

use redis_module::raw;

use super::module_api::{Ctx, api};
use crate::error::guarded;

/// A timer that has not fired. The server does not unload the module while one exists.
#[derive(Debug, PartialEq, Eq)]
pub struct Timer(u64);

impl Timer {
    /// Calls `callback` once, after `delay`, between the commands of clients. The callback must forget this value.
    #[must_use]
    pub fn start(ctx: Ctx, delay: Duration, callback: fn(Ctx)) -> Self {
        let period = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2);
        // SAFETY: the context is one of this module. `fire` gets the function back as its data, and its code stays loaded, since the
        // server does not unload a module with a running timer.
        Self(unsafe { api!(RedisModule_CreateTimer)(ctx.raw(), period, Some(fire), callback as *mut c_void) })
    }

    /// Stops a timer that has not fired.
    pub fn stop(self, ctx: Ctx) {
        // SAFETY: the context is one of this module. The timer has not fired, since its callback forgets it.
        unsafe { api!(RedisModule_StopTimer)(ctx.raw(), self.0, std::ptr::null_mut()) };
    }
}

unsafe extern "C" fn fire(ctx: *mut raw::RedisModuleCtx, callback: *mut c_void) {
    // SAFETY: the server passes a context that is valid until this function returns, and the function that `start` passed.
    let (ctx, callback) = unsafe { (Ctx::new(ctx), std::mem::transmute::<*mut c_void, fn(Ctx)>(callback)) };
    let _ = guarded(|| {
        callback(ctx);
        Ok(())
    });
}
