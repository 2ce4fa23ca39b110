//! `ATOMIC.GETORSET key default [EX s | PX ms]`: returns the value of a key; if the key is missing, stores the default first.
//!
//! Reply: `[1, default]` when the key was created, `[0, value]` when it existed. Values are any bytes.
//! TTL: a new key gets that of `EX` or `PX`, or none; an existing key keeps its own.
//! Replicates: `SET key default [PXAT t]`; nothing when the key existed.
//! Errors: WRONGTYPE when the key is not a string; `EX|PX must be an integer between ...`; syntax error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::codec::Bytes;
use crate::primitives::effect::ExpiryRequest;
use crate::primitives::once;
use crate::server::args::{Args, expiry_option, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct GetOrSet;

pub struct Request<'a> {
    key: Str<'a>,
    default: Str<'a>,
    expiry: ExpiryRequest,
}

const EXPIRY: Arg =
    Arg::one_of(c"expiration", &[Arg::integer(c"seconds").after(c"EX"), Arg::integer(c"milliseconds").after(c"PX")]).optional();

impl Command for GetOrSet {
    const SPEC: Spec = Spec {
        name: c"atomic.getorset",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Returns the value of a key, storing a default first if the key is missing.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"default"), EXPIRY],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, default) = (args.take()?, args.take()?);
        let mut expiry = None;
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            let known = is(option, "EX") || is(option, "PX");
            if !(known && expiry_option(option, &mut args, &mut expiry)?) {
                return Err(syntax(option));
            }
        }
        Ok(Request { key, default, expiry: expiry.unwrap_or(ExpiryRequest::Clear) })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(request.key);
        let stored = entry.string()?.map(Bytes::from_slice);
        let (outcome, effect) =
            once::store(stored.as_ref(), request.default, || request.expiry.resolve(|| keyspace.now().floor_ms()));
        entry.apply(effect)?;
        let value = stored.unwrap_or_else(|| Bytes::from_slice(request.default.bytes()));
        Ok(Reply::Found(outcome.reply(), None, value))
    }
}
