//! The keys that the server deletes, because their TTL has passed, while one command runs.
//!
//! Nothing is subscribed before the first question: each subscription costs the server a look at every event.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, Str, api};
use super::thread::ServerThread;
use crate::error::{Error, Result, guarded};

static SUBSCRIBED: AtomicBool = AtomicBool::new(false);

/// The keys so far, each with its database; `None` while no command asks.
static NOTED: ServerThread<Option<Vec<Expired>>> = ServerThread::new(None);

/// A database and a key.
type Expired = (c_int, Vec<u8>);

/// Notes deletions until [`take`].
pub fn begin(ctx: Ctx) -> Result<()> {
    if !SUBSCRIBED.load(Ordering::Relaxed) {
        // SAFETY: the context belongs to the running command. The server ends the subscription before it unloads the code of `on_expired`.
        let status = unsafe {
            api!(RedisModule_SubscribeToKeyspaceEvents)(ctx.raw(), raw::REDISMODULE_NOTIFY_EXPIRED as c_int, Some(on_expired))
        };
        if status != raw::REDISMODULE_OK as c_int {
            return Err(Error::Internal("events of expired keys were refused".to_owned()));
        }
        SUBSCRIBED.store(true, Ordering::Relaxed);
    }
    if let Some(mut noted) = NOTED.try_borrow_mut() {
        *noted = Some(Vec::new());
    }
    Ok(())
}

/// The keys since [`begin`].
#[must_use]
pub fn take() -> Vec<Expired> {
    NOTED.try_borrow_mut().and_then(|mut noted| noted.take()).unwrap_or_default()
}

/// Forgets the subscription, which ends with the module.
pub fn stop() {
    SUBSCRIBED.store(false, Ordering::Relaxed);
    drop(take());
}

unsafe extern "C" fn on_expired(
    ctx: *mut raw::RedisModuleCtx,
    _kind: c_int,
    _event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    let mut key = key;
    // SAFETY: the server passes a context and one key, valid until this callback returns; `key` is an array of one.
    let (ctx, key) = unsafe { (Ctx::new(ctx), Str::slice(&raw mut key, 1)) };
    let _ = guarded(|| {
        if let (Some(mut noted), Some(key)) = (NOTED.try_borrow_mut(), key.first())
            && let Some(noted) = noted.as_mut()
        {
            noted.push((ctx.db(), key.bytes().to_vec()));
        }
        Ok(())
    });
    raw::REDISMODULE_OK as c_int
}
