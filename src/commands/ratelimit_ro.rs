//! `ATOMIC.RATELIMIT_RO key policy [COST n]`: what ATOMIC.RATELIMIT would answer now, without charging anything.
//!
//! Works on replicas, with the replica's clock. COST may be 0, which is always granted. Arguments, reply and errors as ATOMIC.RATELIMIT;
//! `remaining` and `reset-after-ms` are those after the request, were it made.

use super::ratelimit::{COST, POLICY, Request, decode, parse, reply};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::Reply;
use crate::primitives::ratelimit;

/// See the top of this file.
pub struct RateLimitRo;

impl Command for RateLimitRo {
    const SPEC: Spec = Spec {
        name: c"atomic.ratelimit_ro",
        flags: c"readonly fast",
        categories: c"string",
        summary: c"Tells what a rate limit would answer, without charging it.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::First(KeyFlags::Read),
        args: &[Arg::KEY, POLICY, COST],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        parse(args, 0)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let stored = keyspace.read(request.key, decode)?;
        let (decision, _) = ratelimit::decide(stored, request.policy, request.cost, keyspace.now());
        Ok(reply(decision))
    }
}
