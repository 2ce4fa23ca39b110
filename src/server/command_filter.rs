//! The server's command filter: it sees each command before the server looks the command up, and can rename it.
//!
//! The server calls the filter for the commands of clients, its primary, its own scripts and other modules, but not for commands that
//! this module runs, nor while it loads an AOF. The filter costs every command a call, so it is registered only while it is needed.

use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, Str, api};
use crate::error::{Error, Result, guarded};

/// A feature that filters commands. There is one for each [`Role`].
pub struct Look {
    pub role: Role,
    /// The commands to filter, in upper case.
    pub names: &'static [&'static str],
    /// Called with each command of `names`. A panic leaves the command unchanged.
    pub at: fn(&mut Filtered) -> Result<()>,
}

/// The order of features: one that watches does not see the original name of a renamed command.
#[derive(Clone, Copy)]
pub enum Role {
    /// May rename commands.
    Renames,
    /// Only watches, for the stores of scripts and functions.
    Watches,
    /// Only watches, for reads without a dispatch.
    WatchesReaders,
}

/// A command that the server is about to look up.
pub struct Filtered {
    filter: *mut raw::RedisModuleCommandFilterCtx,
    ctx: Ctx,
}

static REGISTERED: AtomicPtr<raw::RedisModuleCommandFilter> = AtomicPtr::new(ptr::null_mut());

/// A context for API calls that need one: the server passes none to a filter.
static CONTEXT: AtomicPtr<raw::RedisModuleCtx> = AtomicPtr::new(ptr::null_mut());

/// The features that filter commands, by role; null for none.
static LOOKS: [AtomicPtr<Look>; 3] = [const { AtomicPtr::new(ptr::null_mut()) }; 3];

/// The first two letters of the filtered names, by length: most other commands are excluded by them.
static WANTED: [AtomicU64; LENGTHS] = [const { AtomicU64::new(0) }; LENGTHS];

/// Filtered names are shorter than this.
const LENGTHS: usize = 16;

/// Counts commands, so that a feature knows whether another command came since it last looked.
static SEEN: AtomicU64 = AtomicU64::new(0);

/// Set from the end of the load to the unload: the server does not remove a filter when a load fails.
static OPEN: AtomicBool = AtomicBool::new(false);

/// Starts the filter for the features that have joined, at the end of the load. No later step of the load may fail.
pub fn open(ctx: Ctx) -> Result<()> {
    OPEN.store(true, Ordering::Relaxed);
    register(ctx)
}

/// Whether the load has ended.
#[must_use]
pub fn is_open() -> bool {
    OPEN.load(Ordering::Relaxed)
}

/// How many commands the filter has seen. A note that a feature made at another number is about an earlier command.
#[must_use]
pub fn seen() -> u64 {
    SEEN.load(Ordering::Relaxed)
}

/// Starts a feature with the next command, but not before the end of the load.
pub fn join(ctx: Ctx, look: &'static Look) -> Result<()> {
    place(look).store(ptr::from_ref(look).cast_mut(), Ordering::Relaxed);
    note_wanted();
    if is_open() { register(ctx) } else { Ok(()) }
}

/// Stops a feature. Must not be called from the filter itself.
pub fn leave(ctx: Ctx, look: &'static Look) {
    place(look).store(ptr::null_mut(), Ordering::Relaxed);
    note_wanted();
    if joined().next().is_none() {
        unregister(ctx);
    }
}

/// Stops all features, when the module ends.
pub fn close(ctx: Ctx) {
    OPEN.store(false, Ordering::Relaxed);
    LOOKS.iter().for_each(|place| place.store(ptr::null_mut(), Ordering::Relaxed));
    note_wanted();
    unregister(ctx);
}

fn place(look: &Look) -> &'static AtomicPtr<Look> {
    let [renames, watches, readers] = &LOOKS;
    match look.role {
        Role::Renames => renames,
        Role::Watches => watches,
        Role::WatchesReaders => readers,
    }
}

fn joined() -> impl Iterator<Item = &'static Look> {
    // SAFETY: each pointer is null or comes from a `'static` reference that `join` stored.
    LOOKS.iter().filter_map(|place| unsafe { place.load(Ordering::Relaxed).as_ref() })
}

fn note_wanted() {
    for (wanted, letters) in WANTED.iter().zip(letters_by_length(joined().flat_map(|look| look.names))) {
        wanted.store(letters, Ordering::Relaxed);
    }
}

/// The letters of names, each in the place of its length.
fn letters_by_length<'a>(names: impl Iterator<Item = &'a &'a str>) -> [u64; LENGTHS] {
    let mut letters = [0; LENGTHS];
    for name in names {
        if let Some(letters) = letters.get_mut(name.len()) {
            *letters |= letters_of(name.as_bytes());
        }
    }
    letters
}

/// A bit for the first letter and one for the second, in any case.
fn letters_of(name: &[u8]) -> u64 {
    let bit = |at| name.get(at).map_or(1, |letter: &u8| 1_u64 << (letter & 31));
    bit(0) | bit(1) << 32
}

/// Whether one of `names` may be `name`, judging by its length and its first two letters.
#[must_use]
pub fn may_be_one_of(names: &[&str], name: &str) -> bool {
    letters_by_length(names.iter())
        .get(name.len())
        .is_some_and(|letters| letters & letters_of(name.as_bytes()) == letters_of(name.as_bytes()))
}

fn register(ctx: Ctx) -> Result<()> {
    if joined().next().is_none() || !REGISTERED.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    // SAFETY: the context belongs to the running callback. `close` unregisters the filter before its code is unloaded.
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
    // SAFETY: `register` made both pointers, and each swap lets no second call release them.
    unsafe {
        if !filter.is_null() {
            api!(RedisModule_UnregisterCommandFilter)(ctx.raw(), filter);
        }
        if !context.is_null() {
            api!(RedisModule_FreeThreadSafeContext)(context);
        }
    }
}

/// The context of the filter, if it is registered.
#[must_use]
pub fn context() -> Option<Ctx> {
    let context = CONTEXT.load(Ordering::Relaxed);
    // SAFETY: the context lives until `unregister`, which only the server's main thread calls, as it calls this.
    if context.is_null() { None } else { Some(unsafe { Ctx::new(context) }) }
}

/// Whether the server reports the client of a filtered command: from 7.2 on.
#[must_use]
pub fn tells_clients() -> bool {
    // SAFETY: the load writes the pointer once, before any callback can run.
    unsafe { raw::RedisModule_CommandFilterGetClientId }.is_some()
}

unsafe extern "C" fn enter(filter: *mut raw::RedisModuleCommandFilterCtx) {
    SEEN.store(seen().wrapping_add(1), Ordering::Relaxed);
    // SAFETY: the server passes a filter context that is valid until this callback returns. `register` made `CONTEXT` before it registered
    // the filter, and `unregister` frees it after the filter.
    let mut command = Filtered { filter, ctx: unsafe { Ctx::new(CONTEXT.load(Ordering::Relaxed)) } };
    let is_wanted = |name: &[u8]| {
        let letters = letters_of(name);
        WANTED.get(name.len()).is_some_and(|wanted| wanted.load(Ordering::Relaxed) & letters == letters)
    };
    if !command.name().is_some_and(is_wanted) {
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
    /// The number of words, including the name.
    #[must_use]
    pub fn len(&self) -> usize {
        // SAFETY: the server passed this pointer to the running filter, and it stays valid until the filter returns.
        usize::try_from(unsafe { api!(RedisModule_CommandFilterArgsCount)(self.filter) }).unwrap_or(0)
    }

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

    /// The word at this position; the name is at 0.
    #[must_use]
    pub fn arg(&self, at: usize) -> Option<Str<'_>> {
        // SAFETY: the pointer is that of the running filter. The server returns null past the last word. A word lives until the filter
        // returns or replaces it, and the borrow of `self` ends before `rename`.
        unsafe {
            let word = api!(RedisModule_CommandFilterArgGet)(self.filter, c_int::try_from(at).ok()?);
            if word.is_null() { None } else { Some(Str::kept(word)) }
        }
    }

    /// The id of the command's client; `None` if the server does not report it.
    #[must_use]
    pub fn client(&self) -> Option<u64> {
        // SAFETY: the load writes the function pointer once, and the filter's pointer is that of the running filter.
        unsafe { raw::RedisModule_CommandFilterGetClientId.map(|client| client(self.filter)) }
    }

    /// A context that belongs to no client.
    #[must_use]
    pub fn ctx(&self) -> Ctx {
        self.ctx
    }

    /// Calls `ask` with the command's words, the name replaced.
    pub fn with_name<R>(&self, name: Str<'_>, ask: impl FnOnce(&[Str<'_>]) -> R) -> R {
        /// Most commands have fewer words and need no allocation.
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

    /// Renames the command.
    pub fn rename(&mut self, name: Str<'static>) {
        // SAFETY: the pointer is that of the running filter. The server takes the added reference and releases the old name, which
        // no `Str` of this filter borrows any more, since `self` is borrowed exclusively.
        unsafe {
            api!(RedisModule_RetainString)(ptr::null_mut(), name.raw());
            api!(RedisModule_CommandFilterArgReplace)(self.filter, 0, name.raw());
        }
    }
}
