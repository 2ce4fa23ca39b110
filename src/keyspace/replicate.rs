//! Effects as plain Redis commands, for replicas and the AOF.
//!
//! Times are absolute and values are final: a replica needs neither a clock nor this module. No command of the module is replicated
//! verbatim.

use super::Keyspace;
use super::change::Text;
use crate::primitives::due::Score;
use crate::primitives::effect::{End, Expiry, Part};
use crate::primitives::number::{Digits, parse_i64};
use crate::primitives::time::UnixMs;
use crate::server::in_place::{ArgVector, Pad};
use crate::server::kept::{KEEPTTL, Kept, NX, PXAT, XX};
use crate::server::module_api::{Ctx, OwnedStr, Str};

static SET: Kept = Kept::new("SET");
static DEL: Kept = Kept::new("DEL");
static GET: Kept = Kept::new("GET");
static INCRBY: Kept = Kept::new("INCRBY");
static HINCRBY: Kept = Kept::new("HINCRBY");
static PEXPIREAT: Kept = Kept::new("PEXPIREAT");
static ZADD: Kept = Kept::new("ZADD");
static CH: Kept = Kept::new("CH");
static ZPOPMIN: Kept = Kept::new("ZPOPMIN");
static ZREM: Kept = Kept::new("ZREM");
static LPOP: Kept = Kept::new("LPOP");
static RPOP: Kept = Kept::new("RPOP");
static LMPOP: Kept = Kept::new("LMPOP");
static ONE: Kept = Kept::new("1");
static LEFT: Kept = Kept::new("LEFT");
static RIGHT: Kept = Kept::new("RIGHT");
static COUNT: Kept = Kept::new("COUNT");

impl Keyspace {
    /// Replicates through the words of the command that the server entered, if there are any and `replicate` can use them.
    #[inline]
    fn in_place(&self, replicate: impl FnOnce(ArgVector) -> bool) -> bool {
        self.argv.is_some_and(replicate)
    }
}

/// `DEL key`
///
/// In place the key is repeated: only the first one counts.
pub fn delete(keyspace: &Keyspace, key: Str<'_>) {
    let ctx = keyspace.ctx;
    if !keyspace.in_place(|argv| argv.replicate(ctx, &[DEL.as_str(), key], Pad::End(key))) {
        ctx.replicate(c"DEL", &[key]);
    }
}

/// The number of words of a `PEXPIREAT` without options.
pub const EXPIRE_WORDS: usize = 3;

/// `PEXPIREAT key t`
///
/// In place it is filled up with a condition that holds: `XX` if the key has a TTL, `NX` otherwise. `has_ttl` is `None` if the caller does
/// not know.
pub fn expire(keyspace: &Keyspace, key: Str<'_>, at: UnixMs, has_ttl: Option<bool>) {
    let (ctx, at) = (keyspace.ctx, Digits::new(at.as_i64()));
    let pad = has_ttl.map_or(Pad::None, |has_ttl| Pad::End(if has_ttl { XX.as_str() } else { NX.as_str() }));
    let in_place = |argv: ArgVector| {
        argv.has_room_for(EXPIRE_WORDS)
            && argv.replicate(ctx, &[PEXPIREAT.as_str(), key, OwnedStr::new(at.as_bytes()).as_str()], pad)
    };
    if !keyspace.in_place(in_place) {
        ctx.replicate_number(c"PEXPIREAT", &[key], at);
    }
}

/// `SET key value [PXAT t | KEEPTTL]`
///
/// In place it is filled up with `GET`, which may be repeated, but is an error where the key held a value of another type.
pub fn put(keyspace: &Keyspace, key: Str<'_>, value: Str<'_>, expiry: Expiry, replaces_other: bool) {
    let ctx = keyspace.ctx;
    let pad = if replaces_other { Pad::None } else { Pad::End(GET.as_str()) };
    match expiry {
        Expiry::Clear => {
            if !keyspace.in_place(|argv| argv.replicate(ctx, &[SET.as_str(), key, value], pad)) {
                ctx.replicate(c"SET", &[key, value]);
            }
        }
        Expiry::Keep => {
            if !keyspace.in_place(|argv| argv.replicate(ctx, &[SET.as_str(), key, value, KEEPTTL.as_str()], pad)) {
                ctx.replicate(c"SET", &[key, value, KEEPTTL.as_str()]);
            }
        }
        Expiry::At(at) => {
            let at = Digits::new(at.as_i64());
            let in_place = |argv: ArgVector| {
                argv.has_room_for(5)
                    && argv.replicate(ctx, &[SET.as_str(), key, value, PXAT.as_str(), OwnedStr::new(at.as_bytes()).as_str()], pad)
            };
            if !keyspace.in_place(in_place) {
                ctx.replicate_number(c"SET", &[key, value, PXAT.as_str()], at);
            }
        }
    }
}

/// `INCRBY key delta`, only in place and only where it fits exactly: it needs no other word than its name if the client sent the delta.
/// Answers whether it was replicated.
pub fn add(keyspace: &Keyspace, key: Str<'_>, delta: i64) -> bool {
    keyspace.in_place(|argv| {
        let sent = argv.last_of(3).filter(|word| parse_i64(word.bytes()) == Some(delta));
        sent.is_some_and(|delta| argv.replicate(keyspace.ctx, &[INCRBY.as_str(), key, delta], Pad::None))
    })
}

/// `HINCRBY key field delta`
///
/// In place only where it fits exactly.
pub fn add_to_field(keyspace: &Keyspace, key: Str<'_>, field: Str<'_>, delta: i64) {
    let ctx = keyspace.ctx;
    let in_place = |argv: ArgVector| {
        let sent = argv.last_of(4).filter(|word| parse_i64(word.bytes()) == Some(delta));
        sent.is_some_and(|delta| argv.replicate(ctx, &[HINCRBY.as_str(), key, field, delta], Pad::None))
    };
    if !keyspace.in_place(in_place) {
        ctx.replicate(c"HINCRBY", &[key, field, OwnedStr::number(delta).as_str()]);
    }
}

/// `SETRANGE key offset bytes`
pub fn patch(ctx: Ctx, key: Str<'_>, part: &Part) {
    let offset = OwnedStr::number(i64::try_from(part.offset).unwrap_or(i64::MAX));
    ctx.replicate(c"SETRANGE", &[key, offset.as_str(), OwnedStr::new(&part.bytes).as_str()]);
}

/// `HSET key field value`
pub fn set_field(ctx: Ctx, key: Str<'_>, field: Str<'_>, value: Str<'_>) {
    ctx.replicate(c"HSET", &[key, field, value]);
}

/// `RPUSH key value [value ...]`, or `LPUSH`
pub fn push<'a>(ctx: Ctx, key: Str<'a>, end: End, values: impl Iterator<Item = Str<'a>>) {
    let args: Words<'_> = std::iter::once(key).chain(values).collect();
    ctx.replicate(if end == End::Left { c"LPUSH" } else { c"RPUSH" }, &args);
}

/// `LPOP key count`, or `RPOP`
///
/// In place only where it fits exactly, also as `LMPOP 1 key LEFT COUNT count`.
pub fn pop(keyspace: &Keyspace, key: Str<'_>, end: End, count: usize) {
    let (ctx, count) = (keyspace.ctx, Digits::new(i64::try_from(count).unwrap_or(i64::MAX)));
    let (name, kept, side) = if end == End::Left { (c"LPOP", &LPOP, &LEFT) } else { (c"RPOP", &RPOP, &RIGHT) };
    let in_place = |argv: ArgVector| {
        let count = argv.has_room_for(3).then(|| OwnedStr::new(count.as_bytes()));
        count.is_some_and(|count| {
            let (count, long) = (count.as_str(), argv.has_room_for(6));
            let short = [kept.as_str(), key, count];
            let long = long.then(|| [LMPOP.as_str(), ONE.as_str(), key, side.as_str(), COUNT.as_str(), count]);
            argv.replicate(ctx, long.as_ref().map_or(&short, |words| &words[..]), Pad::None)
        })
    };
    if !keyspace.in_place(in_place) {
        ctx.replicate_number(name, &[key], count);
    }
}

/// `ZADD key score member`, the score being a whole number
///
/// In place it is filled up with `CH`, which only asks for another reply.
pub fn set_member(keyspace: &Keyspace, key: Str<'_>, member: Str<'_>, score: i64) {
    let (ctx, score) = (keyspace.ctx, OwnedStr::number(score));
    let words = [ZADD.as_str(), key, score.as_str(), member];
    if !keyspace.in_place(|argv| argv.replicate(ctx, &words, Pad::Second(CH.as_str()))) {
        ctx.replicate(c"ZADD", &[key, score.as_str(), member]);
    }
}

/// `ZADD key score member [score member ...]`, the scores being whole numbers
pub fn set_members(ctx: Ctx, key: Str<'_>, members: &[(Text<'_>, i64)]) {
    let scores: Vec<_> = members.iter().map(|(_, score)| OwnedStr::number(*score)).collect();
    add_members(ctx, &[key], members, &scores);
}

/// `ZADD key NX|XX score member [score member ...]`, the scores in the text that reads back as the same double
pub fn schedule_members(ctx: Ctx, key: Str<'_>, condition: &'static Kept, members: &[(Text<'_>, Score)]) {
    let scores: Vec<_> = members.iter().map(|(_, score)| OwnedStr::double(score.value())).collect();
    add_members(ctx, &[key, condition.as_str()], members, &scores);
}

fn add_members<S>(ctx: Ctx, head: &[Str<'_>], members: &[(Text<'_>, S)], scores: &[OwnedStr]) {
    let pairs = scores.iter().zip(members).flat_map(|(score, (member, _))| [score.as_str(), member.as_str()]);
    ctx.replicate(c"ZADD", &head.iter().copied().chain(pairs).collect::<Vec<_>>());
}

/// `ZPOPMIN key`, only in place and only where it fits exactly. Answers whether it was replicated.
pub fn pop_member(keyspace: &Keyspace, key: Str<'_>) -> bool {
    keyspace.in_place(|argv| argv.replicate(keyspace.ctx, &[ZPOPMIN.as_str(), key], Pad::None))
}

/// `ZREM key member [member ...]`
///
/// In place the first member is repeated: the second removal of a member changes nothing.
pub fn remove_members(keyspace: &Keyspace, key: Str<'_>, members: &[Str<'_>]) {
    let words: Words<'_> = [ZREM.as_str(), key].into_iter().chain(members.iter().copied()).collect();
    let pad = members.first().map_or(Pad::None, |member| Pad::End(*member));
    if !keyspace.in_place(|argv| argv.replicate(keyspace.ctx, &words, pad)) {
        keyspace.ctx.replicate(c"ZREM", words.get(1..).unwrap_or_default());
    }
}

/// The words of a command. Most have few.
type Words<'a> = smallvec::SmallVec<[Str<'a>; 4]>;
