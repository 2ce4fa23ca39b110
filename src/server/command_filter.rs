//! The server's command filter: a look at each command before the server knows what it is, and another name for it.
//!
//! The server calls it for what clients, its master, its own scripts and other modules run; not for what we run ourselves, nor while it
//! loads an AOF. It costs every command a call, so it is registered only while it is needed.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, Str, api};
use crate::error::{Error, Result, guarded};

/// What looks at commands.
pub trait Look {
    /// Whether to look closer, by the name only. Called for every command: it must cost next to nothing, and cannot panic.
    fn concerns(name: &[u8]) -> bool;

    /// A closer look. A panic in it leaves the command as it is.
    fn at(command: &mut Filtered) -> Result<()>;
}

/// A command on its way in.
pub struct Filtered {
    filter: *mut raw::RedisModuleCommandFilterCtx,
    ctx: Ctx,
}

static REGISTERED: AtomicPtr<raw::RedisModuleCommandFilter> = AtomicPtr::new(ptr::null_mut());

/// A context for what the module API only does with one: the server gives a filter none.
static CONTEXT: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// Looks at every command from the next one on.
pub fn start<L: Look>(ctx: Ctx) -> Result<()> {
    if !REGISTERED.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    // SAFETY: the context belongs to the running callback; the filter's code stays loaded as long as it is registered.
    let filter = unsafe {
        let flags = raw::REDISMODULE_CMDFILTER_NOSELF as c_int;
        CONTEXT.store(api!(RedisModule_GetDetachedThreadSafeContext)(ctx.raw()), Ordering::Relaxed);
        api!(RedisModule_RegisterCommandFilter)(ctx.raw(), Some(enter::<L>), flags)
    };
    REGISTERED.store(filter, Ordering::Relaxed);
    if filter.is_null() { Err(Error::Internal("the command filter was refused".to_owned())) } else { Ok(()) }
}

/// Looks at no command any more. Must not be called from the filter itself.
pub fn stop(ctx: Ctx) {
    let filter = REGISTERED.swap(ptr::null_mut(), Ordering::Relaxed);
    let context = CONTEXT.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: both were made by `start`, and are given back once.
    unsafe {
        if !filter.is_null() {
            api!(RedisModule_UnregisterCommandFilter)(ctx.raw(), filter);
        }
        if !context.is_null() {
            api!(RedisModule_FreeThreadSafeContext)(context);
        }
    }
}

/// The context of the filter, if there is one.
#[must_use]
pub fn context() -> Option<Ctx> {
    let context = CONTEXT.load(Ordering::Relaxed);
    // SAFETY: it lives until `stop`, and only callbacks of the server come here.
    if context.is_null() { None } else { Some(unsafe { Ctx::new(context) }) }
}

/// Whether the server tells a filter whose command it is: from 7.2 on.
#[must_use]
pub fn tells_clients() -> bool {
    // SAFETY: the pointer is written once, at load.
    unsafe { raw::RedisModule_CommandFilterGetClientId }.is_some()
}

unsafe extern "C" fn enter<L: Look>(filter: *mut raw::RedisModuleCommandFilterCtx) {
    // SAFETY: the context of the filter's functions outlives the registration.
    let mut command = Filtered { filter, ctx: unsafe { Ctx::new(CONTEXT.load(Ordering::Relaxed)) } };
    if command.arg(0).is_some_and(|name| L::concerns(name.bytes())) {
        let _ = guarded(|| L::at(&mut command));
    }
}

impl Filtered {
    /// The number of words, the name included.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the filter's argument is valid while it runs, here and below.
        usize::try_from(unsafe { api!(RedisModule_CommandFilterArgsCount)(self.filter) }).unwrap_or(0)
    }

    /// Whether there is not even a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A word; the name is the first.
    #[must_use]
    pub fn arg(&self, at: usize) -> Option<Str<'_>> {
        // SAFETY: beyond the last word the server answers null; a word lives as long as the filter runs, unless it is replaced, and the
        // borrow of `self` ends before `rename`.
        unsafe {
            let word = api!(RedisModule_CommandFilterArgGet)(self.filter, c_int::try_from(at).ok()?);
            if word.is_null() { None } else { Some(Str::kept(word)) }
        }
    }

    /// Whose command it is; `None` where the server does not tell.
    #[must_use]
    pub fn client(&self) -> Option<u64> {
        // SAFETY: as in `tells_clients` and `len`.
        unsafe { raw::RedisModule_CommandFilterGetClientId.map(|client| client(self.filter)) }
    }

    /// A context that belongs to no client.
    #[must_use]
    pub fn ctx(&self) -> Ctx {
        self.ctx
    }

    /// What `ask` says of the command under another name.
    pub fn with_name<R>(&self, name: Str<'_>, ask: impl FnOnce(&[Str<'_>]) -> R) -> R {
        /// Most commands have fewer words, and need no allocation.
        const FEW: usize = 16;
        let mut few = [name; FEW];
        let len = self.len();
        let words = |at| self.arg(at).unwrap_or(name);
        match few.get_mut(..len) {
            Some(few) => {
                for (at, to) in few.iter_mut().enumerate().skip(1) {
                    *to = words(at);
                }
                ask(few)
            }
            None => ask(&std::iter::once(name).chain((1..len).map(words)).collect::<Vec<_>>()),
        }
    }

    /// Gives the command another name.
    pub fn rename(&mut self, name: Str<'static>) {
        // SAFETY: the server takes the reference that we add, and drops the one to the old name, which nobody holds here.
        unsafe {
            api!(RedisModule_RetainString)(ptr::null_mut(), name.raw());
            api!(RedisModule_CommandFilterArgReplace)(self.filter, 0, name.raw());
        }
    }
}
