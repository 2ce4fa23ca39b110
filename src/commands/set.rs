//! `ATOMIC.SET key value cond [cond ...] [EX s | PX ms | EXAT t | PXAT t | KEEPTTL] [GET]`: sets a key only if all conditions
//! hold.
//!
//!   cond := NX | XX | IFEQ v | IFNE v | IFGT n | IFGE n | IFLT n | IFLE n | GT | LT
//!
//! `IFGT n`, `IFGE n`, `IFLT n` and `IFLE n` compare the stored value with n; `GT` and `LT` compare the new value with the
//! stored one.
//!
//! Reply: 1 set, 0 a condition failed, -1 a condition failed because there is no such key; with GET an array of that number and
//! the old value or nil. On a missing key NX, IFNE, GT and LT hold.
//! TTL: as in SET, a write without an option clears it; KEEPTTL keeps it; a time in the past deletes the key.
//! Replicates: `SET key value [PXAT t | KEEPTTL]`, or `DEL key`; nothing when nothing changed.
//! Errors: WRONGTYPE when the key is not a string; `IFGT must be a number`, `value must be a number`, `stored value is not a
//! number`; `at least one condition is required`; `EX|PX|EXAT|PXAT must be an integer between ...`; syntax error.

use super::conditions::{Accepts, GET, ON_BOTH, Options};
use super::spec::{Arg, Command, EXPIRY, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::effect::Effect;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Set;

pub struct Request<'a> {
    key: Str<'a>,
    value: Str<'a>,
    options: Options<'a>,
}

impl Command for Set {
    const SPEC: Spec = Spec {
        name: c"atomic.set",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Sets a key only if all conditions hold.",
        complexity: c"O(1); O(N) in the length of the value when it must be read",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"value"), ON_BOTH, EXPIRY, GET],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, value) = (args.take()?, args.take()?);
        let options = Options::parse(args, Accepts { new: Some(value.bytes()), expiry: true, get: true })?;
        Ok(Request { key, value, options })
    }

    fn run(keyspace: &Keyspace, Request { key, value, options }: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(key);
        let (outcome, old) = options.look(&mut entry)?;
        let expiry = options.expiry.resolve(|| keyspace.now().floor_ms());
        entry.apply(outcome.allow(Effect::Put { value, expiry }))?;
        Ok(options.reply(outcome, old))
    }
}
