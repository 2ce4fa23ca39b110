//! A thin wrapper around the raw module API: contexts, strings and keyspace events. The other files of this folder wrap one topic each.
//!
//! The wrappers of the `redis-module` crate copy arguments, abort on some bytes and lack features, so this module calls the functions
//! directly. Every function used here exists on Redis 7.0 and Valkey 8.0 (`module/required.rs` checks that at load), or is optional and
//! looked up at each use. A value borrowed from the running command does not outlive it.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::slice;

use redis_module::raw;

use super::open_keys;
use crate::error::{Error, Result};
use crate::primitives::number::{Digits, whole};

/// A function of the module API, for use in an unsafe block. The load writes the pointers once, before any callback can run, so a later
/// read of the static is sound. A missing function is a bug (see `module/required.rs`), and the guard turns it into an error.
macro_rules! api {
    ($name:ident) => {
        match ::redis_module::raw::$name {
            Some(function) => function,
            None => $crate::server::module_api::missing(stringify!($name)),
        }
    };
}
pub(crate) use api;

#[cold]
#[allow(clippy::panic)]
pub(crate) fn missing(name: &str) -> ! {
    panic!("the server does not export {name}")
}

/// The server's time snapshot in microseconds; `None` on servers without one (7.0).
#[must_use]
pub fn cached_microseconds() -> Option<u64> {
    // SAFETY: the load writes the pointer once, before any callback can run.
    let function = unsafe { raw::RedisModule_CachedMicroseconds }?;
    // SAFETY: the function takes no argument and only reads a global of the server.
    u64::try_from(unsafe { function() }).ok()
}

/// The context of a callback.
#[derive(Debug, Clone, Copy)]
pub struct Ctx(*mut raw::RedisModuleCtx);

impl Ctx {
    /// # Safety
    /// `ctx` is the context of the callback that is running, and the value does not outlive it.
    #[must_use]
    pub unsafe fn new(ctx: *mut raw::RedisModuleCtx) -> Self {
        Self(ctx)
    }

    #[must_use]
    pub fn raw(self) -> *mut raw::RedisModuleCtx {
        self.0
    }

    /// Replicates one command to replicas and AOF, and counts it as a change. The server refuses only an unknown command, and callers
    /// pass commands of the server's own.
    ///
    /// The short forms are spelled out because they cost the server one allocation; an array costs several.
    pub fn replicate(self, command: &CStr, args: &[Str<'_>]) {
        let (ctx, name) = (self.0, command.as_ptr());
        // SAFETY: each format has an "s" per module string, or a "v" for an array and its length; the borrows keep the strings alive, and
        // the server takes references.
        unsafe {
            let send = api!(RedisModule_Replicate);
            match args {
                [a] => send(ctx, name, c"s".as_ptr(), a.0),
                [a, b] => send(ctx, name, c"ss".as_ptr(), a.0, b.0),
                [a, b, c] => send(ctx, name, c"sss".as_ptr(), a.0, b.0, c.0),
                _ => send(ctx, name, c"v".as_ptr(), args.as_ptr(), args.len()),
            }
        };
    }

    /// As [`Ctx::replicate`], with a number after the arguments. Its text costs the server less than the number itself.
    pub fn replicate_number(self, command: &CStr, args: &[Str<'_>], number: Digits) {
        let (ctx, name, number) = (self.0, command.as_ptr(), number.as_bytes());
        // SAFETY: each format has an "s" per module string, or a "v" for an array and its length, and a "b" for the bytes of the number
        // and their length; the borrows keep all alive, and the server takes references or copies.
        unsafe {
            let send = api!(RedisModule_Replicate);
            match args {
                [a] => send(ctx, name, c"sb".as_ptr(), a.0, number.as_ptr(), number.len()),
                [a, b, c] => send(ctx, name, c"sssb".as_ptr(), a.0, b.0, c.0, number.as_ptr(), number.len()),
                _ => send(ctx, name, c"vb".as_ptr(), args.as_ptr(), args.len(), number.as_ptr(), number.len()),
            }
        };
    }

    /// Signals a changed key to WATCH and to tracking clients, and publishes its keyspace events.
    pub fn changed(self, key: Str<'_>, events: impl Iterator<Item = Event>) {
        open_keys::assert_none();
        // SAFETY: the context belongs to the running callback, the borrow keeps the key name alive, and no handle of the key is open.
        unsafe { api!(RedisModule_SignalModifiedKey)(self.0, key.0) };
        for event in events {
            let (class, name) = event.parts();
            // SAFETY: the context belongs to the running callback, the borrow keeps the key name alive, and the event name is a constant.
            unsafe { api!(RedisModule_NotifyKeyspaceEvent)(self.0, class, name.as_ptr(), key.0) };
        }
    }

    #[must_use]
    pub fn info_field(self, section: &CStr, field: &CStr) -> Option<String> {
        // SAFETY: the context belongs to the running callback. The field's text is a C string, copied before the info is freed.
        unsafe {
            let info = api!(RedisModule_GetServerInfo)(self.0, section.as_ptr());
            let field = api!(RedisModule_ServerInfoGetFieldC)(info, field.as_ptr());
            let text = if field.is_null() { None } else { CStr::from_ptr(field).to_str().ok().map(str::to_owned) };
            api!(RedisModule_FreeServerInfo)(self.0, info);
            text
        }
    }

    /// Writes a line to the server's log. Bytes that are not printable ASCII are escaped.
    pub fn log(self, level: &CStr, message: &str) {
        let line = crate::error::printable(message.as_bytes(), 1024);
        let Ok(line) = std::ffi::CString::new(line) else { return };
        // SAFETY: the format "%s" takes one C string, which lives until the call returns.
        unsafe { api!(RedisModule_Log)(self.0, level.as_ptr(), c"%s".as_ptr(), line.as_ptr()) };
    }
}

/// A keyspace event. [`Event::parts`] has the server's names.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    Set,
    Expiring,
    Deleted,
    Patched,
    FieldSet,
    FieldIncremented,
    PushedLeft,
    PushedRight,
    PoppedLeft,
    PoppedRight,
    MemberSet,
    MemberRemoved,
}

impl Event {
    fn parts(self) -> (c_int, &'static CStr) {
        match self {
            Self::Set => (raw::REDISMODULE_NOTIFY_STRING as c_int, c"set"),
            Self::Expiring => (raw::REDISMODULE_NOTIFY_GENERIC as c_int, c"expire"),
            Self::Deleted => (raw::REDISMODULE_NOTIFY_GENERIC as c_int, c"del"),
            Self::Patched => (raw::REDISMODULE_NOTIFY_STRING as c_int, c"setrange"),
            Self::FieldSet => (raw::REDISMODULE_NOTIFY_HASH as c_int, c"hset"),
            Self::FieldIncremented => (raw::REDISMODULE_NOTIFY_HASH as c_int, c"hincrby"),
            Self::PushedLeft => (raw::REDISMODULE_NOTIFY_LIST as c_int, c"lpush"),
            Self::PushedRight => (raw::REDISMODULE_NOTIFY_LIST as c_int, c"rpush"),
            Self::PoppedLeft => (raw::REDISMODULE_NOTIFY_LIST as c_int, c"lpop"),
            Self::PoppedRight => (raw::REDISMODULE_NOTIFY_LIST as c_int, c"rpop"),
            Self::MemberSet => (raw::REDISMODULE_NOTIFY_ZSET as c_int, c"zadd"),
            Self::MemberRemoved => (raw::REDISMODULE_NOTIFY_ZSET as c_int, c"zrem"),
        }
    }
}

/// A string of the server, borrowed from the running command or from an [`OwnedStr`].
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Str<'a>(*mut raw::RedisModuleString, PhantomData<&'a [u8]>);

impl<'a> Str<'a> {
    /// The arguments of a command, its name first.
    ///
    /// # Safety
    /// `argv` points to `argc` strings of the server, which together outlive `'a`.
    #[must_use]
    pub unsafe fn slice(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> &'a [Self] {
        // SAFETY: the caller promises `argc` pointers, and `Str` is a transparent pointer.
        unsafe { slice::from_raw_parts(argv.cast(), usize::try_from(argc).unwrap_or(0)) }
    }

    /// # Safety
    /// The string outlives `'a`, and the server does not change it.
    #[must_use]
    pub unsafe fn kept(string: *mut raw::RedisModuleString) -> Self {
        Self(string, PhantomData)
    }

    #[must_use]
    pub fn raw(self) -> *mut raw::RedisModuleString {
        self.0
    }

    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the string outlives `'a`, and the server does not change it before; it returns the start and the length.
        unsafe {
            let start = api!(RedisModule_StringPtrLen)(self.0, &raw mut len);
            slice::from_raw_parts(start.cast::<u8>(), len)
        }
    }

    /// Frees the spare capacity of a large argument before it becomes a value.
    pub fn trim(self) {
        // SAFETY: the string is alive. A trim may move the bytes; the one caller, an argument that becomes the value of a key, reads no
        // earlier slice of them again.
        unsafe { api!(RedisModule_TrimStringAllocation)(self.0) };
    }
}

/// A string of the server that this module owns.
#[repr(transparent)]
pub struct OwnedStr(*mut raw::RedisModuleString);

impl OwnedStr {
    /// Copies `bytes` into a string that belongs to no context.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // SAFETY: the server copies the bytes; `drop` frees the string.
        Self(unsafe { api!(RedisModule_CreateString)(std::ptr::null_mut(), bytes.as_ptr().cast::<c_char>(), bytes.len()) })
    }

    /// A decimal number.
    #[must_use]
    pub fn number(value: i64) -> Self {
        Self::new(Digits::new(value).as_bytes())
    }

    /// A double as the server prints it: in at most 17 digits, which read back as the same double.
    #[must_use]
    pub fn double(value: f64) -> Self {
        if let Some(whole) = whole(value) {
            return Self::number(whole);
        }
        // SAFETY: the caller owns a string created without a context; `drop` frees it.
        Self(unsafe { api!(RedisModule_CreateStringFromDouble)(std::ptr::null_mut(), value) })
    }

    #[must_use]
    pub fn slice_as_str(strings: &[Self]) -> &[Str<'_>] {
        // SAFETY: both types are a transparent pointer, and the result borrows `strings`.
        unsafe { slice::from_raw_parts(strings.as_ptr().cast(), strings.len()) }
    }

    /// # Safety
    /// The caller owns one reference to the string, which belongs to no context.
    #[must_use]
    pub unsafe fn from_raw(string: *mut raw::RedisModuleString) -> Self {
        Self(string)
    }

    #[must_use]
    pub fn raw(&self) -> *mut raw::RedisModuleString {
        self.0
    }

    /// The raw string. The new owner must free it.
    #[must_use]
    pub fn into_raw(self) -> *mut raw::RedisModuleString {
        std::mem::ManuallyDrop::new(self).0
    }

    #[must_use]
    pub fn as_str(&self) -> Str<'_> {
        Str(self.0, PhantomData)
    }
}

impl Drop for OwnedStr {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference to a string without a context and releases it once.
        unsafe { api!(RedisModule_FreeString)(std::ptr::null_mut(), self.0) };
    }
}

/// The result of a call that changes a key.
pub fn done(status: c_int) -> Result<()> {
    if status == raw::REDISMODULE_OK as c_int { Ok(()) } else { Err(Error::WriteRefused) }
}
