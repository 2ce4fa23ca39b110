//! The thin wrapper around the raw module API, and the only place in this layer with `unsafe`.
//!
//! The `redis-module` crate's own wrappers copy arguments, abort on odd bytes or lack what we need, so we call the functions
//! themselves. Every function used here exists on Redis 7.0 and Valkey 8.0 (`module/required.rs` checks that at load) or is
//! looked up and may be absent. Handles borrow from the command that is running: none outlives it, none is kept across a call that
//! could change the keyspace.

use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::slice;

use redis_module::raw;

use crate::error::{Error, Result};
use crate::primitives::effect::End;
use crate::primitives::time::UnixMs;

/// A function of the module API, for use in an unsafe block: the pointers are written once, by the load of the module, before any
/// callback can run. A missing one is a bug (see `module/required.rs`), which the guard turns into an error.
macro_rules! api {
    ($name:ident) => {
        match ::redis_module::raw::$name {
            Some(function) => function,
            None => $crate::keyspace::module_api::missing(stringify!($name)),
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
    // SAFETY: the pointer is written once, at load; the function takes nothing and only reads a global of the server.
    let function = unsafe { raw::RedisModule_CachedMicroseconds }?;
    // SAFETY: as above.
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

    /// The raw context.
    #[must_use]
    pub fn raw(self) -> *mut raw::RedisModuleCtx {
        self.0
    }

    /// Opens a key to change it. A missing key can be created through the handle.
    #[must_use]
    pub fn open_for_writing(self, key: Str<'_>) -> KeyHandle {
        const MODE: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
        // SAFETY: context and key name belong to the running command.
        KeyHandle(unsafe { api!(RedisModule_OpenKey)(self.0, key.0, MODE) }.cast())
    }

    /// Opens a key to read it; `None` when it does not exist.
    #[must_use]
    pub fn open_for_reading(self, key: Str<'_>) -> Option<KeyHandle> {
        // SAFETY: context and key name belong to the running command.
        let handle = unsafe { api!(RedisModule_OpenKey)(self.0, key.0, raw::REDISMODULE_READ as c_int) };
        if handle.is_null() { None } else { Some(KeyHandle(handle.cast())) }
    }

    /// Propagates one command to replicas and AOF, and counts it as a change. A refusal cannot be undone here; it only happens for a
    /// command name that the server does not know, and ours are those of `replicate.rs`.
    ///
    /// The short forms are spelled out because the server allocates once for them, and several times for an array.
    pub fn replicate(self, command: &CStr, args: &[Str<'_>]) {
        let (ctx, name) = (self.0, command.as_ptr());
        // SAFETY: "s" takes a module string, "v" an array of them and its length; the server takes references to them.
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

    /// As [`Ctx::replicate`], with a number behind the arguments.
    pub fn replicate_number(self, command: &CStr, args: &[Str<'_>], number: i64) {
        let (ctx, name) = (self.0, command.as_ptr());
        // SAFETY: "s" takes a module string and "l" a long long.
        unsafe {
            let send = api!(RedisModule_Replicate);
            match args {
                [a] => send(ctx, name, c"sl".as_ptr(), a.0, number),
                [a, b, c] => send(ctx, name, c"sssl".as_ptr(), a.0, b.0, c.0, number),
                _ => send(ctx, name, c"vl".as_ptr(), args.as_ptr(), args.len(), number),
            }
        };
    }

    /// Tells WATCH, tracking clients and subscribers of keyspace events that the key changed.
    pub fn changed(self, key: Str<'_>, events: impl Iterator<Item = Event>) {
        // SAFETY: context and key name belong to the running command, and no handle of the key is open.
        unsafe { api!(RedisModule_SignalModifiedKey)(self.0, key.0) };
        for event in events {
            let (class, name) = event.parts();
            // SAFETY: as above; the event name is a constant.
            unsafe { api!(RedisModule_NotifyKeyspaceEvent)(self.0, class, name.as_ptr(), key.0) };
        }
    }

    /// One field of a section of INFO.
    #[must_use]
    pub fn info_field(self, section: &CStr, field: &CStr) -> Option<String> {
        // SAFETY: the context belongs to the running callback; the field's text is copied before the info is freed.
        unsafe {
            let info = api!(RedisModule_GetServerInfo)(self.0, section.as_ptr());
            let field = api!(RedisModule_ServerInfoGetFieldC)(info, field.as_ptr());
            let text = if field.is_null() { None } else { CStr::from_ptr(field).to_str().ok().map(str::to_owned) };
            api!(RedisModule_FreeServerInfo)(self.0, info);
            text
        }
    }

    /// Writes a line into the server's log. Bytes that are not printable ASCII are escaped.
    pub fn log(self, level: &CStr, message: &str) {
        let line = crate::error::printable(message.as_bytes(), 1024);
        let Ok(line) = std::ffi::CString::new(line) else { return };
        // SAFETY: "%s" takes one C string.
        unsafe { api!(RedisModule_Log)(self.0, level.as_ptr(), c"%s".as_ptr(), line.as_ptr()) };
    }
}

/// A keyspace event.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// `set`
    Set,
    /// `expire`
    Expiring,
    /// `del`
    Deleted,
    /// `setrange`
    Patched,
    /// `hset`
    FieldSet,
    /// `lpush`
    PushedLeft,
    /// `rpush`
    PushedRight,
    /// `lpop`
    PoppedLeft,
    /// `rpop`
    PoppedRight,
    /// `zadd`
    MemberSet,
    /// `zrem`
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
    /// `argv` and `argc` are those of the command that is running, and the slice does not outlive it.
    #[must_use]
    pub unsafe fn slice(argv: *mut *mut raw::RedisModuleString, argc: c_int) -> &'a [Self] {
        // SAFETY: the server passes `argc` pointers, and `Str` is a transparent pointer.
        unsafe { slice::from_raw_parts(argv.cast(), usize::try_from(argc).unwrap_or(0)) }
    }

    /// # Safety
    /// The string outlives `'a`, and the server does not change it.
    #[must_use]
    pub(super) unsafe fn kept(string: *mut raw::RedisModuleString) -> Self {
        Self(string, PhantomData)
    }

    /// The raw string.
    #[must_use]
    pub fn raw(self) -> *mut raw::RedisModuleString {
        self.0
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the string is alive while its command runs, and the server never changes it meanwhile.
        unsafe {
            let start = api!(RedisModule_StringPtrLen)(self.0, &raw mut len);
            slice::from_raw_parts(start.cast::<u8>(), len)
        }
    }

    /// Frees the spare room behind a large argument before it becomes a value.
    pub fn trim(self) {
        // SAFETY: the string is alive while its command runs; trimming keeps its bytes.
        unsafe { api!(RedisModule_TrimStringAllocation)(self.0) };
    }
}

/// A string of the server that we made.
#[repr(transparent)]
pub struct OwnedStr(pub(super) *mut raw::RedisModuleString);

impl OwnedStr {
    /// Copies `bytes` into a string that belongs to no context.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        // SAFETY: the server copies the bytes; the string is freed in `drop`.
        Self(unsafe { api!(RedisModule_CreateString)(std::ptr::null_mut(), bytes.as_ptr().cast::<c_char>(), bytes.len()) })
    }

    /// A decimal number.
    #[must_use]
    pub fn number(value: i64) -> Self {
        // SAFETY: a string created without a context belongs to us, and is freed in `drop`.
        Self(unsafe { api!(RedisModule_CreateStringFromLongLong)(std::ptr::null_mut(), value) })
    }

    /// Several strings, as long as they live.
    #[must_use]
    pub fn slice_as_str(strings: &[Self]) -> &[Str<'_>] {
        // SAFETY: both types are a transparent pointer, and the borrow is the same.
        unsafe { slice::from_raw_parts(strings.as_ptr().cast(), strings.len()) }
    }

    /// # Safety
    /// The string belongs to nobody else and to no context.
    #[must_use]
    pub(super) unsafe fn from_raw(string: *mut raw::RedisModuleString) -> Self {
        Self(string)
    }

    /// The raw string.
    #[must_use]
    pub(super) fn raw(&self) -> *mut raw::RedisModuleString {
        self.0
    }

    /// The string, for whoever frees it.
    #[must_use]
    pub fn into_raw(self) -> *mut raw::RedisModuleString {
        std::mem::ManuallyDrop::new(self).0
    }

    /// The string, as long as this lives.
    #[must_use]
    pub fn as_str(&self) -> Str<'_> {
        Str(self.0, PhantomData)
    }
}

impl Drop for OwnedStr {
    fn drop(&mut self) {
        // SAFETY: created without a context, freed once; the server counts references of its own.
        unsafe { api!(RedisModule_FreeString)(std::ptr::null_mut(), self.0) };
    }
}

/// What a key holds, as far as we care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Missing,
    /// A string.
    String,
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A sorted set.
    SortedSet,
    /// A set.
    Set,
    /// Another type.
    Other,
}

/// An open key. Closed when dropped.
pub struct KeyHandle(pub(super) *mut raw::RedisModuleKey);

impl KeyHandle {
    /// What the key holds.
    #[must_use]
    pub fn kind(&self) -> Kind {
        // SAFETY: the handle is open; a null handle (a missing key) is allowed.
        match unsafe { api!(RedisModule_KeyType)(self.0) } as isize {
            raw::REDISMODULE_KEYTYPE_EMPTY => Kind::Missing,
            raw::REDISMODULE_KEYTYPE_STRING => Kind::String,
            raw::REDISMODULE_KEYTYPE_LIST => Kind::List,
            raw::REDISMODULE_KEYTYPE_HASH => Kind::Hash,
            raw::REDISMODULE_KEYTYPE_ZSET => Kind::SortedSet,
            raw::REDISMODULE_KEYTYPE_SET => Kind::Set,
            _ => Kind::Other,
        }
    }

    /// The length of the string, the number of elements or fields; 0 for a missing key. Does not touch the value.
    #[must_use]
    pub fn length(&self) -> usize {
        // SAFETY: the handle is open.
        unsafe { api!(RedisModule_ValueLength)(self.0) }
    }

    /// The bytes of the string. The server turns an embedded or integer string into a plain one of the same content.
    #[must_use]
    pub fn string_bytes(&mut self) -> &[u8] {
        let mut len = 0;
        // SAFETY: the handle is open and holds a string (else the pointer is null); the borrow of `self` ends before any write.
        unsafe {
            let start = api!(RedisModule_StringDMA)(self.0, &raw mut len, raw::REDISMODULE_READ as c_int);
            if start.is_null() { &[] } else { slice::from_raw_parts(start.cast::<u8>(), len) }
        }
    }

    /// Writes `bytes` over the string when both have the same length; false when they do not, and nothing happened.
    #[must_use]
    pub fn overwrite(&mut self, bytes: &[u8]) -> bool {
        if self.length() != bytes.len() {
            return false;
        }
        let mut len = 0;
        // SAFETY: the handle is open for writing and holds a string that nobody else shares after this call; `len` bytes are ours.
        unsafe {
            let start = api!(RedisModule_StringDMA)(self.0, &raw mut len, raw::REDISMODULE_WRITE as c_int);
            if start.is_null() || len != bytes.len() {
                return false;
            }
            slice::from_raw_parts_mut(start.cast::<u8>(), len).copy_from_slice(bytes);
        }
        true
    }

    /// Writes `bytes` at `offset` of an existing string, which grows when it has to.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len()).ok_or(Error::WriteRefused)?;
        if end > self.length() {
            // SAFETY: the handle is open for writing and holds a string.
            done(unsafe { api!(RedisModule_StringTruncate)(self.0, end) })?;
        }
        let mut len = 0;
        // SAFETY: the handle is open for writing and holds a string that nobody else shares after this call; `len` bytes are ours.
        let value = unsafe {
            let start = api!(RedisModule_StringDMA)(self.0, &raw mut len, raw::REDISMODULE_WRITE as c_int);
            if start.is_null() {
                return Err(Error::WriteRefused);
            }
            slice::from_raw_parts_mut(start.cast::<u8>(), len)
        };
        value.get_mut(offset..end).ok_or(Error::WriteRefused)?.copy_from_slice(bytes);
        Ok(())
    }

    /// The value of a field of the hash.
    #[must_use]
    pub fn field(&self, field: Str<'_>) -> Option<OwnedStr> {
        let mut value: *mut raw::RedisModuleString = std::ptr::null_mut();
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        // SAFETY: pairs of a field and a place for its value, ended by a null; a string that comes back belongs to us.
        unsafe { api!(RedisModule_HashGet)(self.0, NONE, field.0, &raw mut value, std::ptr::null_mut::<c_char>()) };
        if value.is_null() { None } else { Some(OwnedStr(value)) }
    }

    /// Sets a field of the hash; a missing key becomes a hash.
    pub fn set_field(&mut self, field: Str<'_>, value: Str<'_>) {
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        // SAFETY: pairs of a field and its value, ended by a null; the server copies both. The count that comes back is that of fields
        // that existed.
        unsafe { api!(RedisModule_HashSet)(self.0, NONE, field.0, value.0, std::ptr::null_mut::<c_char>()) };
    }

    /// Adds an element to the list; a missing key becomes a list.
    pub fn push(&mut self, end: End, value: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing; the server copies the element.
        done(unsafe { api!(RedisModule_ListPush)(self.0, list_end(end), value.0) })
    }

    /// Takes an element from the list; the key goes with the last one. `None` when there is none.
    pub fn pop(&mut self, end: End) -> Option<OwnedStr> {
        // SAFETY: the handle is open for writing; the element that comes back belongs to us.
        let value = unsafe { api!(RedisModule_ListPop)(self.0, list_end(end)) };
        if value.is_null() { None } else { Some(OwnedStr(value)) }
    }

    /// An element of the list by its index, negative from the tail.
    #[must_use]
    pub fn element(&self, index: i64) -> Option<OwnedStr> {
        // SAFETY: the handle is open; the element that comes back belongs to us.
        let value = unsafe { api!(RedisModule_ListGet)(self.0, index) };
        if value.is_null() { None } else { Some(OwnedStr(value)) }
    }

    /// Makes `value` the key's value. The TTL is gone.
    pub fn set_string(&mut self, value: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing; the server takes a reference to the string.
        done(unsafe { api!(RedisModule_StringSet)(self.0, value.0) })
    }

    /// When the key ends; `None` without a TTL.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixMs> {
        // SAFETY: the handle is open.
        u64::try_from(unsafe { api!(RedisModule_GetAbsExpire)(self.0) }).ok().map(UnixMs)
    }

    /// Sets or removes the TTL of an existing key.
    pub fn set_expiry(&mut self, until: Option<UnixMs>) -> Result<()> {
        let until = until.map_or(raw::REDISMODULE_NO_EXPIRE.into(), UnixMs::as_i64);
        // SAFETY: the handle is open for writing.
        done(unsafe { api!(RedisModule_SetAbsExpire)(self.0, until) })
    }

    /// Deletes the key.
    pub fn delete(&mut self) -> Result<()> {
        // SAFETY: the handle is open for writing.
        done(unsafe { api!(RedisModule_DeleteKey)(self.0) })
    }

    /// Closes the key before its owner is dropped, since events must not find it open.
    pub fn close(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is open, and null from here on.
            unsafe { api!(RedisModule_CloseKey)(self.0) };
            self.0 = std::ptr::null_mut();
        }
    }
}

impl Drop for KeyHandle {
    fn drop(&mut self) {
        self.close();
    }
}

fn list_end(end: End) -> c_int {
    match end {
        End::Left => raw::REDISMODULE_LIST_HEAD as c_int,
        End::Right => raw::REDISMODULE_LIST_TAIL as c_int,
    }
}

pub(super) fn done(status: c_int) -> Result<()> {
    if status == raw::REDISMODULE_OK as c_int { Ok(()) } else { Err(Error::WriteRefused) }
}
