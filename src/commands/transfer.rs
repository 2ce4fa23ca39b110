//! `ATOMIC.TRANSFER source destination amount [MIN m] [MAX m]`: moves an amount between two counters within limits, or changes
//! nothing.
//!
//! The source never falls below `MIN` (0 by default), the destination never exceeds `MAX`. A missing key is 0. `amount` is not
//! negative; 0 only checks the limits and writes nothing.
//! Reply: `[applied, source balance, destination balance]`; applied is 1, or 0 when a limit forbids the transfer.
//! TTL: both are kept. Replicates: `SET key value KEEPTTL` for each key (`SET key value` for a new one), in MULTI/EXEC; nothing
//! for a refused transfer.
//! Errors: WRONGTYPE; `value is not an integer or out of range`; `key must not be given twice`; `amount must be an integer between
//! 0 and 9223372036854775807`; syntax error.

use super::counter::{self, MAX, MIN, NOT_A_NUMBER, integer};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{KeyEntry, Keyspace};
use crate::primitives::counter::{Limits, transfer};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Transfer;

pub struct Request<'a> {
    source: Str<'a>,
    destination: Str<'a>,
    amount: i64,
    limits: Limits,
}

impl Command for Transfer {
    const SPEC: Spec = Spec {
        name: c"atomic.transfer",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Moves an amount between two counters within limits, or changes nothing.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first_two(KeyFlags::Update),
        args: &[Arg { name: c"source", ..Arg::KEY }, Arg { name: c"destination", ..Arg::KEY }, Arg::integer(c"amount"), MIN, MAX],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (source, destination) = (args.take()?, args.take()?);
        if source.bytes() == destination.bytes() {
            return Err(Error::Argument { argument: "key", expected: "must not be given twice" });
        }
        let amount = args.int("amount", 0..=i64::MAX)?;
        let (mut min, mut max) = (None, None);
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if is(option, "MIN") {
                fill(&mut min, integer(&mut args, "MIN")?, option)?;
            } else if is(option, "MAX") {
                fill(&mut max, integer(&mut args, "MAX")?, option)?;
            } else {
                return Err(syntax(option));
            }
        }
        let limits = Limits { min: min.unwrap_or(0), max: max.unwrap_or(i64::MAX) };
        Ok(Request { source, destination, amount, limits })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let balance = |entry: &mut KeyEntry<'_>| entry.string()?.map(|bytes| counter::stored(bytes, NOT_A_NUMBER)).transpose();
        let (mut source, mut destination) = (keyspace.entry(request.source), keyspace.entry(request.destination));
        let (from, to) = (balance(&mut source)?, balance(&mut destination)?);
        let (balances, [taken, given]) = transfer(from, to, request.amount, request.limits);
        source.apply_both(taken, destination, given)?;
        Ok(Reply::from([balances.applied.reply(), balances.source, balances.destination]))
    }
}
