//! `ATOMIC.CAD key expected`: deletes a key only if it holds the expected value.
//!
//! Reply: 1 deleted, 0 the key holds another value, -1 no such key. Values are compared byte for byte.
//! Replicates: `DEL key`; nothing when nothing changed. Errors: WRONGTYPE when the key is not a string.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::cas;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Cad;

pub struct Request<'a> {
    key: Str<'a>,
    expected: Str<'a>,
}

impl Command for Cad {
    const SPEC: Spec = Spec {
        name: c"atomic.cad",
        flags: c"write fast",
        categories: c"string",
        summary: c"Deletes a key only if it holds the expected value.",
        complexity: c"O(1); O(N) in the length of the value when the lengths match",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, Arg::string(c"expected")],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let request = Request { key: args.take()?, expected: args.take()? };
        args.finish()?;
        Ok(request)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(request.key);
        let (outcome, effect) = cas::delete::<Str<'_>>(entry.compare(request.expected.bytes())?);
        entry.apply(effect)?;
        Ok(Reply::Integer(outcome.reply()))
    }
}
