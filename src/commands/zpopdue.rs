//! `ATOMIC.ZPOPDUE key [COUNT n] [UNIT MS|S] [LEASE ms] [WAIT ms] [MAXQUEUE n]`: removes or leases the members of a sorted set that are
//! due, optionally waiting for one.
//!
//! A member is due when its score is not later than the server's time. With `UNIT MS`, the default, scores are milliseconds since the
//! Unix epoch; with `UNIT S` they are seconds with a fraction, rounded up to the next millisecond. `-inf` is always due, `+inf` never.
//! Takes at most `COUNT` (1..=1000, 1 by default), the lowest score first, equal scores by the bytes of their members.
//! Without `LEASE` the members are removed. `LEASE ms` (1..=31536000000) leaves them in the set with a new score, when the lease ends;
//! then they are due again, unless ATOMIC.ZDONE has removed or rescheduled them. No two leases have the same score.
//! WAIT blocks the client for at most `ms` (0..=31536000000; 0 waits indefinitely) until a member is due, first come, first served.
//! MAXQUEUE answers at once when `n` (1..=1000000) clients already wait. WAIT does not wait in MULTI, in scripts or on replicas.
//! Reply: `[member, score, ...]`, the score as a bulk string; with LEASE the new one. Empty when no member is due or became due
//! while the client waited.
//! TTL: kept; a set without members is deleted. Replicates: `ZREM key member ...`, or in place `ZPOPMIN key` for one member if there are
//! no options; `ZADD key XX score member ...` with LEASE;
//! nothing when no member is due.
//! Errors: WRONGTYPE when the key is not a sorted set; `COUNT must be an integer between 1 and 1000`; `LEASE must be an integer
//! between 1 and 31536000000`; syntax error.

use super::due::{self, Options};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::due::Take;
use crate::server::args::{Args, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Claim, DueSet, Terms};

pub struct ZPopDue;

pub struct Request<'a> {
    key: Str<'a>,
    take: Take,
    terms: Terms,
}

impl Command for ZPopDue {
    const SPEC: Spec = Spec {
        name: c"atomic.zpopdue",
        flags: c"write fast blocking",
        categories: c"sortedset",
        summary: c"Removes or leases the members of a sorted set that are due, optionally waiting for one.",
        complexity: c"O(M*log(N)) with N members, of which M are taken",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, due::COUNT, due::UNIT, due::LEASE, terms::WAIT, terms::MAXQUEUE],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, mut options) = (args.take()?, Options::default());
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if !options.read(option, &mut args)? && !options.read_lease(option, &mut args)? {
                return Err(syntax(option));
            }
        }
        let (take, terms) = options.finish()?;
        Ok(Request { key, take, terms })
    }

    fn run(keyspace: &Keyspace, Request { key, take, terms }: Request<'_>) -> Result<Reply> {
        waiting::acquire::<DueSet>(keyspace, key, Claim::Due { take, list: None }, terms)
    }
}
