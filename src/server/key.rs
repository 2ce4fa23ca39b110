//! An open key and the value at it: the raw calls of the module API on a key, but for those of sorted sets.
//!
//! A key that is open may hold nothing, and what the server makes of a question about nothing differs by version: `RM_GetAbsExpire`
//! on a missing key answers "no TTL" up to Redis 8.0 and ends the server from 8.2 on, whatever its documentation says. So only a
//! [`Value`] can be asked: the handle gives one out after it has looked, and none for a missing key.
//!
//! A [`Value`] borrows the handle, so nothing is written while one is in use. A [`ValueMut`] is the only way to change what is there;
//! a write that may delete the key consumes it, so whoever goes on has to look again. What creates or replaces a value is a method
//! of the handle itself.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::ops::Deref;
use std::slice;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api, done};
use crate::error::{Error, Result};
use crate::primitives::effect::End;
use crate::primitives::time::UnixMs;

/// The type of a value, as far as we care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
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

thread_local! {
    /// How many keys are open. Debug builds, and so all tests, see to it that the server's commands never run meanwhile.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// Whatever may change keys behind our back starts here: a handle that is open would be stale after it.
pub fn assert_none_is_open() {
    debug_assert!(OPEN.get() == 0, "a key handle is open across a call of the server");
}

fn count_open(change: isize) {
    if cfg!(debug_assertions) {
        OPEN.set(OPEN.get().saturating_add_signed(change));
    }
}

impl Ctx {
    /// Opens a key to change it. A missing key can be created through the handle.
    #[must_use]
    pub fn open_for_writing(self, key: Str<'_>) -> KeyHandle {
        const MODE: c_int = (raw::REDISMODULE_READ | raw::REDISMODULE_WRITE) as c_int;
        // SAFETY: context and key name belong to the running command.
        KeyHandle::new(unsafe { api!(RedisModule_OpenKey)(self.raw(), key.raw(), MODE) }.cast())
    }

    /// Opens a key to read it; a missing key gives a handle without a value.
    #[must_use]
    pub fn open_for_reading(self, key: Str<'_>) -> KeyHandle {
        // SAFETY: context and key name belong to the running command.
        KeyHandle::new(unsafe { api!(RedisModule_OpenKey)(self.raw(), key.raw(), raw::REDISMODULE_READ as c_int) }.cast())
    }
}

/// An open key, which may hold nothing. Closed when dropped.
pub struct KeyHandle(*mut raw::RedisModuleKey);

impl KeyHandle {
    /// Takes over an open key, or null for a missing key that was opened for reading.
    fn new(key: *mut raw::RedisModuleKey) -> Self {
        if !key.is_null() {
            count_open(1);
        }
        Self(key)
    }

    /// What the key holds now; `None` for a missing key.
    #[must_use]
    pub fn value(&self) -> Option<Value<'_>> {
        // SAFETY: the handle is open; a null one (a missing key) is allowed.
        let kind = match unsafe { api!(RedisModule_KeyType)(self.0) } as isize {
            raw::REDISMODULE_KEYTYPE_EMPTY => return None,
            raw::REDISMODULE_KEYTYPE_STRING => Kind::String,
            raw::REDISMODULE_KEYTYPE_LIST => Kind::List,
            raw::REDISMODULE_KEYTYPE_HASH => Kind::Hash,
            raw::REDISMODULE_KEYTYPE_ZSET => Kind::SortedSet,
            raw::REDISMODULE_KEYTYPE_SET => Kind::Set,
            _ => Kind::Other,
        };
        Some(Value { key: self.0, kind, open: PhantomData })
    }

    /// What the key holds now, to change it; `None` for a missing key.
    #[must_use]
    pub fn value_mut(&mut self) -> Option<ValueMut<'_>> {
        self.value().map(ValueMut)
    }

    /// Makes `value` the key's value. The TTL is gone.
    pub fn set_string(&mut self, value: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing; the server takes a reference to the string.
        done(unsafe { api!(RedisModule_StringSet)(self.0, value.raw()) })
    }

    /// Sets a field of the hash; a missing key becomes a hash.
    pub fn set_field(&mut self, field: Str<'_>, value: Str<'_>) {
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        // SAFETY: pairs of a field and its value, ended by a null; the server copies both. The count that comes back is that of fields
        // that existed.
        unsafe { api!(RedisModule_HashSet)(self.0, NONE, field.raw(), value.raw(), std::ptr::null_mut::<c_char>()) };
    }

    /// Adds an element to the list; a missing key becomes a list.
    pub fn push(&mut self, end: End, value: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing; the server copies the element.
        done(unsafe { api!(RedisModule_ListPush)(self.0, list_end(end), value.raw()) })
    }

    /// Adds a member to the sorted set or changes its score; a missing key becomes a sorted set.
    pub fn set_member(&mut self, member: Str<'_>, score: f64) -> Result<()> {
        // SAFETY: the handle is open for writing and no iteration goes on, since that borrows it; without flags the server neither
        // reads nor writes any.
        done(unsafe { api!(RedisModule_ZsetAdd)(self.0, score, member.raw(), std::ptr::null_mut()) })
    }

    /// Sets or removes the TTL of the key, which must exist.
    pub fn set_expiry(&mut self, until: Option<UnixMs>) -> Result<()> {
        self.value_mut().ok_or(Error::WriteRefused)?.set_expiry(until)
    }

    /// Closes the key before its owner is dropped, since events must not find it open.
    pub fn close(self) {}
}

impl Drop for KeyHandle {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is open, and nobody has it after this.
            unsafe { api!(RedisModule_CloseKey)(self.0) };
            count_open(-1);
        }
    }
}

/// The value at an open key, for reading.
pub struct Value<'h> {
    /// Never null: a null handle has no value.
    key: *mut raw::RedisModuleKey,
    kind: Kind,
    open: PhantomData<&'h KeyHandle>,
}

impl Value<'_> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// When the key ends; `None` without a TTL.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixMs> {
        // SAFETY: the handle is open and holds a value.
        u64::try_from(unsafe { api!(RedisModule_GetAbsExpire)(self.key) }).ok().map(UnixMs)
    }

    /// The length of the string, the number of elements or fields. Does not touch the value.
    #[must_use]
    pub fn length(&self) -> usize {
        // SAFETY: the handle is open and holds a value.
        unsafe { api!(RedisModule_ValueLength)(self.key) }
    }

    /// The value of a field of the hash.
    #[must_use]
    pub fn field(&self, field: Str<'_>) -> Option<OwnedStr> {
        let mut value: *mut raw::RedisModuleString = std::ptr::null_mut();
        const NONE: c_int = raw::REDISMODULE_HASH_NONE as c_int;
        // SAFETY: pairs of a field and a place for its value, ended by a null; a string that comes back belongs to us.
        unsafe {
            api!(RedisModule_HashGet)(self.key, NONE, field.raw(), &raw mut value, std::ptr::null_mut::<c_char>());
            (!value.is_null()).then(|| OwnedStr::from_raw(value))
        }
    }

    /// An element of the list by its index, negative from the tail.
    #[must_use]
    pub fn element(&self, index: i64) -> Option<OwnedStr> {
        // SAFETY: the handle is open and holds a value; the element that comes back belongs to us.
        unsafe {
            let element = api!(RedisModule_ListGet)(self.key, index);
            (!element.is_null()).then(|| OwnedStr::from_raw(element))
        }
    }

    /// The score of a member of the sorted set.
    #[must_use]
    pub fn score(&self, member: Str<'_>) -> Option<f64> {
        let mut score = 0.0;
        // SAFETY: the handle is open and holds a value; the server writes the score when there is one, and only then answers OK.
        let status = unsafe { api!(RedisModule_ZsetScore)(self.key, member.raw(), &raw mut score) };
        done(status).ok().map(|()| score)
    }
}

/// The value at an open key, for changing it. Whatever may delete the key consumes this.
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
    /// The handle, for the iteration of a sorted set.
    pub fn raw(&self) -> *mut raw::RedisModuleKey {
        self.0.key
    }

    /// The bytes of the string. The server turns an embedded or integer string into a plain one of the same content.
    #[must_use]
    pub fn string_bytes(&mut self) -> &[u8] {
        let (start, len) = self.dma(raw::REDISMODULE_READ);
        // SAFETY: the server gives out that many bytes; the borrow of `self` ends before any write.
        if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
    }

    /// [`ValueMut::string_bytes`] for as long as the key is borrowed.
    #[must_use]
    pub fn into_string_bytes(mut self) -> &'h [u8] {
        let (start, len) = self.dma(raw::REDISMODULE_READ);
        // SAFETY: as above; nothing can be written while the handle is borrowed.
        if start.is_null() { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
    }

    /// Writes `bytes` over the string when both have the same length; false when they do not, and nothing happened.
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

    /// Writes `bytes` at `offset` of the string, which grows when it has to.
    pub fn patch(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        let end = offset.checked_add(bytes.len()).ok_or(Error::WriteRefused)?;
        if end > self.length() {
            // SAFETY: the handle is open for writing and holds a value; another type is refused.
            done(unsafe { api!(RedisModule_StringTruncate)(self.0.key, end) })?;
        }
        let value = self.bytes_mut().ok_or(Error::WriteRefused)?;
        value.get_mut(offset..end).ok_or(Error::WriteRefused)?.copy_from_slice(bytes);
        Ok(())
    }

    fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        let (start, len) = self.dma(raw::REDISMODULE_WRITE);
        // SAFETY: the server gives out that many bytes of a string that nobody else shares after this call.
        (!start.is_null()).then(|| unsafe { slice::from_raw_parts_mut(start, len) })
    }

    /// Start and length of the string; null for another type.
    fn dma(&mut self, mode: u32) -> (*mut u8, usize) {
        let mut len = 0;
        // SAFETY: the handle is open, for writing if that is asked for, and holds a value.
        let start = unsafe { api!(RedisModule_StringDMA)(self.0.key, &raw mut len, mode as c_int) };
        (start.cast(), len)
    }

    /// Sets or removes the TTL.
    pub fn set_expiry(&mut self, until: Option<UnixMs>) -> Result<()> {
        let until = until.map_or(raw::REDISMODULE_NO_EXPIRE.into(), UnixMs::as_i64);
        // SAFETY: the handle is open for writing and holds a value.
        done(unsafe { api!(RedisModule_SetAbsExpire)(self.0.key, until) })
    }

    /// Deletes the key.
    pub fn delete(self) -> Result<()> {
        // SAFETY: the handle is open for writing.
        done(unsafe { api!(RedisModule_DeleteKey)(self.0.key) })
    }

    /// Takes an element from the list; the key goes with the last one.
    pub fn pop(self, end: End) -> Option<OwnedStr> {
        // SAFETY: the handle is open for writing and holds a value; the element that comes back belongs to us.
        unsafe {
            let element = api!(RedisModule_ListPop)(self.0.key, list_end(end));
            (!element.is_null()).then(|| OwnedStr::from_raw(element))
        }
    }

    /// Removes a member from the sorted set; the key goes with the last one.
    pub fn remove_member(self, member: Str<'_>) -> Result<()> {
        // SAFETY: the handle is open for writing and no iteration goes on, since that borrows this; the server need not say whether
        // the member was there.
        done(unsafe { api!(RedisModule_ZsetRem)(self.0.key, member.raw(), std::ptr::null_mut()) })
    }
}

fn list_end(end: End) -> c_int {
    match end {
        End::Left => raw::REDISMODULE_LIST_HEAD as c_int,
        End::Right => raw::REDISMODULE_LIST_TAIL as c_int,
    }
}
