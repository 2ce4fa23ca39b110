//! `ATOMIC.ONCE key PX ms [VALUE v]`: marks a key once per period; repeated calls return the value that the first call stored.
//!
//! `VALUE` is any bytes; the default is the empty string.
//! Reply: `[1, ttl-ms, v]` for the first call, `[0, ttl-ms or -1, stored value]` for a repeated one. A string that another
//! command stored counts as a first call.
//! TTL: the key expires `ms` after the first call; later calls keep it. Replicates: `SET key v PXAT t`, for the first call only.
//! Errors: WRONGTYPE when the key is not a string; `PX is required`; `PX must be an integer between 1 and 4611686018427387903`; syntax
//! error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::codec::Bytes;
use crate::primitives::effect::Expiry;
use crate::primitives::once::{self, Outcome};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::kept::Kept;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, ttl};

pub struct Once;

static EMPTY: Kept = Kept::new("");

pub struct Request<'a> {
    key: Str<'a>,
    period: DurationMs,
    value: Option<Str<'a>>,
}

impl Command for Once {
    const SPEC: Spec = Spec {
        name: c"atomic.once",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Marks a key once per period; repeats get the value stored by the first call.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::integer(c"milliseconds").after(c"PX"), Arg::string(c"value").after(c"VALUE").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let (mut period, mut value) = (None, None);
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if is(option, "PX") {
                fill(&mut period, args.px()?, option)?;
            } else if is(option, "VALUE") {
                fill(&mut value, args.take()?, option)?;
            } else {
                return Err(syntax(option));
            }
        }
        let period = period.ok_or(Error::Argument { argument: "PX", expected: "is required" })?;
        Ok(Request { key, period, value })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let now = keyspace.now().floor_ms();
        let value = request.value.unwrap_or(EMPTY.as_str());
        let mut entry = keyspace.entry(request.key);
        let stored = entry.string()?.map(Bytes::from_slice);
        let until = now.plus(request.period);
        let (outcome, effect) = once::store(stored.as_ref(), value, || Expiry::At(until));
        let until = if outcome == Outcome::First { Some(until) } else { entry.expiry() };
        entry.apply(effect)?;
        let value = stored.unwrap_or_else(|| Bytes::from_slice(value.bytes()));
        Ok(Reply::Found(outcome.reply(), Some(ttl(until, now)), value))
    }
}
