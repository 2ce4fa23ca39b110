//! `ATOMIC.INCRBY key delta [MIN m] [MAX m] [SATURATE | WRAP v] [INIT v] [PERSIST | EX s | PX ms | EXAT t | PXAT t] [ENX]`:
//! increments a counter within limits.
//!
//! `MIN` and `MAX` are inclusive; the defaults are the limits of 64 bits. A result beyond a limit changes nothing by default.
//! `SATURATE` clamps it to the limit, even if the stored value was already beyond it. `WRAP v` stores `v` when the result
//! reaches or passes `MAX`. A missing key starts at `INIT`, before the delta is added.
//! Reply: `[applied, value, delta applied, ttl-ms or -1]`; applied is 1 added, 0 refused, 2 wrapped.
//! TTL: kept by default; an expiry is set on every write, with `ENX` only if the key has none; `PERSIST` removes the TTL. A time
//! in the past deletes the key (ttl-ms 0).
//! Replicates: `SET key value [PXAT t | KEEPTTL]`, or in place `INCRBY key delta` if there are no options and the key exists;
//! `PEXPIREAT key t` when only the TTL changes; `DEL key`; nothing when nothing changed.
//! Errors: WRONGTYPE; `value is not an integer or out of range`; `MIN must not exceed MAX`; `WRAP requires MAX`, `requires a
//! positive delta`, `must be between MIN and MAX`; `ENX requires EX, PX, EXAT or PXAT`; a number out of range; syntax error.

use super::counter::{self, BEYOND, INIT, MAX, MIN, NOT_A_NUMBER};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::counter::{Life, Rule, decide, of_key};
use crate::primitives::effect::ExpiryRequest;
use crate::server::args::{Args, expiry_option, fill, is};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct IncrBy;

pub struct Request<'a> {
    key: Str<'a>,
    rule: Rule,
    life: Life,
}

const EXPIRY: Arg = Arg::one_of(
    c"expiration",
    &[
        Arg::word(c"persist", c"PERSIST"),
        Arg::integer(c"seconds").after(c"EX"),
        Arg::integer(c"milliseconds").after(c"PX"),
        Arg::unix_time(c"unix-time-seconds").after(c"EXAT"),
        Arg::unix_time(c"unix-time-milliseconds").after(c"PXAT"),
    ],
)
.optional();

impl Command for IncrBy {
    const SPEC: Spec = Spec {
        name: c"atomic.incrby",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Increments a counter within limits.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::integer(c"delta"), MIN, MAX, BEYOND, INIT, EXPIRY, Arg::word(c"enx", c"ENX").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let (mut expiry, mut enx) = (None, None);
        let rule = counter::rule(&mut args, |option, args| {
            if is(option, "PERSIST") {
                fill(&mut expiry, ExpiryRequest::Clear, option)?;
            } else if is(option, "ENX") {
                fill(&mut enx, (), option)?;
            } else {
                return Ok(!is(option, "KEEPTTL") && expiry_option(option, args, &mut expiry)?);
            }
            Ok(true)
        })?;
        Ok(Request { key, rule, life: life(expiry, enx.is_some())? })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let now = keyspace.now().floor_ms();
        let mut entry = keyspace.entry(request.key);
        let stored = entry.string()?.map(|bytes| counter::stored(bytes, NOT_A_NUMBER)).transpose()?;
        let count = decide(stored, &request.rule);
        let (until, effect) = of_key(&count, request.life, entry.expiry(), now);
        entry.apply(effect)?;
        Ok(counter::reply(&count, until, now))
    }
}

fn life(expiry: Option<ExpiryRequest>, only_if_none: bool) -> Result<Life> {
    match expiry {
        None | Some(ExpiryRequest::Clear) if only_if_none => {
            Err(Error::Argument { argument: "ENX", expected: "requires EX, PX, EXAT or PXAT" })
        }
        None => Ok(Life::Keep),
        Some(ExpiryRequest::Clear) => Ok(Life::Persist),
        Some(expiry) if only_if_none => Ok(Life::SetIfNone(expiry)),
        Some(expiry) => Ok(Life::Set(expiry)),
    }
}
