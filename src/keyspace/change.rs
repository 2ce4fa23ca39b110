//! The one place that changes keys: an effect becomes a write, and the same effect becomes the commands that replicate it.
//!
//! One effect is the exact write of a server command (`HINCRBY`), so the server runs that command, replicates and announces it.

use super::sorted_set::SortedSet;
use super::{Keyspace, replicate};
use crate::error::{Error, Result};
use crate::primitives::due::Score;
use crate::primitives::effect::{Effect, End, Expiry, Part, Scheduled};
use crate::primitives::time::UnixMs;
use crate::server::kept::{NX, XX};
use crate::server::key::{KeyHandle, Kind};
use crate::server::module_api::{Event, OwnedStr, Str};

/// Makes the change and replicates it. Returns the events to announce: none if nothing changed or the server has announced the change.
pub(super) fn make<V: Payload>(keyspace: &Keyspace, key: Str<'_>, handle: KeyHandle, effect: Effect<V>) -> Result<Events> {
    let missing = handle.value().is_none();
    let change = Change { keyspace, key, handle };
    match effect.settled(keyspace.now().floor_ms()) {
        Effect::Delete | Effect::Expire(_) if missing => Ok(Events::default()),
        Effect::Keep => Ok(Events::default()),
        Effect::Delete => change.delete(),
        Effect::Expire(at) => change.expire(at),
        Effect::Put { value, expiry } => change.put(&value.value(), expiry),
        Effect::Patch { parts, until } => change.patch(&parts, until),
        Effect::SetField { field, value } => Ok(change.set_field(&field.value(), &value.value())),
        Effect::AddToField { field, delta } => change.add_to_field(&field.value(), delta),
        Effect::Push { end, values, dropped, until } => {
            let values: Vec<_> = values.into_iter().map(Payload::value).collect();
            change.push(end, &values, dropped, until)
        }
        Effect::Pop { end, count } => Ok(change.pop(end, count)),
        Effect::Members { set, removed, until } => {
            let set: Vec<_> = set.into_iter().map(|(member, score)| (member.value(), score)).collect();
            let removed: Vec<_> = removed.into_iter().map(Payload::value).collect();
            change.members(&set, &removed, until)
        }
        Effect::Schedule(Scheduled { added, moved, removed, until }) => {
            let scored = |members: Vec<(V, Score)>| members.into_iter().map(|(member, score)| (member.value(), score)).collect();
            let removed = removed.into_iter().map(Payload::value).collect();
            change.schedule(&Scheduled { added: scored(added), moved: scored(moved), removed, until })
        }
    }
}

/// The keyspace events of one change, in order, without an allocation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Events([Option<Event>; 4]);

impl<const N: usize> From<[Event; N]> for Events {
    fn from(events: [Event; N]) -> Self {
        events.into_iter().fold(Self::default(), |all, event| all.and(Some(event)))
    }
}

impl Events {
    fn and(mut self, event: Option<Event>) -> Self {
        if let Some(free) = self.0.iter_mut().find(|place| place.is_none()) {
            *free = event;
        }
        self
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Event> {
        self.0.into_iter().flatten()
    }
}

/// An open key that is about to change.
struct Change<'a> {
    keyspace: &'a Keyspace,
    key: Str<'a>,
    handle: KeyHandle,
}

impl Change<'_> {
    fn delete(mut self) -> Result<Events> {
        let Some(value) = self.handle.value_mut() else { return Ok(Events::default()) };
        value.delete()?;
        replicate::delete(self.keyspace, self.key);
        Ok(Events::from([Event::Deleted]))
    }

    fn expire(mut self, at: UnixMs) -> Result<Events> {
        self.handle.set_expiry(Some(at))?;
        replicate::expire(self.keyspace.ctx, self.key, at);
        Ok(Events::from([Event::Expiring]))
    }

    fn put(mut self, value: &NewValue<'_>, expiry: Expiry) -> Result<Events> {
        let replaces_other = self.handle.value().is_some_and(|old| old.kind() != Kind::String);
        value.store(&mut self.handle, expiry)?;
        replicate::put(self.keyspace, self.key, value.as_str(), expiry, replaces_other);
        Ok(Events::from([Event::Set]).and(matches!(expiry, Expiry::At(_)).then_some(Event::Expiring)))
    }

    fn patch(mut self, parts: &[Part], until: UnixMs) -> Result<Events> {
        let mut string = self.handle.value_mut().filter(|value| value.kind() == Kind::String).ok_or(Error::WriteRefused)?;
        for part in parts {
            string.patch(part.offset, &part.bytes)?;
            replicate::patch(self.keyspace.ctx, self.key, part);
        }
        string.set_expiry(Some(until))?;
        replicate::expire(self.keyspace.ctx, self.key, until);
        Ok(Events::from([Event::Patched, Event::Expiring]))
    }

    fn set_field(mut self, field: &NewValue<'_>, value: &NewValue<'_>) -> Events {
        self.handle.set_field(field.as_str(), value.as_str());
        replicate::set_field(self.keyspace.ctx, self.key, field.as_str(), value.as_str());
        Events::from([Event::FieldSet])
    }

    fn add_to_field(self, field: &NewValue<'_>, delta: i64) -> Result<Events> {
        self.handle.close();
        self.keyspace.ctx.run(c"HINCRBY", &[self.key, field.as_str(), OwnedStr::number(delta).as_str()])?;
        Ok(Events::default())
    }

    fn push(mut self, end: End, values: &[NewValue<'_>], dropped: u64, until: Option<UnixMs>) -> Result<Events> {
        let ctx = self.keyspace.ctx;
        for value in values {
            self.handle.push(end, value.as_str())?;
        }
        let mut events = Events::from([if end == End::Left { Event::PushedLeft } else { Event::PushedRight }]);
        replicate::push(ctx, self.key, end, values.iter().map(NewValue::as_str));
        if let Some(until) = until {
            self.handle.set_expiry(Some(until))?;
            replicate::expire(ctx, self.key, until);
            events = events.and(Some(Event::Expiring));
        }
        if dropped > 0 {
            events = self.pop(end.other(), dropped).iter().fold(events, |events, event| events.and(Some(event)));
        }
        Ok(events)
    }

    /// The server deletes a list with its last element, on the primary and on replicas.
    fn pop(mut self, end: End, count: u64) -> Events {
        let mut pop_one = || self.handle.value_mut()?.pop(end);
        let popped = (0..count).map_while(|_| pop_one()).count();
        if popped == 0 {
            return Events::default();
        }
        let gone = self.handle.value().is_none();
        replicate::pop(self.keyspace.ctx, self.key, end, popped);
        let event = if end == End::Left { Event::PoppedLeft } else { Event::PoppedRight };
        Events::from([event]).and(gone.then_some(Event::Deleted))
    }

    /// Sets members before it removes others: a set that is empty in between would lose its key. The server deletes the key with its last
    /// member, on the primary and on replicas.
    fn members(mut self, set: &[(NewValue<'_>, i64)], removed: &[NewValue<'_>], until: Option<UnixMs>) -> Result<Events> {
        let (ctx, key) = (self.keyspace.ctx, self.key);
        let mut stored = SortedSet::at(&mut self.handle)?;
        let mut events = Events::default();
        if !set.is_empty() {
            set.iter().try_for_each(|(member, score)| stored.set(member.as_str(), *score))?;
            replicate::set_members(ctx, key, set.iter().map(|(member, score)| (member.as_str(), *score)));
            events = events.and(Some(Event::MemberSet));
        }
        if !removed.is_empty() {
            removed.iter().try_for_each(|member| stored.remove(member.as_str()))?;
            replicate::remove_members(ctx, key, removed.iter().map(NewValue::as_str));
            events = events.and(Some(Event::MemberRemoved));
        }
        let left = self.handle.value_mut();
        let gone = left.is_none();
        if let (Some(mut left), Some(until)) = (left, until)
            && left.expiry() != Some(until)
        {
            left.set_expiry(Some(until))?;
            replicate::expire(ctx, key, until);
            events = events.and(Some(Event::Expiring));
        }
        Ok(events.and((gone && !removed.is_empty()).then_some(Event::Deleted)))
    }

    /// Removes members last, for the same reason as [`Change::members`].
    fn schedule(mut self, changes: &Scheduled<NewValue<'_>>) -> Result<Events> {
        let (ctx, key) = (self.keyspace.ctx, self.key);
        let is_new = self.handle.value().is_none();
        let mut stored = SortedSet::at(&mut self.handle)?;
        let mut events = Events::default();
        for (members, condition) in [(&changes.added, &NX), (&changes.moved, &XX)] {
            if !members.is_empty() {
                members.iter().try_for_each(|(member, score)| stored.set_score(member.as_str(), *score))?;
                replicate::schedule_members(ctx, key, condition, members.iter().map(|(member, score)| (member.as_str(), *score)));
            }
        }
        if !(changes.added.is_empty() && changes.moved.is_empty()) {
            events = events.and(Some(Event::MemberSet));
        }
        if !changes.removed.is_empty() {
            changes.removed.iter().try_for_each(|member| stored.remove(member.as_str()))?;
            replicate::remove_members(ctx, key, changes.removed.iter().map(NewValue::as_str));
            events = events.and(Some(Event::MemberRemoved)).and(stored.is_missing().then_some(Event::Deleted));
        }
        if let Some(until) = changes.until.filter(|_| is_new) {
            self.handle.set_expiry(Some(until))?;
            replicate::expire(ctx, key, until);
            events = events.and(Some(Event::Expiring));
        }
        Ok(events)
    }
}

/// A value in an effect: of a string key, a field, an element or a member.
pub trait Payload {
    fn value<'v>(self) -> NewValue<'v>
    where
        Self: 'v;
}

/// The same value as a string of the server.
pub enum NewValue<'v> {
    /// An argument of the client, stored without a copy.
    Argument(Str<'v>),
    /// A state that this module has encoded.
    State(OwnedStr),
}

impl Payload for Str<'_> {
    fn value<'v>(self) -> NewValue<'v>
    where
        Self: 'v,
    {
        self.trim();
        NewValue::Argument(self)
    }
}

impl Payload for Vec<u8> {
    fn value<'v>(self) -> NewValue<'v> {
        NewValue::State(OwnedStr::new(&self))
    }
}

impl NewValue<'_> {
    fn as_str(&self) -> Str<'_> {
        match self {
            Self::Argument(string) => *string,
            Self::State(string) => string.as_str(),
        }
    }

    /// Writes the value and its TTL. A string that keeps its length is overwritten in place, which is cheaper than a replacement and keeps
    /// the TTL.
    fn store(&self, handle: &mut KeyHandle, expiry: Expiry) -> Result<()> {
        let mut old = handle.value_mut();
        let in_place = old.as_mut().is_some_and(|old| old.kind() == Kind::String && old.overwrite(self.as_str().bytes()));
        // A replacement drops the TTL, so a TTL to keep is read first.
        let until = match expiry {
            Expiry::Keep if in_place => return Ok(()),
            Expiry::Keep => old.and_then(|old| old.expiry()),
            Expiry::Clear => None,
            Expiry::At(at) => Some(at),
        };
        if !in_place {
            handle.set_string(self.as_str())?;
        }
        if in_place || until.is_some() { handle.set_expiry(until) } else { Ok(()) }
    }
}
