//! `ATOMIC.HSET key field value cond [cond ...]`: sets a field of a hash only if all conditions hold, for example only if the
//! value grows.
//!
//!   cond := NX | XX | IFEQ v | IFNE v | IFGT n | IFGE n | IFLT n | IFLE n | GT | LT
//!
//! The conditions are about the field. `IFGT n`, `IFGE n`, `IFLT n` and `IFLE n` compare the stored value with n; `GT` and `LT`
//! compare the new value with the stored one. On a missing field or key NX, IFNE, GT and LT hold.
//!
//! Reply: `[1 set | 0 a condition failed | -1 a condition failed because there is no such field, old value or nil]`.
//! TTL: the key keeps its own; that of the field is cleared, as by HSET. Replicates: `HSET key field value`; nothing when
//! nothing changed.
//! Errors: WRONGTYPE when the key is not a hash; `IFGT must be a number`, `value must be a number`, `stored value is not a
//! number`; `at least one condition is required`; syntax error.

use super::conditions::{Accepts, ON_BOTH, Options, evaluate, reply_with_old};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::condition::Conditions;
use crate::primitives::effect::Effect;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct HSet;

pub struct Request<'a> {
    key: Str<'a>,
    field: Str<'a>,
    value: Str<'a>,
    conditions: Conditions<'a>,
}

impl Command for HSet {
    const SPEC: Spec = Spec {
        name: c"atomic.hset",
        flags: c"write deny-oom fast",
        categories: c"hash",
        summary: c"Sets a field of a hash only if all conditions hold.",
        complexity: c"O(1); O(N) in the length of the value",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"field"), Arg::string(c"value"), ON_BOTH],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, field, value) = (args.take()?, args.take()?, args.take()?);
        let options = Options::parse(args, Accepts { new: Some(value.bytes()), ..Accepts::default() })?;
        Ok(Request { key, field, value, conditions: options.conditions })
    }

    fn run(keyspace: &Keyspace, Request { key, field, value, conditions }: Request<'_>) -> Result<Reply> {
        let entry = keyspace.entry(key);
        let stored = entry.field(field)?;
        let old = stored.as_ref().map(|stored| stored.as_str().bytes());
        let outcome = evaluate(&conditions, old)?;
        entry.apply(outcome.allow(Effect::SetField { field, value }))?;
        Ok(reply_with_old(outcome, old.map(<[u8]>::to_vec)))
    }
}
