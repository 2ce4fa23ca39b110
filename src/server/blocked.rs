//! Clients that this module blocks in their command and resumes soon, without data of their own.
//!
//! A resumed client gets its reply right after the timer that resumed it: the server makes the reply before it reads another command. So
//! resume clients in timers only. (`waiting` has clients of its own, which carry a grant.)

use std::ffi::c_int;
use std::marker::PhantomData;

use redis_module::raw;

use super::module_api::{Ctx, Str, api};
use super::reply::Reply;
use crate::error::{Result, guarded};

/// What happens to a blocked client.
pub trait Blocking {
    /// The client is resumed. Returns the reply to its request.
    fn resumed(ctx: Ctx, request: &[Str<'_>]) -> Result<Reply>;

    /// `CLIENT UNBLOCK` ends the wait. Returns the reply. Must drop the handle.
    fn timed_out(ctx: Ctx) -> Result<Reply>;

    /// The connection closed, or the server sent an error. Must drop the handle.
    fn gone(ctx: Ctx);
}

/// The server's handle of a blocked client. Dropping it resumes the client, or releases one that is gone.
pub struct Blocked<B>(*mut raw::RedisModuleBlockedClient, PhantomData<B>);

impl<B: Blocking> Blocked<B> {
    /// Blocks the client of the running command until the handle is dropped. The caller has checked that the command may block.
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        const INDEFINITELY: i64 = 0;
        // SAFETY: the context belongs to the running command. The callbacks have the signatures that the server expects, and their code
        // stays loaded, since the server does not unload a module with blocked clients.
        unsafe {
            let block = api!(RedisModule_BlockClient);
            let handle = block(ctx.raw(), Some(on_reply::<B>), Some(on_timeout::<B>), None, INDEFINITELY);
            api!(RedisModule_SetDisconnectCallback)(handle, Some(on_disconnect::<B>));
            Self(handle, PhantomData)
        }
    }
}

impl<B> Drop for Blocked<B> {
    fn drop(&mut self) {
        // SAFETY: the server made the handle, and it is released once. The server also frees that of a client that is gone this way.
        unsafe { api!(RedisModule_UnblockClient)(self.0, std::ptr::null_mut()) };
    }
}

fn send(ctx: Ctx, outcome: Result<Reply>) -> c_int {
    match outcome {
        Ok(reply) => reply.send(ctx),
        Err(error) => ctx.reply_error(&error),
    }
    raw::REDISMODULE_OK as c_int
}

unsafe extern "C" fn on_reply<B: Blocking>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    // SAFETY: the server passes the context and the words of the blocked request, valid until this callback returns.
    let (ctx, request) = unsafe { (Ctx::new(ctx), Str::slice(argv, argc)) };
    send(ctx, guarded(|| B::resumed(ctx, request)))
}

unsafe extern "C" fn on_timeout<B: Blocking>(
    ctx: *mut raw::RedisModuleCtx,
    _: *mut *mut raw::RedisModuleString,
    _: c_int,
) -> c_int {
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    send(ctx, guarded(|| B::timed_out(ctx)))
}

unsafe extern "C" fn on_disconnect<B: Blocking>(ctx: *mut raw::RedisModuleCtx, _: *mut raw::RedisModuleBlockedClient) {
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    let _ = guarded(|| {
        B::gone(ctx);
        Ok(())
    });
}
