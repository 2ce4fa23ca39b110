//! Layer 2: the only code that opens keys, reads the clock, writes, replicates and notifies.
//!
//! A command hands a key and a pure decision to [`Keyspace`]; the [`Effect`] that comes back is applied, replicated and notified from
//! that one value, in [`Entry::apply`]. So the key, the replicas, the AOF and the keyspace events cannot disagree, and nothing else in
//! this crate can change a key.

pub mod args;
pub mod call;
pub mod clock;
pub mod fence;
pub mod module_api;
pub mod reply;
pub mod server_thread;

mod replicate;

use self::module_api::{Ctx, KeyHandle, Kind, OwnedStr, Str};
use crate::error::{Error, Result};
use crate::primitives::cas::Comparison;
use crate::primitives::effect::{Effect, Expiry};
use crate::primitives::time::{UnixMicros, UnixMs};

/// The keyspace as one command sees it: the selected database, at one time.
pub struct Keyspace {
    ctx: Ctx,
    now: UnixMicros,
}

impl Keyspace {
    /// The keyspace for the command that `ctx` belongs to. Reads the clock, once.
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx, now: clock::now() }
    }

    /// The context of the command, for what is not about keys.
    #[must_use]
    pub fn ctx(&self) -> Ctx {
        self.ctx
    }

    /// The time of this command.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.now
    }

    /// Opens a key for a decision that may change it.
    #[must_use]
    pub fn entry<'k>(&'k self, key: Str<'k>) -> Entry<'k> {
        Entry { keyspace: self, key, handle: self.ctx.open_for_writing(key) }
    }

    /// Reads a string key and hands its bytes to `decode`. Works on replicas.
    pub fn read<T>(&self, key: Str<'_>, decode: impl FnOnce(&[u8], Option<UnixMs>) -> Result<T>) -> Result<Option<T>> {
        match self.ctx.open_for_reading(key) {
            None => Ok(None),
            Some(mut handle) => read_string(&mut handle, decode),
        }
    }

    /// Reads a string key, decides, applies the effect.
    pub fn transact<T, R, V: Payload>(
        &self,
        key: Str<'_>,
        decode: impl FnOnce(&[u8], Option<UnixMs>) -> Result<T>,
        decide: impl FnOnce(Option<T>, UnixMicros) -> (R, Effect<V>),
    ) -> Result<R> {
        let mut entry = self.entry(key);
        let stored = read_string(&mut entry.handle, decode)?;
        let (outcome, effect) = decide(stored, self.now);
        entry.apply(effect)?;
        Ok(outcome)
    }
}

fn read_string<T>(handle: &mut KeyHandle, decode: impl FnOnce(&[u8], Option<UnixMs>) -> Result<T>) -> Result<Option<T>> {
    match handle.kind() {
        Kind::Missing => Ok(None),
        Kind::Other => Err(Error::WrongType),
        Kind::String => {
            let until = handle.expiry();
            decode(handle.string_bytes(), until).map(Some)
        }
    }
}

/// An opened key. It is closed when this is dropped or applied.
pub struct Entry<'k> {
    keyspace: &'k Keyspace,
    key: Str<'k>,
    handle: KeyHandle,
}

impl Entry<'_> {
    /// Compares the key's string with `expected`. Lengths first: only a value of the same length is read, since reading an embedded
    /// string makes the server store it apart (the value stays the same).
    pub fn compare(&mut self, expected: &[u8]) -> Result<Comparison> {
        match self.handle.kind() {
            Kind::Missing => Ok(Comparison::Missing),
            Kind::Other => Err(Error::WrongType),
            Kind::String if self.handle.string_len() != expected.len() => Ok(Comparison::Different),
            Kind::String if self.handle.string_bytes() == expected => Ok(Comparison::Equal),
            Kind::String => Ok(Comparison::Different),
        }
    }

    /// Makes the change, replicates it, then tells WATCH, client caches and subscribers. The only way to change a key.
    pub fn apply<V: Payload>(mut self, effect: Effect<V>) -> Result<()> {
        let missing = self.handle.kind() == Kind::Missing;
        let effect = match effect.settled(self.keyspace.now.floor_ms()) {
            Effect::Delete | Effect::Expire(_) if missing => return Ok(()),
            Effect::Keep => return Ok(()),
            effect => effect,
        };
        let ctx = self.keyspace.ctx;
        match effect {
            Effect::Keep => {}
            Effect::Delete => {
                self.handle.delete()?;
                self.handle.close();
                replicate::delete(ctx, self.key);
                ctx.changed(self.key, &[module_api::Event::Deleted]);
            }
            Effect::Expire(at) => {
                self.handle.set_expiry(Some(at))?;
                self.handle.close();
                replicate::expire(ctx, self.key, at);
                ctx.changed(self.key, &[module_api::Event::Expiring]);
            }
            Effect::Put { value, expiry } => {
                let value = value.value();
                value.store(&mut self.handle, expiry)?;
                self.handle.close();
                replicate::put(ctx, self.key, value.as_str(), expiry);
                let events = [module_api::Event::Set, module_api::Event::Expiring];
                let len = if matches!(expiry, Expiry::At(_)) { 2 } else { 1 };
                ctx.changed(self.key, events.get(..len).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// What a decision may name as the value of a string key.
pub trait Payload {
    /// The value as a string of the server.
    fn value<'v>(self) -> Value<'v>
    where
        Self: 'v;
}

/// A value on its way into a key.
pub enum Value<'v> {
    /// A client's own argument; it becomes the value without being copied.
    Argument(Str<'v>),
    /// A state of ours. One that keeps its length is overwritten in place, which is what makes a limiter as cheap as a SET.
    State(OwnedStr),
}

impl Payload for Str<'_> {
    fn value<'v>(self) -> Value<'v>
    where
        Self: 'v,
    {
        self.trim();
        Value::Argument(self)
    }
}

impl Payload for Vec<u8> {
    fn value<'v>(self) -> Value<'v> {
        Value::State(OwnedStr::new(&self))
    }
}

impl Value<'_> {
    fn as_str(&self) -> Str<'_> {
        match self {
            Self::Argument(string) => *string,
            Self::State(string) => string.as_str(),
        }
    }

    /// Writes the value and settles its TTL.
    fn store(&self, handle: &mut KeyHandle, expiry: Expiry) -> Result<()> {
        let in_place = matches!(self, Self::State(state)
            if handle.kind() == Kind::String && handle.overwrite(state.as_str().bytes()));
        // A replaced string takes its TTL with it, so a TTL to keep is read before.
        let until = match expiry {
            Expiry::Keep if in_place => return Ok(()),
            Expiry::Keep => handle.expiry(),
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        if !in_place {
            handle.set_string(self.as_str())?;
        }
        if in_place || until.is_some() { handle.set_expiry(until) } else { Ok(()) }
    }
}
