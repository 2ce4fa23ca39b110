//! Reads that a script makes without a call through the server: the value is read from the open key.
//!
//! The reply, the errors, the hits and misses, the use of the key, its expiry and its events are those of the dispatched command. What the
//! dispatch alone does is missing: `INFO commandstats` and `errorstats`, MONITOR, and the memory of what a caching client reads. So there
//! are no direct reads while a client sees reads (`server/readers.rs`), nor on a replica that may be stale, whose scripts the server
//! refuses to read.
//!
//! - **Permissions.** The server's ACL is asked for each command and key of a run, once. If it refuses, the command is dispatched, which
//!   words and logs the refusal.
//! - **Clusters.** A node that moves a slot away refuses a read of a key that it no longer has. So a read is direct only if the key is
//!   declared and exists.
//! - **Strings.** There is no GET: the API gives the bytes of a short string only by turning it into a long one in place.
//! - **Sets.** There is no SISMEMBER: the API cannot ask for a member of a set.

use super::native::PassedChecks;
use super::{Calls, Invocation};
use crate::primitives::number::{Digits, whole};
use crate::scripting::admission;
use crate::server::acl::Caller;
use crate::server::key::{Kind, Value};
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::readers;
use crate::server::slots::{self, Slots};
use crate::settings;

const WRONG_TYPE: &[u8] = b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n";

/// A command that can be read without a dispatch. Its first argument is its only key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Exists,
    HExists,
    HGet,
    HLen,
    HMGet,
    LLen,
    PTtl,
    SCard,
    Ttl,
    Type,
    ZCard,
    ZScore,
}

impl Read {
    pub fn named(name: &[u8]) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"exists" => Self::Exists,
            b"hexists" => Self::HExists,
            b"hget" => Self::HGet,
            b"hlen" => Self::HLen,
            b"hmget" => Self::HMGet,
            b"llen" => Self::LLen,
            b"pttl" => Self::PTtl,
            b"scard" => Self::SCard,
            b"ttl" => Self::Ttl,
            b"type" => Self::Type,
            b"zcard" => Self::ZCard,
            b"zscore" => Self::ZScore,
            _ => return None,
        })
    }

    /// The number of words of the shortest call.
    fn words(self) -> usize {
        if matches!(self, Self::HExists | Self::HGet | Self::HMGet | Self::ZScore) { 3 } else { 2 }
    }

    /// Whether a call of so many words reads one key.
    fn takes(self, words: usize) -> bool {
        words == self.words() || (self == Self::HMGet && words > self.words())
    }

    /// Whether the command only asks about the key, and so does not count as a use of it.
    fn is_about_key(self) -> bool {
        matches!(self, Self::Exists | Self::PTtl | Self::Ttl | Self::Type)
    }

    /// The type of value that it reads; `None` for any.
    fn kind(self) -> Option<Kind> {
        match self {
            Self::HExists | Self::HGet | Self::HLen | Self::HMGet => Some(Kind::Hash),
            Self::LLen => Some(Kind::List),
            Self::SCard => Some(Kind::Set),
            Self::ZCard | Self::ZScore => Some(Kind::SortedSet),
            Self::Exists | Self::PTtl | Self::Ttl | Self::Type => None,
        }
    }
}

/// The direct reads of a run.
#[derive(Default)]
pub(super) struct Direct {
    /// Whether there are any; `None` before the first.
    allowed: Option<bool>,
    caller: Option<Caller>,
    passed: PassedChecks,
}

impl Direct {
    /// Forgets what was allowed: permissions, the selected database, or who sees reads may have changed.
    pub fn forget(&mut self) {
        if self.allowed.is_some() {
            *self = Self::default();
        }
    }

    fn are_allowed(&mut self, ctx: Ctx) -> bool {
        let ask = || settings::SCRIPT_DIRECT_READS.get() == 1 && !admission::may_be_stale() && readers::are_absent(ctx);
        *self.allowed.get_or_insert_with(ask)
    }

    /// Whether the caller may run the command on the key. An answer about a key of the run is kept.
    fn may(&mut self, ctx: Ctx, read: Read, name: &OwnedStr, key: &ReadKey<'_>) -> bool {
        let check = (read as usize, key.as_str().raw());
        let keeps = matches!(key, ReadKey::OfRun(_));
        if keeps && self.passed.has(check) {
            return true;
        }
        // Some servers refuse a wrong number of words; what they say after the key does not matter.
        let words = [name.as_str(), key.as_str(), key.as_str()];
        let may = self.caller.get_or_insert_with(|| ctx.caller()).may(words.get(..read.words()).unwrap_or_default());
        if may && keeps {
            self.passed.add(check);
        }
        may
    }
}

/// The key of a read.
enum ReadKey<'a> {
    /// A key of the run: a string that lives as long.
    OfRun(Str<'a>),
    Other(OwnedStr),
}

impl ReadKey<'_> {
    fn as_str(&self) -> Str<'_> {
        match self {
            Self::OfRun(key) => *key,
            Self::Other(key) => key.as_str(),
        }
    }
}

impl Calls<'_> {
    /// Reads without a dispatch if that is possible; the reply is in `text`. `at` is the known command.
    pub(super) fn read(&mut self, at: usize, call: &Invocation<'_>) -> bool {
        let Some((read, name)) = self.known.read(at) else { return false };
        // What is watched is dispatched, so that each call is seen in one way.
        if self.is_watched() || !read.takes(call.argv.len()) || !self.direct.are_allowed(self.ctx) {
            return false;
        }
        let key = match (call.key, call.argv.get(1)) {
            (Some(key), _) => ReadKey::OfRun(key),
            (None, Some(key)) => ReadKey::Other(OwnedStr::new(key)),
            (None, None) => return false,
        };
        if slots::is_cluster() && !is_here(self.ctx, &mut self.rules.slots, &key) {
            return false;
        }
        if !self.direct.may(self.ctx, read, name, &key) {
            return false;
        }
        let handle =
            if read.is_about_key() { self.ctx.open_without_touch(key.as_str()) } else { self.ctx.open_for_reading(key.as_str()) };
        self.text.clear();
        let mut reply = Text { text: &mut self.text, resp3: call.resp3 };
        reply.write(read, handle.value().as_ref(), call.argv.get(2..).unwrap_or_default()).is_some()
    }
}

/// Whether a key of the run exists here, in a slot that the run may use. False if that is unknown.
#[cold]
fn is_here(ctx: Ctx, slots: &mut Slots, key: &ReadKey<'_>) -> bool {
    let ReadKey::OfRun(key) = *key else { return false };
    let mut used = *slots;
    let here = used.check(std::iter::once(key.bytes())).is_ok() && ctx.exists_without_effect(key) == Some(true);
    if here {
        *slots = used;
    }
    here
}

/// A reply that is being written.
struct Text<'t> {
    text: &'t mut Vec<u8>,
    resp3: bool,
}

impl Text<'_> {
    /// Writes the reply; `None` if only the server knows it.
    fn write(&mut self, read: Read, value: Option<&Value<'_>>, args: &[&[u8]]) -> Option<()> {
        if value.is_some_and(|value| read.kind().is_some_and(|kind| kind != value.kind())) {
            self.text.extend_from_slice(WRONG_TYPE);
            return Some(());
        }
        match (read, value) {
            (Read::HGet, _) => return args.iter().try_for_each(|field| self.field(value, field)),
            (Read::HMGet, _) => {
                self.number(b'*', signed(args.len()));
                return args.iter().try_for_each(|field| self.field(value, field));
            }
            (Read::HExists, Some(hash)) => {
                let exists = args.iter().all(|field| field_of(hash, field).is_some());
                self.number(b':', exists.into());
                return (exists || !hash.has_field_ttls()).then_some(());
            }
            (Read::ZScore, Some(set)) => return args.iter().try_for_each(|member| self.score(set, member)),
            (Read::ZScore, None) => self.null(),
            (Read::Type, _) => self.text.extend_from_slice(type_of(value)?),
            (Read::Exists, _) => self.number(b':', value.is_some().into()),
            (Read::Ttl | Read::PTtl, None) => self.number(b':', -2),
            (Read::PTtl, Some(value)) => self.number(b':', value.ttl_ms().unwrap_or(-1)),
            (Read::Ttl, Some(value)) => self.number(b':', value.ttl_ms().map_or(-1, |ms| ms.saturating_add(500) / 1000)),
            (_, value) => self.number(b':', value.map_or(0, |value| signed(value.length()))),
        }
        Some(())
    }

    /// The value of a field of the hash. A field that is missing may have expired: then the server deletes it.
    fn field(&mut self, hash: Option<&Value<'_>>, field: &[u8]) -> Option<()> {
        match hash.and_then(|hash| field_of(hash, field)) {
            Some(value) => self.bulk(value.as_str().bytes()),
            None if hash.is_some_and(Value::has_field_ttls) => return None,
            None => self.null(),
        }
        Some(())
    }

    /// The score of a member. Servers differ in how they write fractions.
    fn score(&mut self, set: &Value<'_>, member: &[u8]) -> Option<()> {
        let Some(score) = set.score(OwnedStr::new(member).as_str()) else {
            self.null();
            return Some(());
        };
        let score = whole(score)?;
        if self.resp3 {
            self.number(b',', score);
        } else {
            self.bulk(Digits::new(score).as_bytes());
        }
        Some(())
    }

    fn null(&mut self) {
        self.text.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.number(b'$', signed(bytes.len()));
        self.text.extend_from_slice(bytes);
        self.text.extend_from_slice(b"\r\n");
    }

    /// A line of the protocol: its type and a number.
    fn number(&mut self, kind: u8, number: i64) {
        self.text.push(kind);
        self.text.extend_from_slice(Digits::new(number).as_bytes());
        self.text.extend_from_slice(b"\r\n");
    }
}

fn field_of(hash: &Value<'_>, field: &[u8]) -> Option<OwnedStr> {
    hash.field(OwnedStr::new(field).as_str())
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The reply of TYPE; `None` for a type that a module defines.
fn type_of(value: Option<&Value<'_>>) -> Option<&'static [u8]> {
    Some(match value.map(Value::kind) {
        None => b"+none\r\n",
        Some(Kind::String) => b"+string\r\n",
        Some(Kind::List) => b"+list\r\n",
        Some(Kind::Hash) => b"+hash\r\n",
        Some(Kind::Set) => b"+set\r\n",
        Some(Kind::SortedSet) => b"+zset\r\n",
        Some(Kind::Stream) => b"+stream\r\n",
        Some(Kind::Other) => return None,
    })
}
