//! `ATOMIC.IDEMEND key token response PX ms`: ends a request and stores its response for retries.
//!
//! `token` is that of `ATOMIC.IDEMBEGIN`; `response` is any bytes.
//! Reply: 1 stored, now or by an earlier call with this token, whose response and TTL stay; 0 the token does not hold the request (any
//! more): another attempt ended it or started, or the lease expired; -1 no such key.
//! TTL: the key expires `ms` from now. Replicates: `SET key state PXAT t` when stored now, else nothing.
//! Works above `maxmemory`, too: the response of a request that ran must be recorded, or the request runs again.
//! Errors: WRONGTYPE when the key holds anything but an idempotency record; `PX must be an integer between 1 and 4611686018427387903`;
//! syntax error.

use super::idembegin::decode;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::idem::end;
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct IdemEnd;

pub struct Request<'a> {
    key: Str<'a>,
    token: &'a [u8],
    response: &'a [u8],
    ttl: DurationMs,
}

impl Command for IdemEnd {
    const SPEC: Spec = Spec {
        name: c"atomic.idemend",
        flags: c"write",
        categories: c"string",
        summary: c"Ends a request and stores its response for retries.",
        complexity: c"O(N) in the length of the response",
        since: c"0.1.0",
        arity: 6,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"token"), Arg::string(c"response"), Arg::integer(c"milliseconds").after(c"PX")],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, token, response) = (args.take()?, args.bytes()?, args.bytes()?);
        let option = args.bytes()?;
        if !is(option, "PX") {
            return Err(syntax(option));
        }
        let ttl = args.px()?;
        args.finish()?;
        Ok(Request { key, token, response, ttl })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let ended = keyspace.transact(request.key, decode, |stored, now| {
            Ok(end(stored, request.token, request.response, request.ttl, now.floor_ms()))
        })?;
        Ok(Reply::Integer(ended.reply()))
    }
}
