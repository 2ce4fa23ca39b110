//! An open key and its value: the raw calls of the module API on a key. Iteration over a sorted set is in `score_range`.
//!
//! An open key may be missing, and servers differ in how they treat questions about a missing key: `RM_GetAbsExpire` returns "no TTL" up
//! to Redis 8.0 and crashes the server from 8.2 on, contrary to its documentation. So only a [`Value`] answers questions, and a handle
//! returns a [`Value`] only if the key exists.
//!
//! A [`Value`] borrows the handle, so no write happens while one is in use. A change that needs an existing value is a method of [`ValueMut`]. A
//! write that may delete the key consumes the [`ValueMut`], so the caller must ask the handle again. Methods of the handle itself also
//! work on a missing key, which they create.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::ops::Deref;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api, done};
use super::open_keys;
use crate::error::{Error, Result};
use crate::primitives::effect::End;
use crate::primitives::time::UnixMs;

/// Whether fields of hashes can have a TTL on this server: from Redis 7.4 and Valkey 9 on.
static FIELDS_EXPIRE: AtomicBool = AtomicBool::new(true);

/// Records at load whether fields of hashes can have a TTL.
pub fn note_field_ttl(ctx: Ctx) {
    FIELDS_EXPIRE.store(ctx.has_command(b"HEXPIRE"), Ordering::Relaxed);
}

/// The types of values that this module distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Hash,
    SortedSet,
    Set,
    Stream,
    /// A type that a module defines.
    Other,
}

impl Ctx {
    /// Opens a key for writing. The handle can create a missing key.
    #[must_use]
    pub fn open_for_writing(self, key: Str<'_>) -> KeyHandle {
        self.open(key, (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int)
    }

    /// Opens a key for reading, which counts as no use of it: no statistics, no event of a missing key. (Redis 7.0 has the first part only.)
    #[must_use]
    pub fn open_unused(self, key: Str<'_>) -> KeyHandle {
        const UNNOTICED: u32 =
            raw::REDISMODULE_OPEN_KEY_NOTOUCH | raw::REDISMODULE_OPEN_KEY_NOSTATS | raw::REDISMODULE_OPEN_KEY_NONOTIFY;
        const MODE: c_int = (raw::REDISMODULE_READ | UNNOTICED) as c_int;
        // SAFETY: the context belongs to the running callback, and the borrow keeps the key name alive; the server takes a reference.
        KeyHandle::new(unsafe { api!(RedisModule_OpenKey)(self.raw(), key.raw(), MODE) }.cast())
    }

    /// Opens a key for reading. The handle of a missing key has no value.
    #[must_use]
    pub fn open_for_reading(self, key: Str<'_>) -> KeyHandle {
        self.open(key, raw::REDISMODULE_READ as c_int)
    }

    /// As [`Ctx::open_for_reading`], but not as a use of the key: the server evicts keys that are not used.
    #[must_use]
    pub fn open_without_touch(self, key: Str<'_>) -> KeyHandle {
        self.open(key, (raw::REDISMODULE_READ | raw::REDISMODULE_OPEN_KEY_NOTOUCH) as c_int)
    }

    /// Whether the key exists, without any effect: no statistics, no event, no deletion of what has expired. `None` if the server
    /// cannot look without an effect (before 7.2).
    #[must_use]
    pub fn exists_without_effect(self, key: Str<'_>) -> Option<bool> {
        const MODE: c_int = (raw::REDISMODULE_READ
            | raw::REDISMODULE_OPEN_KEY_NOTOUCH
            | raw::REDISMODULE_OPEN_KEY_NONOTIFY
            | raw::REDISMODULE_OPEN_KEY_NOSTATS
            | raw::REDISMODULE_OPEN_KEY_NOEXPIRE) as c_int;
        // SAFETY: the load writes the pointer once, before any callback can run; the function takes no argument.
        let modes = unsafe { raw::RedisModule_GetOpenKeyModesAll.map(|modes| modes()) }?;
        (modes & MODE == MODE).then(|| self.open(key, MODE).value().is_some())
    }

    fn open(self, key: Str<'_>, mode: c_int) -> KeyHandle {
        // SAFETY: the context belongs to the running callback, and the borrow keeps the key name alive; the server takes a reference.
        KeyHandle::new(unsafe { api!(RedisModule_OpenKey)(self.raw(), key.raw(), mode) }.cast())
    }
}

/// An open key, which may be missing. Closed when dropped.
pub struct KeyHandle {
    key: *mut raw::RedisModuleKey,
    /// What the server last said about the value. Only a write through this handle can change it, and each one forgets it.
    found: Cell<Found>,
}

#[derive(Debug, Clone, Copy)]
enum Found {
    Unknown,
    Missing,
    Value(Kind),
}

impl KeyHandle {
    /// Takes ownership of an open key, or of null for a missing key that was opened for reading.
    fn new(key: *mut raw::RedisModuleKey) -> Self {
        if !key.is_null() {
            open_keys::count(1);
        }
        Self { key, found: Cell::new(Found::Unknown) }
    }

    /// The current value; `None` for a missing key.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<Value<'_>> {
        let found = match self.found.get() {
            Found::Unknown => self.find(),
            known => known,
        };
        match found {
            Found::Value(kind) => Some(Value { key: self.key, kind, handle: self }),
            Found::Unknown | Found::Missing => None,
        }
    }

    fn find(&self) -> Found {
        // SAFETY: the key is open until `drop`, and the function accepts null (a missing key).
        let found = match unsafe { api!(RedisModule_KeyType)(self.key) } as isize {
            raw::REDISMODULE_KEYTYPE_EMPTY => Found::Missing,
            raw::REDISMODULE_KEYTYPE_STRING => Found::Value(Kind::String),
            raw::REDISMODULE_KEYTYPE_LIST => Found::Value(Kind::List),
            raw::REDISMODULE_KEYTYPE_HASH => Found::Value(Kind::Hash),
            raw::REDISMODULE_KEYTYPE_ZSET => Found::Value(Kind::SortedSet),
            raw::REDISMODULE_KEYTYPE_SET => Found::Value(Kind::Set),
            raw::REDISMODULE_KEYTYPE_STREAM => Found::Value(Kind::Stream),
            _ => Found::Value(Kind::Other),
        };
        self.found.set(found);
        found
    }

    /// The next question asks the server again, because a write may create or delete the key or change its type.
    fn forget(&self) {
        self.found.set(Found::Unknown);
    }

    /// The current value, for changes; `None` for a missing key.
    #[must_use]
    pub fn value_mut(&mut self) -> Option<ValueMut<'_>> {
        self.value().map(ValueMut)
    }

    /// Sets the key to `value` and removes its TTL.
    pub fn set_string(&mut self, value: Str<'_>) -> Result<()> {
        self.forget();
        // SAFETY: the key is open until `drop`, and the server refuses one not open for writing; it takes a reference to the string.
        done(unsafe { api!(RedisModule_StringSet)(self.key, value.raw()) })
    }

    /// Sets a field of the hash; a missing key becomes a hash.
    pub fn set_field(&mut self, field: Str<'_>, value: Str<'_>) {
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        self.forget();
        // SAFETY: the key is open until `drop`. The arguments are pairs of field and value, ended by a null; the server copies both. The
        // result counts the fields that existed, so it is no status.
        unsafe { api!(RedisModule_HashSet)(self.key, NONE, field.raw(), value.raw(), std::ptr::null_mut::<c_char>()) };
    }

    /// Adds an element to the list; a missing key becomes a list.
    pub fn push(&mut self, end: End, value: Str<'_>) -> Result<()> {
        self.forget();
        // SAFETY: the key is open until `drop`, and the server refuses one not open for writing; it copies the element.
        done(unsafe { api!(RedisModule_ListPush)(self.key, list_end(end), value.raw()) })
    }

    /// Adds a member to the sorted set or changes its score; a missing key becomes a sorted set.
    pub fn set_member(&mut self, member: Str<'_>, score: f64) -> Result<()> {
        self.forget();
        // SAFETY: the key is open until `drop`, and no iteration is in progress, since an iteration borrows the handle exclusively. The
        // server accepts null for the flags.
        done(unsafe { api!(RedisModule_ZsetAdd)(self.key, score, member.raw(), std::ptr::null_mut()) })
    }

    /// Sets or removes the TTL of the key, which must exist.
    pub fn set_expiry(&mut self, until: Option<UnixMs>) -> Result<()> {
        self.value_mut().ok_or(Error::WriteRefused)?.set_expiry(until)
    }

    /// Closes the key early: keyspace events must not find it open.
    pub fn close(self) {}
}

impl Drop for KeyHandle {
    fn drop(&mut self) {
        if !self.key.is_null() {
            // SAFETY: the key is open, and no pointer to it outlives this value.
            unsafe { api!(RedisModule_CloseKey)(self.key) };
            open_keys::count(-1);
        }
    }
}

/// The value at an open key, for reading.
pub struct Value<'h> {
    /// Never null: the handle of a missing key returns no value.
    key: *mut raw::RedisModuleKey,
    kind: Kind,
    handle: &'h KeyHandle,
}

/// When a key was last used, as eviction measures it.
#[derive(Debug, Clone, Copy)]
pub enum LastUse {
    /// The time since then in milliseconds.
    Idle(i64),
    /// The logarithm of the number of uses, where the policy counts them.
    Frequency(i64),
}

impl Value<'_> {
    #[must_use]
    pub fn last_use(&self) -> Option<LastUse> {
        let (mut frequency, mut idle) = (-1, -1);
        // SAFETY: the borrow keeps the key open, and the key has a value; the server writes -1 where the policy measures the other.
        unsafe {
            api!(RedisModule_GetLFU)(self.key, &raw mut frequency);
            api!(RedisModule_GetLRU)(self.key, &raw mut idle);
        }
        if frequency >= 0 { Some(LastUse::Frequency(frequency)) } else { (idle >= 0).then_some(LastUse::Idle(idle)) }
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The time at which the key expires; `None` without a TTL.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixMs> {
        // SAFETY: the borrow keeps the key open, and the key has a value.
        u64::try_from(unsafe { api!(RedisModule_GetAbsExpire)(self.key) }).ok().map(UnixMs)
    }

    /// The milliseconds until the key expires, by the server's own clock; `None` without a TTL.
    #[must_use]
    pub fn ttl_ms(&self) -> Option<i64> {
        // SAFETY: the borrow keeps the key open, and the key has a value.
        let ttl = unsafe { api!(RedisModule_GetExpire)(self.key) };
        (ttl != i64::from(raw::REDISMODULE_NO_EXPIRE)).then_some(ttl)
    }

    /// The length of the string, or the number of elements or fields. Does not convert the value.
    #[must_use]
    pub fn length(&self) -> usize {
        // SAFETY: the borrow keeps the key open, and the key has a value.
        unsafe { api!(RedisModule_ValueLength)(self.key) }
    }

    /// Whether a field of the hash may have a TTL.
    #[must_use]
    pub fn fields_expire(&self) -> bool {
        if !FIELDS_EXPIRE.load(Ordering::Relaxed) {
            return false;
        }
        // SAFETY: the load writes the pointer once, before any callback can run.
        let Some(earliest) = (unsafe { raw::RedisModule_HashFieldMinExpire }) else { return true };
        // SAFETY: the borrow keeps the key open, and the key has a value.
        self.kind != Kind::Hash || unsafe { earliest(self.key) } != i64::from(raw::REDISMODULE_NO_EXPIRE)
    }

    /// The value of a field of the hash.
    #[must_use]
    pub fn field(&self, field: Str<'_>) -> Option<OwnedStr> {
        let mut value: *mut raw::RedisModuleString = std::ptr::null_mut();
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        // SAFETY: the borrow keeps the key open. The arguments are pairs of a field and a place for its value, ended by a null; the
        // caller owns a returned string.
        unsafe {
            api!(RedisModule_HashGet)(self.key, NONE, field.raw(), &raw mut value, std::ptr::null_mut::<c_char>());
            (!value.is_null()).then(|| OwnedStr::from_raw(value))
        }
    }

    /// Whether fields of the hash may have TTLs of their own. Unknown, and so `false`, on a server that hides expired fields without
    /// deleting them, as this module's reads do.
    #[must_use]
    pub fn has_field_ttls(&self) -> bool {
        // SAFETY: the load writes the pointer once, before any callback can run. The borrow keeps the key open, and the key has a value.
        let first = unsafe { raw::RedisModule_HashFieldMinExpire.map(|first| first(self.key)) };
        first.is_some_and(|first| first != i64::from(raw::REDISMODULE_NO_EXPIRE))
    }

    /// An element of the list by its index; a negative index counts from the tail.
    #[must_use]
    pub fn element(&self, index: i64) -> Option<OwnedStr> {
        // SAFETY: the borrow keeps the key open, and the key has a value; the caller owns a returned element.
        unsafe {
            let element = api!(RedisModule_ListGet)(self.key, index);
            (!element.is_null()).then(|| OwnedStr::from_raw(element))
        }
    }

    /// The score of a member of the sorted set.
    #[must_use]
    pub fn score(&self, member: Str<'_>) -> Option<f64> {
        let mut score = 0.0;
        // SAFETY: the borrow keeps the key open, and the key has a value. The server writes the score only if it returns OK.
        let status = unsafe { api!(RedisModule_ZsetScore)(self.key, member.raw(), &raw mut score) };
        done(status).ok().map(|()| score)
    }
}

/// The value at an open key, for changes. A call that may delete the key consumes it.
pub struct ValueMut<'h>(Value<'h>);

impl<'h> Deref for ValueMut<'h> {
    type Target = Value<'h>;

    fn deref(&self) -> &Value<'h> {
        &self.0
    }
}

impl<'h> AsRef<Value<'h>> for Value<'h> {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<'h> AsRef<Value<'h>> for ValueMut<'h> {
    fn as_ref(&self) -> &Value<'h> {
        &self.0
    }
}

impl<'h> ValueMut<'h> {
    /// The open key, never null.
    pub(super) fn raw(&self) -> *mut raw::RedisModuleKey {
        self.0.key
    }

    /// The bytes of the string. The server converts an embedded or integer string to a plain one with the same bytes.
    #[must_use]
    pub fn string_bytes(&mut self) -> &[u8] {
        let (start, len) = self.dma(raw::REDISMODULE_READ);
        // SAFETY: the server returns the start and the length of the string, and the borrow of `self` ends before any write.
        if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
    }

    /// As [`ValueMut::string_bytes`], for as long as the handle is borrowed.
    #[must_use]
    pub fn into_string_bytes(mut self) -> &'h [u8] {
        let (start, len) = self.dma(raw::REDISMODULE_READ);
        // SAFETY: the server returns the start and the length of the string, and `'h` borrows the handle, so no write happens before
        // it ends.
        if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
    }

    /// Overwrites the string with `bytes` if the lengths are equal; otherwise changes nothing and returns false.
    #[must_use]
    pub fn overwrite(&mut self, bytes: &[u8]) -> bool {
        if self.length() != bytes.len() {
            return false;
        }
        match self.bytes_mut() {
            Some(value) if value.len() == bytes.len() => {
                value.copy_from_slice(bytes);
                true
            }
            _ => false,
        }
    }

    /// Writes `bytes` at `offset` of the string and extends the string if necessary.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len()).ok_or(Error::WriteRefused)?;
        if end > self.length() {
            // SAFETY: the borrow keeps the key open; the server refuses another type and a key not open for writing.
            done(unsafe { api!(RedisModule_StringTruncate)(self.0.key, end) })?;
        }
        let value = self.bytes_mut().ok_or(Error::WriteRefused)?;
        value.get_mut(offset..end).ok_or(Error::WriteRefused)?.copy_from_slice(bytes);
        Ok(())
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let (start, len) = self.dma(raw::REDISMODULE_WRITE);
        // SAFETY: the server returns the start and the length of a string that it has unshared, and `self` is borrowed exclusively.
        (!start.is_null()).then(|| unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// The start and the length of the string; null for another type.
    fn dma(&mut self, mode: u32) -> (*mut u8, usize) {
        let mut len = 0;
        // SAFETY: the borrow keeps the key open, and the key has a value; the server writes the length.
        let start = unsafe { api!(RedisModule_StringDMA)(self.0.key, &raw mut len, mode as c_int) };
        (start.cast(), len)
    }

    /// Sets or removes the TTL.
    pub fn set_expiry(&mut self, until: Option<UnixMs>) -> Result<()> {
        let until = until.map_or(raw::REDISMODULE_NO_EXPIRE.into(), UnixMs::as_i64);
        // SAFETY: the borrow keeps the key open, and the key has a value; the server refuses a key not open for writing.
        done(unsafe { api!(RedisModule_SetAbsExpire)(self.0.key, until) })
    }

    pub fn delete(self) -> Result<()> {
        self.0.handle.forget();
        // SAFETY: the borrow keeps the key open; the server refuses a key not open for writing.
        done(unsafe { api!(RedisModule_DeleteKey)(self.0.key) })
    }

    /// Removes an element from the list and returns it. The server deletes the key with its last element.
    pub fn pop(self, end: End) -> Option<OwnedStr> {
        self.0.handle.forget();
        // SAFETY: the borrow keeps the key open, and the key has a value; the caller owns a returned element.
        unsafe {
            let element = api!(RedisModule_ListPop)(self.0.key, list_end(end));
            (!element.is_null()).then(|| OwnedStr::from_raw(element))
        }
    }

    /// Removes a member from the sorted set. The server deletes the key with its last member.
    pub fn remove_member(self, member: Str<'_>) -> Result<()> {
        self.0.handle.forget();
        // SAFETY: the borrow keeps the key open, and no iteration is in progress, since an iteration owns the `ValueMut`. The server
        // accepts null for the flag that reports whether the member existed.
        done(unsafe { api!(RedisModule_ZsetRem)(self.0.key, member.raw(), std::ptr::null_mut()) })
    }
}

fn list_end(end: End) -> c_int {
    match end {
        End::Left => raw::REDISMODULE_LIST_HEAD as c_int,
        End::Right => raw::REDISMODULE_LIST_TAIL as c_int,
    }
}
