//! The one place that changes keys: an effect becomes a write, and the same effect becomes the commands that replicate it.
//!
//! One effect is the exact write of a server command (`HINCRBY`). Where fields can have a TTL, the server runs that command, replicates and
//! announces it.

use super::sorted_set::SortedSet;
use super::{Keyspace, replicate};
use crate::error::{Error, Result};
use crate::primitives::codec::Bytes;
use crate::primitives::effect::{Effect, End, Expiry, Part, Scheduled};
use crate::primitives::time::UnixMs;
use crate::server::kept::{NX, XX};
use crate::server::key::{KeyHandle, Kind};
use crate::server::module_api::{Event, OwnedStr, Str};

/// Makes the change and replicates it. Returns the events to announce: none if nothing changed or the server has announced the change.
pub(super) fn make<V: Payload>(keyspace: &Keyspace, key: Str<'_>, handle: KeyHandle, effect: &Effect<V>) -> Result<Events> {
    let change = Change { keyspace, key, handle };
    // The clock is read only for an effect that has a time.
    if effect.until().is_some_and(|at| at <= keyspace.now().floor_ms()) {
        return change.delete();
    }
    match effect {
        Effect::Keep => Ok(Events::default()),
        Effect::Delete => change.delete(),
        Effect::Expire(at) => change.expire(*at),
        Effect::Put { value, expiry } => change.put(value.value(), *expiry),
        Effect::Add { value, delta } => change.add(value.value(), *delta),
        Effect::Patch { parts, until } => change.patch(parts, *until),
        Effect::SetField { field, value } => Ok(change.set_field(field.value(), value.value())),
        Effect::AddToField { field, value, delta } => change.add_to_field(field.value(), value.value(), *delta),
        Effect::Push { end, values, dropped, until } => {
            let values: Vec<_> = values.iter().map(|value| value.value().text()).collect();
            change.push(*end, &values, *dropped, *until)
        }
        Effect::Members { set, removed, until } => change.members(set, removed, *until),
        Effect::Schedule(scheduled) => change.schedule(scheduled),
    }
}

/// The members as strings of the server, with their scores.
fn texts<V: Payload, S: Copy>(members: &[(V, S)]) -> Vec<(Text<'_>, S)> {
    members.iter().map(|(member, score)| (member.value().text(), *score)).collect()
}

/// Removes elements from the list, at most `count`, and replicates that. Passes each of them to `take`. Returns the events to announce.
pub(super) fn pop(
    keyspace: &Keyspace,
    key: Str<'_>,
    handle: KeyHandle,
    popped: (End, u64),
    take: impl FnMut(OwnedStr),
) -> Events {
    let (end, count) = popped;
    Change { keyspace, key, handle }.pop(end, count, take)
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
        let Some(mut value) = self.handle.value_mut() else { return Ok(Events::default()) };
        let had_ttl = || value.expiry().is_some();
        let condition = if self.keyspace.has_words_beyond(replicate::EXPIRE_WORDS) { Some(had_ttl()) } else { None };
        value.set_expiry(Some(at))?;
        replicate::expire(self.keyspace, self.key, at, condition);
        Ok(Events::from([Event::Expiring]))
    }

    fn put(mut self, value: NewValue<'_>, expiry: Expiry) -> Result<Events> {
        let stored = value.store(&mut self.handle, expiry)?;
        let text = stored.text.unwrap_or_else(|| value.text());
        replicate::put(self.keyspace, self.key, text.as_str(), expiry, stored.replaced_other);
        Ok(Events::from([Event::Set]).and(matches!(expiry, Expiry::At(_)).then_some(Event::Expiring)))
    }

    fn add(mut self, value: NewValue<'_>, delta: i64) -> Result<Events> {
        let stored = value.store(&mut self.handle, Expiry::Keep)?;
        if !replicate::add(self.keyspace, self.key, delta) {
            let text = stored.text.unwrap_or_else(|| value.text());
            replicate::put(self.keyspace, self.key, text.as_str(), Expiry::Keep, stored.replaced_other);
        }
        Ok(Events::from([Event::Set]))
    }

    fn patch(mut self, parts: &[Part], until: UnixMs) -> Result<Events> {
        let mut string = self.handle.value_mut().filter(|value| value.kind() == Kind::String).ok_or(Error::WriteRefused)?;
        for part in parts {
            string.patch(part.offset, &part.bytes)?;
            replicate::patch(self.keyspace.ctx, self.key, part);
        }
        string.set_expiry(Some(until))?;
        replicate::expire(self.keyspace, self.key, until, None);
        Ok(Events::from([Event::Patched, Event::Expiring]))
    }

    fn set_field(mut self, field: NewValue<'_>, value: NewValue<'_>) -> Events {
        let (field, value) = (field.text(), value.text());
        self.handle.set_field(field.as_str(), value.as_str());
        replicate::set_field(self.keyspace.ctx, self.key, field.as_str(), value.as_str());
        Events::from([Event::FieldSet])
    }

    fn add_to_field(mut self, field: NewValue<'_>, value: NewValue<'_>, delta: i64) -> Result<Events> {
        let field = field.text();
        // A write by the module would remove a TTL that the field has.
        if self.handle.value().is_some_and(|hash| hash.fields_expire()) {
            self.handle.close();
            self.keyspace.ctx.run(c"HINCRBY", &[self.key, field.as_str(), OwnedStr::number(delta).as_str()])?;
            return Ok(Events::default());
        }
        self.handle.set_field(field.as_str(), value.text().as_str());
        replicate::add_to_field(self.keyspace, self.key, field.as_str(), delta);
        Ok(Events::from([Event::FieldIncremented]))
    }

    fn push(mut self, end: End, values: &[Text<'_>], dropped: u64, until: Option<UnixMs>) -> Result<Events> {
        for value in values {
            self.handle.push(end, value.as_str())?;
        }
        let mut events = Events::from([if end == End::Left { Event::PushedLeft } else { Event::PushedRight }]);
        replicate::push(self.keyspace.ctx, self.key, end, values.iter().map(Text::as_str));
        if let Some(until) = until {
            self.handle.set_expiry(Some(until))?;
            replicate::expire(self.keyspace, self.key, until, None);
            events = events.and(Some(Event::Expiring));
        }
        if dropped > 0 {
            events = self.pop(end.other(), dropped, drop).iter().fold(events, |events, event| events.and(Some(event)));
        }
        Ok(events)
    }

    /// The server deletes a list with its last element, on the primary and on replicas.
    fn pop(mut self, end: End, count: u64, take: impl FnMut(OwnedStr)) -> Events {
        let mut pop_one = || self.handle.value_mut()?.pop(end);
        let popped = (0..count).map_while(|_| pop_one()).map(take).count();
        if popped == 0 {
            return Events::default();
        }
        let gone = self.handle.value().is_none();
        replicate::pop(self.keyspace, self.key, end, popped);
        let event = if end == End::Left { Event::PoppedLeft } else { Event::PoppedRight };
        Events::from([event]).and(gone.then_some(Event::Deleted))
    }

    /// Sets members before it removes others: a set that is empty in between would lose its key. The server deletes the key with its last
    /// member, on the primary and on replicas.
    fn members<V: Payload>(mut self, set: &[(V, i64)], removed: &[V], until: Option<UnixMs>) -> Result<Events> {
        let is_new = self.handle.value().is_none();
        let mut events = Events::default();
        match set {
            [] => {}
            [(member, score)] => {
                let member = member.value().text();
                SortedSet::at(&mut self.handle)?.set(member.as_str(), *score)?;
                replicate::set_member(self.keyspace, self.key, member.as_str(), *score);
                events = events.and(Some(Event::MemberSet));
            }
            several => {
                let members = texts(several);
                let mut stored = SortedSet::at(&mut self.handle)?;
                members.iter().try_for_each(|(member, score)| stored.set(member.as_str(), *score))?;
                replicate::set_members(self.keyspace.ctx, self.key, &members);
                events = events.and(Some(Event::MemberSet));
            }
        }
        if !removed.is_empty() {
            self.remove_members(removed, false)?;
            events = events.and(Some(Event::MemberRemoved));
        }
        let Some(mut left) = self.handle.value_mut() else {
            return Ok(events.and((!removed.is_empty()).then_some(Event::Deleted)));
        };
        // A new set has no TTL.
        let had = if is_new { None } else { left.expiry() };
        if let Some(until) = until.filter(|until| had != Some(*until)) {
            left.set_expiry(Some(until))?;
            replicate::expire(self.keyspace, self.key, until, Some(had.is_some()));
            events = events.and(Some(Event::Expiring));
        }
        Ok(events)
    }

    /// Removes members last, for the same reason as [`Change::members`].
    fn schedule<V: Payload>(mut self, Scheduled { added, moved, removed, pops, until }: &Scheduled<V>) -> Result<Events> {
        let is_new = self.handle.value().is_none();
        let mut events = Events::default();
        for (members, condition) in [(added, &NX), (moved, &XX)] {
            if !members.is_empty() {
                let members = texts(members);
                let mut stored = SortedSet::at(&mut self.handle)?;
                members.iter().try_for_each(|(member, score)| stored.set_score(member.as_str(), *score))?;
                replicate::schedule_members(self.keyspace.ctx, self.key, condition, &members);
            }
        }
        if !(added.is_empty() && moved.is_empty()) {
            events = events.and(Some(Event::MemberSet));
        }
        if !removed.is_empty() {
            self.remove_members(removed, *pops)?;
            let is_gone = self.handle.value().is_none();
            events = events.and(Some(Event::MemberRemoved)).and(is_gone.then_some(Event::Deleted));
        }
        if let Some(until) = until.filter(|_| is_new) {
            self.handle.set_expiry(Some(until))?;
            replicate::expire(self.keyspace, self.key, until, Some(false));
            events = events.and(Some(Event::Expiring));
        }
        Ok(events)
    }

    /// `pops`: the one member is the first in the order of the set.
    fn remove_members<V: Payload>(&mut self, removed: &[V], pops: bool) -> Result<()> {
        let mut stored = SortedSet::at(&mut self.handle)?;
        if let [member] = removed {
            let member = member.value().text();
            stored.remove(member.as_str())?;
            if !(pops && replicate::pop_member(self.keyspace, self.key)) {
                replicate::remove_members(self.keyspace, self.key, &[member.as_str()]);
            }
            return Ok(());
        }
        let members: Vec<_> = removed.iter().map(|member| member.value().text()).collect();
        members.iter().try_for_each(|member| stored.remove(member.as_str()))?;
        replicate::remove_members(self.keyspace, self.key, &members.iter().map(Text::as_str).collect::<Vec<_>>());
        Ok(())
    }
}

/// A value in an effect: of a string key, a field, an element or a member.
pub trait Payload {
    fn value(&self) -> NewValue<'_>;
}

impl Payload for Str<'_> {
    #[inline]
    fn value(&self) -> NewValue<'_> {
        NewValue::Argument(*self)
    }
}

impl Payload for Bytes {
    #[inline]
    fn value(&self) -> NewValue<'_> {
        NewValue::State(self)
    }
}

/// A value on its way to the server.
#[derive(Clone, Copy)]
pub enum NewValue<'v> {
    /// An argument of the client, stored without a copy.
    Argument(Str<'v>),
    /// Bytes of this module.
    State(&'v [u8]),
}

/// A value as a string of the server.
pub(super) enum Text<'v> {
    Argument(Str<'v>),
    Made(OwnedStr),
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> Str<'_> {
        match self {
            Self::Argument(string) => *string,
            Self::Made(string) => string.as_str(),
        }
    }
}

/// What a write has found and made.
struct Stored<'v> {
    /// The value's string, if the write needed one.
    text: Option<Text<'v>>,
    /// Whether the key held another type than a string.
    replaced_other: bool,
}

impl<'v> NewValue<'v> {
    fn bytes(self) -> &'v [u8] {
        match self {
            Self::Argument(string) => string.bytes(),
            Self::State(bytes) => bytes,
        }
    }

    fn text(self) -> Text<'v> {
        match self {
            Self::Argument(string) => Text::Argument(string),
            Self::State(bytes) => Text::Made(OwnedStr::new(bytes)),
        }
    }

    /// Writes the value and its TTL. A string that keeps its length is overwritten in place, which is cheaper than a replacement and keeps
    /// the TTL.
    fn store(self, handle: &mut KeyHandle, expiry: Expiry) -> Result<Stored<'v>> {
        let mut until = if let Expiry::At(at) = expiry { Some(at) } else { None };
        let mut replaced_other = false;
        if let Some(mut old) = handle.value_mut() {
            replaced_other = old.kind() != Kind::String;
            if !replaced_other && old.overwrite(self.bytes()) {
                if expiry != Expiry::Keep {
                    old.set_expiry(until)?;
                }
                return Ok(Stored { text: None, replaced_other });
            }
            // A replacement drops the TTL, so a TTL to keep is read first.
            if expiry == Expiry::Keep {
                until = old.expiry();
            }
        }
        if let Self::Argument(string) = self {
            string.trim();
        }
        let text = self.text();
        handle.set_string(text.as_str())?;
        if until.is_some() {
            handle.set_expiry(until)?;
        }
        Ok(Stored { text: Some(text), replaced_other })
    }
}
