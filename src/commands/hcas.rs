//! `ATOMIC.HCAS key field expected new`: sets a field of a hash only if it holds the expected value.
//!
//! Reply: 1 set, 0 the field holds another value, -1 no such key or field. Values are compared byte for byte.
//! TTL: the key keeps its own; that of the field is cleared, as by HSET. Replicates: `HSET key field new`; nothing when nothing
//! changed.
//! Errors: WRONGTYPE when the key is not a hash.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::cas;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct HCas;

pub struct Request<'a> {
    key: Str<'a>,
    field: Str<'a>,
    expected: Str<'a>,
    new: Str<'a>,
}

impl Command for HCas {
    const SPEC: Spec = Spec {
        name: c"atomic.hcas",
        flags: c"write deny-oom fast",
        categories: c"hash",
        summary: c"Sets a field of a hash only if it holds the expected value.",
        complexity: c"O(1); O(N) in the length of the value",
        since: c"0.1.0",
        arity: 5,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"field"), Arg::string(c"expected"), Arg::string(c"new")],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let request = Request { key: args.take()?, field: args.take()?, expected: args.take()?, new: args.take()? };
        args.finish()?;
        Ok(request)
    }

    fn run(keyspace: &Keyspace, Request { key, field, expected, new }: Request<'_>) -> Result<Reply> {
        let entry = keyspace.entry(key);
        let stored = entry.field(field)?;
        let found = cas::compare(stored.as_ref().map(|value| value.as_str().bytes()), expected.bytes());
        let (outcome, effect) = cas::set_field(found, field, new);
        entry.apply(effect)?;
        Ok(Reply::Integer(outcome.reply()))
    }
}
