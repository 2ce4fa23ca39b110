//! The old state of a key: what it was before a run wrote it, exactly, and the way back.

use std::ffi::c_int;
use std::rc::Rc;

use crate::error::{Error, Result, quoted};
use crate::primitives::resp::{Part, Reader};
use crate::primitives::time::UnixMs;
use crate::server::call::CallReply;
use crate::server::key::{Kind, LastUse};
use crate::server::module_api::{Ctx, OwnedStr, Str};

/// A key in a database.
pub type Place = (c_int, Rc<[u8]>);

/// The state of a key at one moment. Two states are equal if a client cannot tell them apart; when the key was last used does not count.
pub enum State {
    Missing,
    Present { value: Value, expiry: Option<UnixMs>, used: Option<LastUse> },
}

/// A value, by the cheapest exact means.
#[derive(PartialEq, Eq)]
pub enum Value {
    String(Vec<u8>),
    /// The payload of DUMP.
    Dump(Vec<u8>),
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, Self::Missing) => true,
            (Self::Present { value, expiry, .. }, Self::Present { value: other, expiry: until, .. }) => {
                value == other && expiry == until
            }
            _ => false,
        }
    }
}

impl State {
    /// The state of a key of the selected database; `None` if it takes more than `room` bytes, which is found out before anything is
    /// copied.
    pub fn of(ctx: Ctx, key: Str<'_>, room: usize) -> Result<Option<Self>> {
        let handle = ctx.open_unused(key);
        let Some(present) = handle.value() else { return Ok(Some(Self::Missing)) };
        let (kind, expiry, used) = (present.kind(), present.expiry(), present.last_use());
        let length = if kind == Kind::String { present.length() } else { 0 };
        handle.close();
        let value = if kind == Kind::String {
            if length > room {
                return Ok(None);
            }
            Value::String(bulk(key, &CallReply::with(ctx, c"GET", c"vE", &[key]))?)
        } else {
            if estimate(ctx, key) > room {
                return Ok(None);
            }
            Value::Dump(bulk(key, &CallReply::with(ctx, c"DUMP", c"vE", &[key]))?)
        };
        Ok(if value.bytes().len() > room { None } else { Some(Self::Present { value, expiry, used }) })
    }

    /// Whether a key of the selected database has this state now. Copies at most `room` bytes to find out.
    pub fn is_current(&self, ctx: Ctx, key: Str<'_>, room: usize) -> bool {
        match self {
            Self::Missing => ctx.open_unused(key).value().is_none(),
            Self::Present { .. } => Self::of(ctx, key, room).is_ok_and(|now| now.is_some_and(|now| now == *self)),
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Present { value, .. } => value.bytes().len(),
        }
    }

    /// Gives a key of the selected database this state, as the server: no permission, memory limit or number of replicas matters.
    /// `replicates` says where the change goes.
    pub fn restore(&self, ctx: Ctx, key: Str<'_>, replicates: Replicates) -> Result<()> {
        let Self::Present { value, expiry, used } = self else { return delete(ctx, key, replicates) };
        let restored = value.restore(ctx, key, *expiry, *used, replicates);
        if restored.is_ok() || ctx.open_unused(key).value().is_some() {
            return restored;
        }
        // A node of a cluster from which the slot moves away refuses commands on a missing key, but not on one that exists.
        ctx.open_for_writing(key).set_string(key)?;
        value.restore(ctx, key, *expiry, *used, replicates)
    }
}

/// Where an undo is replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicates {
    Everywhere,
    Nowhere,
}

impl Replicates {
    fn run(self, ctx: Ctx, name: &std::ffi::CStr, args: &[Str<'_>]) -> Result<()> {
        let format = if self == Self::Everywhere { c"v!E" } else { c"vE" };
        CallReply::with(ctx, name, format, args).done()
    }
}

impl Value {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::String(bytes) | Self::Dump(bytes) => bytes,
        }
    }

    fn restore(
        &self,
        ctx: Ctx,
        key: Str<'_>,
        expiry: Option<UnixMs>,
        used: Option<LastUse>,
        replicates: Replicates,
    ) -> Result<()> {
        let value = OwnedStr::new(if let Self::String(bytes) = self { bytes } else { &[] });
        let until = OwnedStr::number(expiry.map_or(0, UnixMs::as_i64));
        match self {
            Self::String(_) => {
                let pxat = OwnedStr::new(b"PXAT");
                let words = [key, value.as_str(), pxat.as_str(), until.as_str()];
                let words = if expiry.is_some() { words.as_slice() } else { words.get(..2).unwrap_or_default() };
                replicates.run(ctx, c"SET", words)?;
                // Only RESTORE sets the last use on every server. It matters to this server alone.
                let dump = bulk(key, &CallReply::with(ctx, c"DUMP", c"vE", &[key]));
                dump.map_or(Ok(()), |dump| restore(ctx, key, until.as_str(), &dump, used, Replicates::Nowhere))
            }
            Self::Dump(dump) => restore(ctx, key, until.as_str(), dump, used, replicates),
        }
    }
}

fn restore(ctx: Ctx, key: Str<'_>, until: Str<'_>, dump: &[u8], used: Option<LastUse>, replicates: Replicates) -> Result<()> {
    let (option, number) = match used {
        Some(LastUse::Frequency(frequency)) => ("FREQ", frequency),
        Some(LastUse::Idle(milliseconds)) => ("IDLETIME", milliseconds / 1000),
        None => ("IDLETIME", 0),
    };
    let options = ["REPLACE", "ABSTTL", option].map(|word| OwnedStr::new(word.as_bytes()));
    let (dump, number) = (OwnedStr::new(dump), OwnedStr::number(number));
    let mut words = vec![key, until, dump.as_str()];
    words.extend(options.iter().map(OwnedStr::as_str));
    words.push(number.as_str());
    replicates.run(ctx, c"RESTORE", &words)
}

/// Deletes a key. A missing one is not asked about: a node from which its slot moves away would refuse.
fn delete(ctx: Ctx, key: Str<'_>, replicates: Replicates) -> Result<()> {
    let exists = ctx.open_unused(key).value().is_some();
    if exists { replicates.run(ctx, c"DEL", &[key]) } else { Ok(()) }
}

/// The text of a bulk reply about a key.
fn bulk(key: Str<'_>, reply: &CallReply) -> Result<Vec<u8>> {
    reply.done()?;
    match Reader::new(reply.text()).part() {
        Some(Part::Bulk(text)) => Ok(text.to_vec()),
        _ => Err(Error::Script(format!("ERR the old value of '{}' cannot be read", quoted(key.bytes())).into_bytes())),
    }
}

/// Roughly the bytes that a value takes in memory; 0 if the server does not tell.
fn estimate(ctx: Ctx, key: Str<'_>) -> usize {
    let usage = OwnedStr::new(b"USAGE");
    let reply = CallReply::with(ctx, c"MEMORY", c"vE", &[usage.as_str(), key]);
    reply.reader().integer().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}
