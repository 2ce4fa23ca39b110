//! Effects as plain Redis commands, for replicas and the AOF.
//!
//! Times are absolute and values are final: a replica needs neither a clock nor this module. No command of the module is replicated
//! verbatim.

use super::Keyspace;
use crate::primitives::due::Score;
use crate::primitives::effect::{End, Expiry, Part};
use crate::primitives::time::UnixMs;
use crate::server::in_place::ArgVector;
use crate::server::kept::{KEEPTTL, Kept, PXAT};
use crate::server::module_api::{Ctx, OwnedStr, Str};

static SET: Kept = Kept::new("SET");
static DEL: Kept = Kept::new("DEL");
static GET: Kept = Kept::new("GET");

/// `DEL key`
///
/// In place the key is repeated: only the first one counts.
pub fn delete(keyspace: &Keyspace, key: Str<'_>) {
    let in_place = |argv: ArgVector| argv.replicate(keyspace.ctx, &[DEL.as_str(), key], Some(key));
    if !keyspace.argv.is_some_and(in_place) {
        keyspace.ctx.replicate(c"DEL", &[key]);
    }
}

/// `PEXPIREAT key t`
pub fn expire(ctx: Ctx, key: Str<'_>, at: UnixMs) {
    ctx.replicate_number(c"PEXPIREAT", &[key], at.as_i64());
}

/// `SET key value [PXAT t | KEEPTTL]`
///
/// In place it is filled up with `GET`, which may be repeated, but is an error where the key held a value of another type.
pub fn put(keyspace: &Keyspace, key: Str<'_>, value: Str<'_>, expiry: Expiry, replaces_other: bool) {
    let ctx = keyspace.ctx;
    let in_place = |argv: ArgVector| {
        let pad = (!replaces_other).then(|| GET.as_str());
        match expiry {
            Expiry::Clear => argv.replicate(ctx, &[SET.as_str(), key, value], pad),
            Expiry::Keep => argv.replicate(ctx, &[SET.as_str(), key, value, KEEPTTL.as_str()], pad),
            Expiry::At(_) if !argv.has_room_for(5) => false,
            Expiry::At(at) => {
                argv.replicate(ctx, &[SET.as_str(), key, value, PXAT.as_str(), OwnedStr::number(at.as_i64()).as_str()], pad)
            }
        }
    };
    if keyspace.argv.is_some_and(in_place) {
        return;
    }
    match expiry {
        Expiry::Clear => ctx.replicate(c"SET", &[key, value]),
        Expiry::Keep => ctx.replicate(c"SET", &[key, value, KEEPTTL.as_str()]),
        Expiry::At(at) => ctx.replicate_number(c"SET", &[key, value, PXAT.as_str()], at.as_i64()),
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
    let args: Vec<_> = std::iter::once(key).chain(values).collect();
    ctx.replicate(if end == End::Left { c"LPUSH" } else { c"RPUSH" }, &args);
}

/// `LPOP key count`, or `RPOP`
pub fn pop(ctx: Ctx, key: Str<'_>, end: End, count: usize) {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    ctx.replicate_number(if end == End::Left { c"LPOP" } else { c"RPOP" }, &[key], count);
}

/// `ZADD key score member [score member ...]`, the scores being whole numbers
pub fn set_members<'a>(ctx: Ctx, key: Str<'a>, members: impl Iterator<Item = (Str<'a>, i64)>) {
    let members: Vec<_> = members.map(|(member, score)| (OwnedStr::number(score), member)).collect();
    let pairs = members.iter().flat_map(|(score, member)| [score.as_str(), *member]);
    let args: Vec<_> = std::iter::once(key).chain(pairs).collect();
    ctx.replicate(c"ZADD", &args);
}

/// `ZADD key NX|XX score member [score member ...]`, the scores in the text that reads back as the same double
pub fn schedule_members<'a>(ctx: Ctx, key: Str<'a>, condition: &'static Kept, members: impl Iterator<Item = (Str<'a>, Score)>) {
    let members: Vec<_> = members.map(|(member, score)| (OwnedStr::double(score.value()), member)).collect();
    let pairs = members.iter().flat_map(|(score, member)| [score.as_str(), *member]);
    let args: Vec<_> = [key, condition.as_str()].into_iter().chain(pairs).collect();
    ctx.replicate(c"ZADD", &args);
}

/// `ZREM key member [member ...]`
pub fn remove_members<'a>(ctx: Ctx, key: Str<'a>, members: impl Iterator<Item = Str<'a>>) {
    let args: Vec<_> = std::iter::once(key).chain(members).collect();
    ctx.replicate(c"ZREM", &args);
}
