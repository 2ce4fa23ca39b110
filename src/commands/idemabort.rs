//! `ATOMIC.IDEMABORT key token`: abandons an in-flight request so that it can be retried at once.
//!
//! `token` is that of `ATOMIC.IDEMBEGIN`.
//! Reply: 1 abandoned; 0 the token does not hold the request (any more); -1 no such key. A stored response stays.
//! Replicates: `DEL key` when abandoned, else nothing.
//! Errors: WRONGTYPE when the key holds anything but an idempotency record.

use super::idembegin::decode;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::idem::abort;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct IdemAbort;

pub struct Request<'a> {
    key: Str<'a>,
    token: &'a [u8],
}

impl Command for IdemAbort {
    const SPEC: Spec = Spec {
        name: c"atomic.idemabort",
        flags: c"write fast",
        categories: c"string",
        summary: c"Abandons an in-flight request so that it can be retried.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, Arg::string(c"token")],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let request = Request { key: args.take()?, token: args.bytes()? };
        args.finish()?;
        Ok(request)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let aborted = keyspace.transact(request.key, decode, |stored, now| Ok(abort(stored, request.token, now.floor_ms())))?;
        Ok(Reply::Integer(aborted.reply()))
    }
}
