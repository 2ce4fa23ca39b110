//! `ATOMIC.FENCE key number [PX ms]`: refuse whoever acts with an older fencing number than one already seen.
//!
//! `number` is 1..=4611686018427387904, the fence of a lock say.
//! Reply: 1 when it is at least the highest number seen, and it is remembered; 0 when it is older.
//! TTL: an accepted number with PX ends the key `ms` from now; without PX the TTL stays as it is, none for a new key.
//! Replicates: `SET key state [PXAT t | KEEPTTL]` for a newer number, `PEXPIREAT key t` for the same one with PX, else nothing.
//! Above `maxmemory` a new key is refused with OOM, and a fence that exists works on.
//! Errors: WRONGTYPE when the key holds anything else than a fence; `number|PX must be an integer in ...`; syntax error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{Found, Keyspace};
use crate::primitives::fence::{FORMAT, MAX_NUMBER, Number, judge};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::growth::Growth;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Fence;

/// The arguments.
pub struct Request<'a> {
    key: Str<'a>,
    number: Number,
    kept: Option<DurationMs>,
}

impl Command for Fence {
    const SPEC: Spec = Spec {
        name: c"atomic.fence",
        flags: c"write fast",
        categories: c"string",
        summary: c"Refuses a fencing number that is older than one already seen.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::First(KeyFlags::Update),
        args: &[Arg::KEY, Arg::integer(c"number"), Arg::integer(c"milliseconds").after(c"PX").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let number = Number(args.count("number", 1..=MAX_NUMBER.cast_signed())?);
        let mut kept = None;
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if !is(option, "PX") {
                return Err(syntax(option));
            }
            fill(&mut kept, args.px()?, option)?;
        }
        Ok(Request { key, number, kept })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        keyspace.admit(Growth::NewKey, request.key)?;
        let verdict = keyspace.transact(request.key, decode, |highest, now| {
            Ok(judge(highest, request.number, request.kept.map(|kept| now.floor_ms().plus(kept))))
        })?;
        Ok(Reply::Integer(verdict.reply()))
    }
}

fn decode(mut found: Found<'_>) -> Result<Number> {
    Number::decode(found.bytes()).map_err(|_| Error::ForeignValue { expected: FORMAT })
}
