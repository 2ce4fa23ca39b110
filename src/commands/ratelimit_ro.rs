//! `ATOMIC.RATELIMIT_RO key policy [policy ...] [COST n] [FULL]`: returns what ATOMIC.RATELIMIT would return, and charges
//! nothing.
//!
//! Works on replicas, with the replica's clock. COST may be 0, which is never denied. Arguments, reply and errors are those of
//! ATOMIC.RATELIMIT; `remaining` and `reset-after-ms` are the values after the request, as if it had been charged.

use super::ratelimit::{COST, FULL, POLICIES, cost, foreign, options, policies, reply};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::ratelimit::{MAX_POLICIES, PerPolicy, Policy, Request as Asked, decide};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct RateLimitRo;

pub struct Request<'a> {
    key: Str<'a>,
    policies: PerPolicy<Policy<'a>>,
    cost: u64,
    full: bool,
}

impl Command for RateLimitRo {
    const SPEC: Spec = Spec {
        name: c"atomic.ratelimit_ro",
        flags: c"readonly fast",
        categories: c"string",
        summary: c"Returns what a rate limit would reply, without charging it.",
        complexity: c"O(1) per policy; LOG: O(log N), N the hits that it remembers",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::first(KeyFlags::Read),
        args: &[Arg::KEY, POLICIES, COST, FULL],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let policies = policies(&mut args, 1..=MAX_POLICIES)?;
        let (cost, full) = options(args, |option, args| cost(option, args, 0))?;
        Ok(Request { key, policies, cost: cost.unwrap_or(1), full })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let look = |stored: Option<&[u8]>| {
            let decided = decide(stored, &request.policies, Asked::Charge(request.cost), keyspace.now());
            decided.map(|(decision, _)| reply(&decision, &request.policies, request.full)).map_err(foreign)
        };
        keyspace.read(request.key, |mut found| look(Some(found.bytes())))?.map_or_else(|| look(None), Ok)
    }
}
