//! The server's command filter: a look at each command before the server knows what it is, and another name for it.
//!
//! The server calls it for what clients, its master, its own scripts and other modules run; not for what we run ourselves, nor while it
//! loads an AOF. It costs every command a call, so it is registered only while it is needed.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, Str, api};
use crate::error::{Error, Result, guarded};

/// A feature that looks at commands. Each has a place of its own, in the order of [`Role`].
pub struct Look {
    /// What it does to commands.
    pub role: Role,
    /// The commands that it wants to see, in upper case.
    pub names: &'static [&'static str],
    /// Called with each command of `names`. A panic in it leaves the command as it is.
    pub at: fn(&mut Filtered) -> Result<()>,
}

/// Who looks first: what was renamed is no command that others watch for.
#[derive(Clone, Copy)]
pub enum Role {
    /// It may rename commands.
    Renames,
    /// It only watches.
    Watches,
}

/// A command on its way in.
pub struct Filtered {
    filter: *mut raw::RedisModuleCommandFilterCtx,
    ctx: Ctx,
}

static REGISTERED: AtomicPtr<raw::RedisModuleCommandFilter> = AtomicPtr::new(ptr::null_mut());

/// A context for what the module API only does with one: the server gives a filter none.
static CONTEXT: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// The features that look at commands; null in the place of one that does not.
static LOOKS: [AtomicPtr<Look>; 2] = [const { AtomicPtr::new(ptr::null_mut()) }; 2];

/// A bit for the length and the first two letters of each name that a feature wants to see, so that other commands are told apart at once.
static WANTED: AtomicU64 = AtomicU64::new(0);

/// Counts commands, so that a feature knows whether another command came since it last looked.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Set from the end of the load to the unload: the server does not take a filter back when a load fails.
static OPEN: AtomicBool = AtomicBool::new(false);

/// From the end of the load on, features that joined look at commands. Nothing may fail after this.
pub fn open(ctx: Ctx) -> Result<()> {
    OPEN.store(true, Ordering::Relaxed);
    register(ctx)
}

/// Whether the load is over.
#[must_use]
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// How many commands the filter has seen. What a feature noted at another number is about an earlier command.
#[must_use]
pub fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// The feature looks at every command from the next one on, or from the end of the load on.
pub fn join(ctx: Ctx, look: &'static Look) -> Result<()> {
    place(look).store(ptr::from_ref(look).cast_mut(), Ordering::Relaxed);
    note_wanted();
    if is_open() { register(ctx) } else { Ok(()) }
}

/// The feature looks at no command any more. Must not be called from the filter itself.
pub fn leave(ctx: Ctx, look: &'static Look) {
    place(look).store(ptr::null_mut(), Ordering::Relaxed);
    note_wanted();
    if joined().next().is_none() {
        unregister(ctx);
    }
}

/// No feature looks at commands any more, at unload.
pub fn close(ctx: Ctx) {
    OPEN.store(false, Ordering::Relaxed);
    LOOKS.iter().for_each(|place| place.store(ptr::null_mut(), Ordering::Relaxed));
    note_wanted();
    unregister(ctx);
}

fn place(look: &Look) -> &'static AtomicPtr<Look> {
    let [renames, watches] = &LOOKS;
    match look.role {
        Role::Renames => renames,
        Role::Watches => watches,
    }
}

fn joined() -> impl Iterator<Item = &'static Look> {
    // SAFETY: a place is null or holds what `join` put there, which is `'static`.
    LOOKS.iter().filter_map(|place| unsafe { place.load(Ordering::Relaxed).as_ref() })
}

fn note_wanted() {
    let wanted = joined().flat_map(|look| look.names).fold(0, |wanted, name| wanted | bit(name.as_bytes()));
    WANTED.store(wanted, Ordering::Relaxed);
}

/// The bit of a name, in any case. The weights are those that tell the names of drop-in mode from all common commands.
fn bit(name: &[u8]) -> u64 {
    let letter = |at| name.get(at).map_or(0, |letter: &u8| usize::from(letter | 0x20));
    1 << (name.len().wrapping_add(16 * letter(0)).wrapping_add(letter(1)) % 64)
}

fn register(ctx: Ctx) -> Result<()> {
    if joined().next().is_none() || !REGISTERED.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    // SAFETY: the context belongs to the running callback; the filter's code stays loaded as long as it is registered.
    let filter = unsafe {
        let flags = raw::REDISMODULE_CMDFILTER_NOSELF as c_int;
        CONTEXT.store(api!(RedisModule_GetDetachedThreadSafeContext)(ctx.raw()), Ordering::Relaxed);
        api!(RedisModule_RegisterCommandFilter)(ctx.raw(), Some(enter), flags)
    };
    REGISTERED.store(filter, Ordering::Relaxed);
    if filter.is_null() { Err(Error::Internal("the command filter was refused".to_owned())) } else { Ok(()) }
}

fn unregister(ctx: Ctx) {
    let filter = REGISTERED.swap(ptr::null_mut(), Ordering::Relaxed);
    let context = CONTEXT.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: both were made by `register`, and are given back once.
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
    // SAFETY: it lives until `unregister`, and only callbacks of the server come here.
    if context.is_null() { None } else { Some(unsafe { Ctx::new(context) }) }
}

/// Whether the server tells a filter whose command it is: from 7.2 on.
#[must_use]
pub fn tells_clients() -> bool {
    // SAFETY: the pointer is written once, at load.
    unsafe { raw::RedisModule_CommandFilterGetClientId }.is_some()
}

unsafe extern "C" fn enter(filter: *mut raw::RedisModuleCommandFilterCtx) {
    SEEN.store(seen().wrapping_add(1), Ordering::Relaxed);
    // SAFETY: the server calls this with its filter context, which is valid until we return; ours lives as long as the filter is registered.
    let mut command = Filtered { filter, ctx: unsafe { Ctx::new(CONTEXT.load(Ordering::Relaxed)) } };
    if command.name().is_none_or(|name| WANTED.load(Ordering::Relaxed) & bit(name) == 0) {
        return;
    }
    for look in joined() {
        let wanted = |name: &[u8]| look.names.iter().any(|wanted| name.eq_ignore_ascii_case(wanted.as_bytes()));
        if command.name().is_some_and(wanted) {
            let _ = guarded(|| (look.at)(&mut command));
        }
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

    /// The name, in the case in which it was sent.
    #[must_use]
    pub fn name(&self) -> Option<&[u8]> {
        self.arg(0).map(Str::bytes)
    }

    /// Whether the command has this name, in any case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name().is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_commands_are_told_apart_by_length_and_first_letters() {
        const WANTED: [&str; 14] = [
            "ACL",
            "AUTH",
            "EVAL",
            "EVALSHA",
            "EVALSHA_RO",
            "EVAL_RO",
            "EXEC",
            "FCALL",
            "FCALL_RO",
            "FUNCTION",
            "HELLO",
            "MULTI",
            "RESET",
            "SCRIPT",
        ];
        let wanted = WANTED.iter().fold(0, |wanted, name| wanted | bit(name.as_bytes()));
        assert!(WANTED.iter().all(|name| wanted & bit(name.to_ascii_lowercase().as_bytes()) != 0));
        for common in [
            "GET",
            "SET",
            "MGET",
            "INCR",
            "HGET",
            "HSET",
            "ZADD",
            "LPUSH",
            "EXPIRE",
            "DEL",
            "PING",
            "XADD",
            "ATOMIC.CAS",
            "ATOMIC.RATELIMIT",
        ] {
            assert_eq!(wanted & bit(common.as_bytes()), 0, "{common} is looked at");
        }
        assert_ne!(bit(b""), 0);
    }
}
