//! Events of the server: the one registry of the module.
//!
//! The server keeps one callback per module and event, so a second subscription would silently replace the first. Every part of the
//! module therefore subscribes here, and several may subscribe to the same event. The event loop fires twice per iteration: a
//! dispatch allocates nothing and only scans a short list.

use std::ffi::{c_int, c_void};

use redis_module::raw;

use super::module_api::{Ctx, api};
use super::thread::ServerThread;
use crate::error::{Error, Result, guarded};

/// A callback: it gets the context, the number of the subevent and the data of the event.
pub type Callback = fn(Ctx, u64, Data) -> Result<()>;

/// The data of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// The event has no data, or none that this module uses.
    None,
    /// The flushed database; `None` for all databases.
    Flush {
        db: Option<c_int>,
    },
    /// The swapped databases.
    Swap {
        first: c_int,
        second: c_int,
    },
    Client {
        id: u64,
    },
}

impl Data {
    /// # Safety
    /// The server passed `data` with this event, in the version that [`subscribe`] asks for, and the callback still runs.
    unsafe fn read(event: u64, data: *const c_void) -> Self {
        if data.is_null() {
            return Self::None;
        }
        // SAFETY: the event decides the type of its data, and the server keeps the data alive during the callback.
        unsafe {
            match event {
                raw::REDISMODULE_EVENT_FLUSHDB => {
                    let db = (*data.cast::<raw::RedisModuleFlushInfo>()).dbnum;
                    Self::Flush { db: (db >= 0).then_some(db) }
                }
                raw::REDISMODULE_EVENT_SWAPDB => {
                    let swap = &*data.cast::<raw::RedisModuleSwapDbInfo>();
                    Self::Swap { first: swap.dbnum_first, second: swap.dbnum_second }
                }
                raw::REDISMODULE_EVENT_CLIENT_CHANGE => Self::Client { id: (*data.cast::<raw::RedisModuleClientInfo>()).id },
                _ => Self::None,
            }
        }
    }
}

/// The subscriptions, in the order in which they were made.
struct Registry<C>(Vec<(u64, C)>);

impl<C: Copy> Registry<C> {
    fn has(&self, event: u64) -> bool {
        self.0.iter().any(|(id, _)| *id == event)
    }

    /// The first callback for `event` at or after `from`, and its position.
    fn next(&self, event: u64, from: usize) -> Option<(usize, C)> {
        let found = self.0.iter().enumerate().skip(from).find(|(_, (id, _))| *id == event);
        found.map(|(at, (_, callback))| (at, *callback))
    }
}

static REGISTRY: ServerThread<Registry<Callback>> = ServerThread::new(Registry(Vec::new()));

/// Calls `callback` at every event of this kind from now on. An older server may not know the kind, which is an error.
pub fn subscribe(ctx: Ctx, event: u64, callback: Callback) -> Result<()> {
    let refused = || Error::Internal("an event was refused".to_owned());
    let mut registry = REGISTRY.try_borrow_mut().ok_or_else(refused)?;
    if !registry.has(event) {
        let event = raw::RedisModuleEvent { id: event, dataver: 1 };
        // SAFETY: the context belongs to the running callback. The server ends the subscription before it unloads the code of
        // `dispatch`.
        let status = unsafe { api!(RedisModule_SubscribeToServerEvent)(ctx.raw(), event, Some(dispatch)) };
        if status != raw::REDISMODULE_OK as c_int {
            return Err(refused());
        }
    }
    registry.0.push((event, callback));
    Ok(())
}

/// Drops all subscriptions, for the unload of the module.
pub fn stop() {
    if let Some(mut registry) = REGISTRY.try_borrow_mut() {
        registry.0.clear();
    }
}

unsafe extern "C" fn dispatch(ctx: *mut raw::RedisModuleCtx, event: raw::RedisModuleEvent, sub: u64, data: *mut c_void) {
    // SAFETY: the server passes the context and the data of the event that this callback is about, valid until it returns.
    let (ctx, data) = unsafe { (Ctx::new(ctx), Data::read(event.id, data)) };
    // A callback may subscribe, so the registry is not borrowed while one runs.
    let next = |from| REGISTRY.try_borrow_mut().and_then(|registry| registry.next(event.id, from));
    each(next, |callback| {
        let _ = guarded(|| callback(ctx, sub, data));
    });
}

/// Calls `call` with each callback that `next` finds at or after a position.
fn each<C>(next: impl Fn(usize) -> Option<(usize, C)>, mut call: impl FnMut(C)) {
    let mut from = 0;
    while let Some((at, callback)) = next(from) {
        call(callback);
        from = at.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscriber_of_an_event_is_called_in_order() {
        let registry = Registry(vec![(1, 'a'), (2, 'b'), (1, 'c')]);
        let called = |event| {
            let mut called = String::new();
            each(|from| registry.next(event, from), |callback| called.push(callback));
            called
        };
        assert_eq!([called(1), called(2), called(3)], ["ac", "b", ""]);
        assert!(registry.has(1) && !registry.has(3));
    }
}
