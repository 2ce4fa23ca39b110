//! `ATOMIC.DEL key cond [cond ...] [GET]`: deletes a key only if all conditions hold.
//!
//!   cond := NX | XX | IFEQ v | IFNE v | IFGT n | IFGE n | IFLT n | IFLE n
//!
//! `IFGT n`, `IFGE n`, `IFLT n` and `IFLE n` compare the stored value with n. NX never holds for a key that can be deleted.
//!
//! Reply: 1 deleted, 0 a condition failed, -1 no such key; with GET an array of that number and the old value or nil.
//! Replicates: `DEL key`; nothing when nothing changed.
//! Errors: WRONGTYPE when the key is not a string; `IFGT must be a number`, `stored value is not a number`; `at least one
//! condition is required`; syntax error.

use super::conditions::{Accepts, GET, ON_STORED, Options};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::effect::Effect;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Del;

pub struct Request<'a> {
    key: Str<'a>,
    options: Options<'a>,
}

impl Command for Del {
    const SPEC: Spec = Spec {
        name: c"atomic.del",
        flags: c"write fast",
        categories: c"string",
        summary: c"Deletes a key only if all conditions hold.",
        complexity: c"O(1); O(N) in the length of the value when it must be read",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, ON_STORED, GET],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        Ok(Request { key, options: Options::parse(args, Accepts { get: true, ..Accepts::default() })? })
    }

    fn run(keyspace: &Keyspace, Request { key, options }: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(key);
        let (outcome, old) = options.look(&mut entry)?;
        entry.apply(outcome.allow(Effect::<Str<'_>>::Delete))?;
        Ok(options.reply(outcome, old))
    }
}
