//! The only code that reads and changes keys, replicates the changes and publishes their events.
//!
//! A command passes a key and a pure decision to [`Keyspace`]. The decision returns an [`Effect`], and [`KeyEntry::apply`] writes,
//! replicates and announces that one value. So the key, the replicas, the AOF and the keyspace events cannot disagree, and no other code
//! of the module changes a key.

pub mod change;
pub mod fence;
pub mod growth;
pub mod leases;
mod replicate;
pub mod sorted_set;

use std::cell::Cell;

use self::change::{Events, Payload};
use self::sorted_set::SortedSet;
use crate::error::{Error, Result};
use crate::primitives::cas::Comparison;
use crate::primitives::codec::Bytes;
use crate::primitives::effect::{Effect, End};
use crate::primitives::time::{UnixMicros, UnixMs};
use crate::server::clock;
use crate::server::in_place::ArgVector;
use crate::server::key::{KeyHandle, Kind, Value, ValueMut};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::state::ContextFlags;

/// The keyspace as one command sees it: the selected database, at one time.
pub struct Keyspace {
    ctx: Ctx,
    argv: Option<ArgVector>,
    now: Cell<Option<UnixMicros>>,
    of_script: bool,
}

impl Keyspace {
    /// The keyspace for the command of `ctx`. Reads the clock once, when a decision needs it.
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx, argv: None, now: Cell::new(None), of_script: false }
    }

    /// The keyspace for a command that the server has entered with these words, and that runs no other command.
    #[must_use]
    pub fn of_command(ctx: Ctx, argv: Option<ArgVector>) -> Self {
        Self { argv, ..Self::new(ctx) }
    }

    /// The keyspace for a native command that a script calls without the server; `ctx` belongs to the command that runs the script.
    #[must_use]
    pub fn of_script(ctx: Ctx) -> Self {
        Self { of_script: true, ..Self::new(ctx) }
    }

    /// The state of the server and of the running command. Inside a script a command must not block the client, which waits for the
    /// script's reply.
    #[must_use]
    pub fn flags(&self) -> ContextFlags {
        let flags = self.ctx.flags();
        if self.of_script { flags.of_script() } else { flags }
    }

    /// The context of the command, for calls that are not about keys.
    #[must_use]
    pub fn ctx(&self) -> Ctx {
        self.ctx
    }

    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.now.get().unwrap_or_else(|| {
            let now = clock::now();
            self.now.set(Some(now));
            now
        })
    }

    /// Whether a command that replicates in place must be longer than this.
    fn has_words_beyond(&self, words: usize) -> bool {
        self.argv.is_some_and(|argv| argv.has_room_for(words.saturating_add(1)))
    }

    /// Opens a key for a decision that may change it.
    #[must_use]
    pub fn entry<'k>(&'k self, key: Str<'k>) -> KeyEntry<'k> {
        KeyEntry { keyspace: self, key, handle: self.ctx.open_for_writing(key) }
    }

    /// Whether the key exists. Works on replicas.
    #[must_use]
    pub fn exists(&self, key: Str<'_>) -> bool {
        self.ctx.open_for_reading(key).value().is_some()
    }

    /// Reads a string key and decodes its bytes. Works on replicas.
    pub fn read<T>(&self, key: Str<'_>, decode: impl FnOnce(Found<'_>) -> Result<T>) -> Result<Option<T>> {
        read_string(&mut self.ctx.open_for_reading(key), decode)
    }

    /// The values of fields of a hash, `None` for each missing field. Works on replicas.
    pub fn fields<'f>(&self, key: Str<'_>, fields: impl Iterator<Item = Str<'f>>) -> Result<Vec<Option<OwnedStr>>> {
        let handle = self.ctx.open_for_reading(key);
        let hash = of_kind(handle.value(), Kind::Hash)?;
        Ok(fields.map(|field| hash.as_ref()?.field(field)).collect())
    }

    /// Reads a sorted set; a missing key is `None`. Works on replicas.
    pub fn read_sorted_set<T>(&self, key: Str<'_>, read: impl FnOnce(&mut SortedSet<'_>) -> Result<T>) -> Result<Option<T>> {
        let mut handle = self.ctx.open_for_reading(key);
        let mut set = SortedSet::at(&mut handle)?;
        if set.is_missing() { Ok(None) } else { read(&mut set).map(Some) }
    }

    /// Applies the effects of one decision about several keys. All are written and replicated before any is announced. Each key is closed
    /// before the next one changes, so no handle misses a write.
    pub fn apply_all<V: Payload>(&self, effects: Vec<(Str<'_>, Effect<V>)>) -> Result<()> {
        let mut made = Vec::with_capacity(effects.len());
        for (key, effect) in effects {
            made.push((key, change::make(self, key, self.ctx.open_for_writing(key), &effect)?));
        }
        made.into_iter().for_each(|(key, events)| self.announce(key, events));
        Ok(())
    }

    fn announce(&self, key: Str<'_>, events: Events) {
        if events.iter().next().is_some() {
            self.ctx.changed(key, events.iter());
        }
    }

    /// Reads a string key, decides, applies the effect.
    pub fn transact<T, R, V: Payload>(
        &self,
        key: Str<'_>,
        decode: impl FnOnce(Found<'_>) -> Result<T>,
        decide: impl FnOnce(Option<T>, UnixMicros) -> Result<(R, Effect<V>)>,
    ) -> Result<R> {
        let mut entry = self.entry(key);
        let stored = read_string(&mut entry.handle, decode)?;
        let (outcome, effect) = decide(stored, self.now())?;
        entry.apply(effect)?;
        Ok(outcome)
    }
}

fn read_string<T>(handle: &mut KeyHandle, decode: impl FnOnce(Found<'_>) -> Result<T>) -> Result<Option<T>> {
    of_kind(handle.value_mut(), Kind::String)?.map(|string| decode(Found(string))).transpose()
}

/// Refuses a value of another type. A missing key is `None`.
fn of_kind<'h, V: AsRef<Value<'h>>>(value: Option<V>, kind: Kind) -> Result<Option<V>> {
    match value {
        Some(value) if value.as_ref().kind() != kind => Err(Error::WrongType),
        value => Ok(value),
    }
}

/// The string at a key. Its TTL costs a lookup, so it is read only on request.
pub struct Found<'h>(ValueMut<'h>);

impl Found<'_> {
    #[must_use]
    pub fn bytes(&mut self) -> &[u8] {
        self.0.string_bytes()
    }

    /// The time at which the key expires; `None` without a TTL.
    #[must_use]
    pub fn until(&self) -> Option<UnixMs> {
        self.0.expiry()
    }
}

/// A key that is open for a decision. Closed when dropped or applied.
pub struct KeyEntry<'k> {
    keyspace: &'k Keyspace,
    key: Str<'k>,
    handle: KeyHandle,
}

impl<'k> KeyEntry<'k> {
    /// Compares the key's string with `expected`. Compares the lengths first, because a read makes the server convert an embedded string
    /// to a separate allocation (with the same bytes).
    pub fn compare(&mut self, expected: &[u8]) -> Result<Comparison> {
        let Some(mut string) = of_kind(self.handle.value_mut(), Kind::String)? else { return Ok(Comparison::Missing) };
        let equal = string.length() == expected.len() && string.string_bytes() == expected;
        Ok(if equal { Comparison::Equal } else { Comparison::Different })
    }

    /// Whether the key holds a string. Does not read it.
    pub fn holds_string(&self) -> Result<bool> {
        Ok(of_kind(self.handle.value(), Kind::String)?.is_some())
    }

    /// The string, or `None` for a missing key.
    pub fn string(&mut self) -> Result<Option<&[u8]>> {
        Ok(of_kind(self.handle.value_mut(), Kind::String)?.map(ValueMut::into_string_bytes))
    }

    /// The value of a field of the hash, or `None` for a missing key or field.
    pub fn field(&self, field: Str<'_>) -> Result<Option<OwnedStr>> {
        Ok(of_kind(self.handle.value(), Kind::Hash)?.and_then(|hash| hash.field(field)))
    }

    /// The number of elements of the list, 0 for a missing key.
    pub fn list_len(&self) -> Result<usize> {
        Ok(of_kind(self.handle.value(), Kind::List)?.map_or(0, |list| list.length()))
    }

    /// The first `count` elements of the list, in the order of pops at `end`.
    pub fn list_elements(&self, end: End, count: usize) -> Result<Vec<Vec<u8>>> {
        let Some(list) = of_kind(self.handle.value(), Kind::List)? else { return Ok(Vec::new()) };
        let count = i64::try_from(count.min(list.length())).unwrap_or(i64::MAX);
        let index = |nth: i64| if end == End::Left { nth } else { (-1_i64).saturating_sub(nth) };
        let element = |nth| list.element(index(nth)).map(|element| element.as_str().bytes().to_vec());
        Ok((0..count).filter_map(element).collect())
    }

    /// Removes `count` elements from the list, or all that it has, and returns them. Replicates and announces that.
    pub fn pop(self, end: End, count: u64) -> Vec<Bytes> {
        let mut popped = Vec::new();
        if count > 0 {
            let (keyspace, key) = (self.keyspace, self.key);
            let take = |element: OwnedStr| popped.push(Bytes::from_slice(element.as_str().bytes()));
            let events = change::pop(keyspace, key, self.handle, (end, count), take);
            keyspace.announce(key, events);
        }
        popped
    }

    /// The sorted set; an empty one for a missing key.
    pub fn sorted_set(&mut self) -> Result<SortedSet<'_>> {
        SortedSet::at(&mut self.handle)
    }

    /// The time at which the key expires; `None` without a TTL or for a missing key.
    #[must_use]
    pub fn expiry(&self) -> Option<UnixMs> {
        self.handle.value()?.expiry()
    }

    /// Opens another key for the same decision.
    #[must_use]
    pub fn other<'o>(&self, key: Str<'o>) -> KeyEntry<'o>
    where
        'k: 'o,
    {
        self.keyspace.entry(key)
    }

    /// As [`KeyEntry::apply`], together with the effects of the same decision on other keys.
    pub fn apply_with<V: Payload>(self, effect: Effect<V>, others: Vec<(Str<'_>, Effect<V>)>) -> Result<()> {
        if others.is_empty() {
            return self.apply(effect);
        }
        let (keyspace, key) = (self.keyspace, self.key);
        self.handle.close();
        keyspace.apply_all([(key, effect)].into_iter().chain(others).collect())
    }

    /// As [`KeyEntry::apply`], together with the effect of the same decision on another key.
    pub fn apply_both<V: Payload>(self, effect: Effect<V>, other: KeyEntry<'_>, of_other: Effect<V>) -> Result<()> {
        let keyspace = self.keyspace;
        let events = change::make(keyspace, self.key, self.handle, &effect)?;
        let of_other = change::make(keyspace, other.key, other.handle, &of_other)?;
        keyspace.announce(self.key, events);
        keyspace.announce(other.key, of_other);
        Ok(())
    }

    /// Writes and replicates the effect, then signals WATCH, client caches and subscribers.
    pub fn apply<V: Payload>(self, effect: Effect<V>) -> Result<()> {
        if matches!(effect, Effect::Keep) {
            return Ok(());
        }
        let (keyspace, key) = (self.keyspace, self.key);
        let events = change::make(keyspace, key, self.handle, &effect)?;
        keyspace.announce(key, events);
        Ok(())
    }
}
