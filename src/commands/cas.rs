//! `ATOMIC.CAS key expected new [EX s | PX ms | EXAT t | PXAT t | KEEPTTL]`: sets a key only if it holds the expected value.
//!
//! Reply: 1 set, 0 the key holds another value, -1 no such key. Values are compared byte for byte.
//! TTL: as in SET, a write without an option clears it; KEEPTTL keeps it; a time in the past deletes the key.
//! Replicates: `SET key new [PXAT t | KEEPTTL]`, or `DEL key`; nothing when nothing changed.
//! Errors: WRONGTYPE when the key is not a string; `EX|PX|EXAT|PXAT must be an integer between ...`; syntax error.

use super::spec::{Arg, Command, EXPIRY, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::cas;
use crate::primitives::effect::ExpiryRequest;
use crate::server::args::{Args, expiry_option, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Cas;

pub struct Request<'a> {
    key: Str<'a>,
    expected: Str<'a>,
    new: Str<'a>,
    expiry: ExpiryRequest,
}

impl Command for Cas {
    const SPEC: Spec = Spec {
        name: c"atomic.cas",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Sets a key only if it holds the expected value.",
        complexity: c"O(1); O(N) in the length of the value when the lengths match",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"expected"), Arg::string(c"new"), EXPIRY],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, expected, new) = (args.take()?, args.take()?, args.take()?);
        let mut expiry = None;
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if !expiry_option(option, &mut args, &mut expiry)? {
                return Err(syntax(option));
            }
        }
        Ok(Request { key, expected, new, expiry: expiry.unwrap_or(ExpiryRequest::Clear) })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(request.key);
        let found = entry.compare(request.expected.bytes())?;
        let (outcome, effect) = cas::set(found, request.new, request.expiry.resolve(|| keyspace.now().floor_ms()));
        entry.apply(effect)?;
        Ok(Reply::Integer(outcome.reply()))
    }
}
