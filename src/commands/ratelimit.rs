//! `ATOMIC.RATELIMIT key policy [COST n]`: may this request pass, and if not, when?
//!
//!   policy := BUCKET capacity refill period-ms    continuous refill: token bucket, leaky bucket as a meter, GCRA
//!           | FIXED limit window-ms               a counter per window that starts at the first hit
//!
//! `capacity`, `refill` and `limit` are 1..=10^12, `period-ms` and `window-ms` 1..=31536000000, COST is 1..=10^12 and 1 by default.
//!
//! Reply: `[granted, limit, remaining, retry-after-ms, reset-after-ms, index]`. `granted` is the cost, or 0 when denied. When denied,
//! `retry-after-ms` is the earliest time at which the same request would be granted if nobody else came, rounded up; -1 when it never
//! can (the cost is above the capacity). `reset-after-ms` is when the limiter is full again. `index` is the policy that decided: 0.
//! TTL: the key lives until the limiter would be full again. Replicates: `SET key state PXAT t`; a denial writes and replicates nothing.
//! Errors: WRONGTYPE when the key holds anything else than a rate limit; numbers out of range; syntax error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::args::{Args, is, syntax};
use crate::keyspace::module_api::Str;
use crate::keyspace::reply::Reply;
use crate::keyspace::{Found, Keyspace};
use crate::primitives::ratelimit::{self, Bucket, Decision, Fixed, MAX_LIMIT, Policy, Stored};

/// See the top of this file.
pub struct RateLimit;

/// The arguments.
pub struct Request<'a> {
    pub(super) key: Str<'a>,
    pub(super) policy: Policy,
    pub(super) cost: u64,
}

/// `BUCKET capacity refill period-ms | FIXED limit window-ms`
pub(super) const POLICY: Arg = Arg::one_of(
    c"policy",
    &[
        Arg::block(c"bucket", &[Arg::integer(c"capacity").after(c"BUCKET"), Arg::integer(c"refill"), Arg::integer(c"period-ms")]),
        Arg::block(c"fixed", &[Arg::integer(c"limit").after(c"FIXED"), Arg::integer(c"window-ms")]),
    ],
);

/// `[COST n]`
pub(super) const COST: Arg = Arg::integer(c"cost").after(c"COST").optional();

impl Command for RateLimit {
    const SPEC: Spec = Spec {
        name: c"atomic.ratelimit",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Charges a request to a rate limit, or denies it and says when it would pass.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::First(KeyFlags::Update),
        args: &[Arg::KEY, POLICY, COST],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        parse(args, 1)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let decision = keyspace
            .transact(request.key, decode, |stored, now| Ok(ratelimit::decide(stored, request.policy, request.cost, now)))?;
        Ok(reply(decision))
    }
}

/// Reads `key policy [COST n]`; only the read-only form takes a cost of 0.
pub(super) fn parse(mut args: Args<'_>, min_cost: i64) -> Result<Request<'_>> {
    let key = args.take()?;
    let kind = args.bytes()?;
    let policy = policy(kind, &mut args)?;
    let mut cost = None;
    while let Some(option) = args.take_if_any() {
        let option = option.bytes();
        if !is(option, "COST") || cost.is_some() {
            return Err(syntax(option));
        }
        cost = Some(args.count("COST", min_cost..=MAX_LIMIT)?);
    }
    Ok(Request { key, policy, cost: cost.unwrap_or(1) })
}

fn policy(kind: &[u8], args: &mut Args<'_>) -> Result<Policy> {
    if is(kind, "BUCKET") {
        let capacity = args.count("capacity", 1..=MAX_LIMIT)?;
        let refill = args.count("refill", 1..=MAX_LIMIT)?;
        Ok(Policy::Bucket(Bucket { capacity, refill, period: args.duration("period-ms")? }))
    } else if is(kind, "FIXED") {
        let limit = args.count("limit", 1..=MAX_LIMIT)?;
        Ok(Policy::Fixed(Fixed { limit, window: args.duration("window-ms")? }))
    } else {
        Err(syntax(kind))
    }
}

pub(super) fn decode(mut found: Found<'_>) -> Result<Stored> {
    ratelimit::decode(found.bytes()).map_err(|_| Error::ForeignValue { expected: ratelimit::FORMAT })
}

pub(super) fn reply(decision: Decision) -> Reply {
    let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    Reply::from([
        int(decision.granted),
        int(decision.limit),
        int(decision.remaining),
        decision.retry_after.map_or(-1, |wait| wait.reply()),
        decision.reset_after.reply(),
        0,
    ])
}
