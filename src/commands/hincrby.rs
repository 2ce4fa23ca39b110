//! `ATOMIC.HINCRBY key field delta [MIN m] [MAX m] [SATURATE | WRAP v] [INIT v]`: increments a field of a hash within limits.
//!
//! Options and reply are those of `ATOMIC.INCRBY`, applied to the field; `ttl-ms` is the TTL of the key.
//! TTL: the key keeps its own. An existing field is incremented as by HINCRBY, even if it wraps, and keeps a TTL of its own.
//! Replicates: `HINCRBY key field delta-applied`; `HSET key field value` for a new field, and for a change that does not fit
//! into 64 bits (the field then loses its own TTL); nothing when nothing changed.
//! Errors: WRONGTYPE; `hash value is not an integer`; those of the options, as in `ATOMIC.INCRBY`.

use super::counter::{self, BEYOND, INIT, MAX, MIN};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::counter::{Rule, decide, of_field};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct HIncrBy;

pub struct Request<'a> {
    key: Str<'a>,
    field: Str<'a>,
    rule: Rule,
}

impl Command for HIncrBy {
    const SPEC: Spec = Spec {
        name: c"atomic.hincrby",
        flags: c"write deny-oom fast",
        categories: c"hash",
        summary: c"Increments a field of a hash within limits.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"field"), Arg::integer(c"delta"), MIN, MAX, BEYOND, INIT],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, field) = (args.take()?, args.take()?);
        let rule = counter::rule(&mut args, |_, _| Ok(false))?;
        Ok(Request { key, field, rule })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        const NOT_A_NUMBER: &str = "ERR hash value is not an integer";
        let entry = keyspace.entry(request.key);
        let field = entry.field(request.field)?;
        let stored = field.map(|field| counter::stored(field.as_str().bytes(), NOT_A_NUMBER)).transpose()?;
        let count = decide(stored, &request.rule);
        let until = entry.expiry();
        entry.apply(of_field(&count, request.field.bytes()))?;
        Ok(counter::reply(&count, until, keyspace.now().floor_ms()))
    }
}
