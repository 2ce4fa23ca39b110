//! `ATOMIC.PEXPIRE key ms cond [cond ...]`: sets the TTL of a key only if all conditions hold, for example only if the client
//! still owns the key.
//!
//!   cond := NX | XX | IFEQ v | IFNE v | IFGT n | IFGE n | IFLT n | IFLE n
//!
//! The conditions are about the key's value, unlike those of PEXPIRE, which are about its TTL. `IFGT n`, `IFGE n`, `IFLT n` and
//! `IFLE n` compare the stored value with n. `ms` is 1..=31536000000, counted from now; a key without a TTL gets one.
//!
//! Reply: 1 the TTL was set, 0 a condition failed, -1 no such key.
//! Replicates: `PEXPIREAT key t`; nothing when nothing changed.
//! Errors: WRONGTYPE when the key is not a string; `ms must be an integer between 1 and 31536000000`; `IFGT must be a number`, `stored
//! value is not a number`; `at least one condition is required`; syntax error.

use super::conditions::{Accepts, ON_STORED, Options};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::effect::Effect;
use crate::primitives::time::DurationMs;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct PExpire;

pub struct Request<'a> {
    key: Str<'a>,
    ttl: DurationMs,
    options: Options<'a>,
}

impl Command for PExpire {
    const SPEC: Spec = Spec {
        name: c"atomic.pexpire",
        flags: c"write fast",
        categories: c"string",
        summary: c"Sets the TTL of a key only if all conditions on its value hold.",
        complexity: c"O(1); O(N) in the length of the value when it must be read",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::integer(c"ms"), ON_STORED],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, ttl) = (args.take()?, args.duration("ms")?);
        Ok(Request { key, ttl, options: Options::parse(args, Accepts::default())? })
    }

    fn run(keyspace: &Keyspace, Request { key, ttl, options }: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(key);
        let (outcome, old) = options.look(&mut entry)?;
        entry.apply(outcome.allow(Effect::<Str<'_>>::Expire(keyspace.now().floor_ms().plus(ttl))))?;
        Ok(options.reply(outcome, old))
    }
}
