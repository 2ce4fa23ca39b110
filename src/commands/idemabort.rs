//! `ATOMIC.IDEMABORT key token`: give a request up that failed, so that the next one can begin it at once.
//!
//! `token` is that of `ATOMIC.IDEMBEGIN`.
//! Reply: 1 given up; 0 when the request is not, or not any more, in the hands of this token; -1 no such key. A response that was
//! stored stays. Replicates: `DEL key` when given up, else nothing.
//! Errors: WRONGTYPE when the key holds anything else than an idempotency record.

use super::idembegin::decode;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::idem::abort;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct IdemAbort;

/// The arguments.
pub struct Request<'a> {
    key: Str<'a>,
    token: &'a [u8],
}

impl Command for IdemAbort {
    const SPEC: Spec = Spec {
        name: c"atomic.idemabort",
        flags: c"write fast",
        categories: c"string",
        summary: c"Gives a request up, so that it can be begun again.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::First(KeyFlags::Delete),
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
