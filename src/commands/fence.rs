//! `ATOMIC.FENCE key number [PX ms]`: refuses a fencing token that is older than one already seen.
//!
//! `number` is 1..=4611686018427387904, for example the fence of a lock.
//! Reply: 1 accepted: it is at least the highest number seen, and is remembered; 0 refused: it is older.
//! TTL: an accepted number with PX lets the key expire `ms` from now; without PX the TTL stays, and a new key has none.
//! Replicates: `SET key state [PXAT t | KEEPTTL]` for a newer number, `PEXPIREAT key t` for the same one with PX, else nothing.
//! Above `maxmemory` a new key is refused with OOM; an existing fence keeps working.
//! Errors: WRONGTYPE when the key holds anything but a fence; `number|PX must be an integer between ...`; syntax error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::growth::Growth;
use crate::keyspace::{Found, Keyspace};
use crate::primitives::fence::{FORMAT, MAX_NUMBER, Number, judge};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Fence;

pub struct Request<'a> {
    key: Str<'a>,
    number: Number,
    ttl: Option<DurationMs>,
}

impl Command for Fence {
    const SPEC: Spec = Spec {
        name: c"atomic.fence",
        flags: c"write fast",
        categories: c"string",
        summary: c"Accepts a fencing token, or refuses one older than the newest seen.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::integer(c"number"), Arg::integer(c"milliseconds").after(c"PX").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let number = Number(args.count("number", 1..=MAX_NUMBER.cast_signed())?);
        let mut ttl = None;
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if !is(option, "PX") {
                return Err(syntax(option));
            }
            fill(&mut ttl, args.px()?, option)?;
        }
        Ok(Request { key, number, ttl })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        keyspace.admit(Growth::NewKey, request.key)?;
        let verdict = keyspace.transact(request.key, decode, |highest, now| {
            Ok(judge(highest, request.number, request.ttl.map(|ttl| now.floor_ms().plus(ttl))))
        })?;
        Ok(Reply::Integer(verdict.reply()))
    }
}

fn decode(mut found: Found<'_>) -> Result<Number> {
    Number::decode(found.bytes()).map_err(|_| Error::ForeignValue { expected: FORMAT })
}
