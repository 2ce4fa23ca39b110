//! The other nodes of a cluster, and messages to and from them over the cluster's bus.
//!
//! A message is addressed to a module by an id that the server makes of its name. Every name that is not nine characters long has the id 0,
//! so messages of other modules can arrive here: a receiver must recognize its own.

use std::ffi::{c_char, c_uchar};
use std::slice;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, api};
use super::thread::ServerThread;
use crate::error::guarded;

const LENGTH: usize = raw::REDISMODULE_NODE_ID_LEN as usize;

/// The type of this module's messages, a number that no other module is known to use. The server has one receiver for each type and id.
const TYPE: u8 = 167;

/// The id of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId([u8; LENGTH]);

impl NodeId {
    #[must_use]
    pub const fn new(name: [u8; LENGTH]) -> Self {
        Self(name)
    }

    /// # Safety
    /// `name` points to the name of a node.
    unsafe fn read(name: *const c_char) -> Self {
        // SAFETY: the caller promises a name, which has this length. The server does not end it with a NUL before Valkey 8.1.
        Self(unsafe { *name.cast::<[u8; LENGTH]>() })
    }

    /// The name with a NUL at its end, as the server wants it.
    fn with_nul(self) -> [u8; LENGTH + 1] {
        let mut name = [0; LENGTH + 1];
        name.iter_mut().zip(self.0).for_each(|(to, from)| *to = from);
        name
    }
}

/// What a message is passed to.
pub type Receiver = fn(Ctx, NodeId, &[u8]);

static RECEIVER: ServerThread<Option<Receiver>> = ServerThread::new(None);

/// A context of this load of the module. That of a callback may be of an earlier load: the server keeps the first one for the receiver.
static CONTEXT: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(std::ptr::null_mut());

/// Passes each message of this module's type to `receiver` from now on, also in the middle of a script that yields or of a load of data.
pub fn receive(ctx: Ctx, receiver: Receiver) {
    let Some(mut slot) = RECEIVER.try_borrow_mut() else { return };
    *slot = Some(receiver);
    // SAFETY: the context belongs to the running load. `stop` frees the new one, and replaces the callback before its code is unloaded.
    unsafe {
        CONTEXT.store(api!(RedisModule_GetDetachedThreadSafeContext)(ctx.raw()), Ordering::Relaxed);
        api!(RedisModule_RegisterClusterMessageReceiver)(ctx.raw(), TYPE, Some(on_message));
    }
}

/// Stops receiving, at unload.
///
/// Servers before Valkey 9.1 keep the receiver of a module that is gone, and a receiver that the module removes itself they free and use
/// again. So a function of the server takes its place, which takes a context and only reads it.
pub fn stop(ctx: Ctx) {
    type Callback = unsafe extern "C" fn(*mut raw::RedisModuleCtx, *const c_char, u8, *const c_uchar, u32);
    let context = CONTEXT.swap(std::ptr::null_mut(), Ordering::Relaxed);
    if context.is_null() {
        return;
    }
    // SAFETY: a C function may be called with more arguments than it reads, since the caller owns them. This one reads a flag of the context.
    // `receive` made the other context, which is freed once.
    unsafe {
        let harmless = api!(RedisModule_IsKeysPositionRequest);
        let harmless = std::mem::transmute::<unsafe extern "C" fn(*mut raw::RedisModuleCtx) -> i32, Callback>(harmless);
        api!(RedisModule_RegisterClusterMessageReceiver)(ctx.raw(), TYPE, Some(harmless));
        api!(RedisModule_FreeThreadSafeContext)(context);
    }
    if let Some(mut slot) = RECEIVER.try_borrow_mut() {
        *slot = None;
    }
}

unsafe extern "C" fn on_message(_: *mut raw::RedisModuleCtx, sender: *const c_char, _: u8, message: *const c_uchar, length: u32) {
    let context = CONTEXT.load(Ordering::Relaxed);
    let receiver = RECEIVER.try_borrow_mut().and_then(|slot| *slot);
    let Some(receiver) = receiver.filter(|_| !context.is_null() && !message.is_null()) else { return };
    // SAFETY: the server passes the name of a node it knows, and `length` bytes, valid until this callback returns. `receive` made the
    // context, and `stop` has not freed it.
    let (ctx, sender, message) = unsafe {
        let length = usize::try_from(length).unwrap_or(0);
        (Ctx::new(context), NodeId::read(sender), slice::from_raw_parts(message, length))
    };
    let _ = guarded(|| {
        receiver(ctx, sender, message);
        Ok(())
    });
}

impl Ctx {
    /// The other primaries of the cluster that are not known to fail.
    #[must_use]
    pub fn other_primaries(self) -> Vec<NodeId> {
        let mut count = 0;
        // SAFETY: the context is one of this module. The server returns null or `count` names, which are copied before it frees them.
        let all = unsafe {
            let names = api!(RedisModule_GetClusterNodesList)(self.raw(), &raw mut count);
            if names.is_null() {
                return Vec::new();
            }
            let all: Vec<NodeId> = slice::from_raw_parts(names, count).iter().map(|name| NodeId::read(*name)).collect();
            api!(RedisModule_FreeClusterNodesList)(names);
            all
        };
        all.into_iter().filter(|node| self.is_other_primary(*node)).collect()
    }

    fn is_other_primary(self, node: NodeId) -> bool {
        const UNUSABLE: u32 = raw::REDISMODULE_NODE_MYSELF | raw::REDISMODULE_NODE_PFAIL | raw::REDISMODULE_NODE_FAIL;
        let (name, none, mut flags) = (node.with_nul(), std::ptr::null_mut(), 0_i32);
        // SAFETY: the context is one of this module, and the name ends with a NUL. The server accepts null for what is not asked.
        let known = unsafe {
            let info = api!(RedisModule_GetClusterNodeInfo);
            info(self.raw(), name.as_ptr().cast(), none, none, std::ptr::null_mut(), &raw mut flags)
        };
        let flags = flags.unsigned_abs();
        known == raw::REDISMODULE_OK as i32 && flags & raw::REDISMODULE_NODE_MASTER != 0 && flags & UNUSABLE == 0
    }

    /// Sends a message to a node. False if there is no connection to it.
    #[must_use]
    pub fn send_to(self, node: NodeId, message: &[u8]) -> bool {
        let (name, Ok(length)) = (node.with_nul(), u32::try_from(message.len())) else { return false };
        // SAFETY: the context is one of this module, the name ends with a NUL, and the server copies the message.
        let sent = unsafe {
            api!(RedisModule_SendClusterMessage)(self.raw(), name.as_ptr().cast(), TYPE, message.as_ptr().cast(), length)
        };
        sent == raw::REDISMODULE_OK as i32
    }
}
