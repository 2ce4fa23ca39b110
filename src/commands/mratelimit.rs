//! `ATOMIC.MRATELIMIT numkeys key [key ...] policy [policy ...] [COST n] [FULL]`: charges a request to several limiters, all or
//! none.
//!
//! Exactly `numkeys` policies, the i-th for the i-th key. Each key is a limiter with one policy, the same as in ATOMIC.RATELIMIT
//! with this policy alone. Policies and COST are those of ATOMIC.RATELIMIT.
//!
//! Reply: as ATOMIC.RATELIMIT, but `index` is the binding key, and `policies` of FULL has the order of the keys.
//! TTL and replication: as ATOMIC.RATELIMIT for each key, in one transaction. A denial writes and replicates nothing.
//! Errors: as ATOMIC.RATELIMIT; `key must not be given twice`; wrong number of arguments with fewer policies than keys, syntax
//! error with more.

use super::ratelimit::{COST, FULL, POLICIES, cost, foreign, options, policies, reply};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::ratelimit::{Draft, PerPolicy, Policy, decide_all, draft};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct MRateLimit;

pub struct Request<'a> {
    keys: &'a [Str<'a>],
    policies: PerPolicy<Policy<'a>>,
    cost: u64,
    full: bool,
}

impl Command for MRateLimit {
    const SPEC: Spec = Spec {
        name: c"atomic.mratelimit",
        flags: c"write deny-oom",
        categories: c"string",
        summary: c"Charges a request to several rate limits, all or none.",
        complexity: c"O(N), N the number of keys; LOG: O(log M), M the hits that it remembers",
        since: c"0.1.0",
        arity: -6,
        keys: Keys::numbered(KeyFlags::Update),
        args: &[Arg::integer(c"numkeys"), Arg::KEY.multiple(), POLICIES, COST, FULL],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let keys = args.keys()?;
        let policies = policies(&mut args, keys.len()..=keys.len())?;
        let (cost, full) = options(args, |option, args| cost(option, args, 1))?;
        Ok(Request { keys, policies, cost: cost.unwrap_or(1), full })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let draft = |(key, policy): (&Str<'_>, &Policy<'_>)| -> Result<Draft> {
            let mut entry = keyspace.entry(*key);
            draft(entry.string()?, *policy, request.cost, keyspace.now()).map_err(foreign)
        };
        let drafts: Vec<Draft> = request.keys.iter().zip(request.policies.iter()).map(draft).collect::<Result<_>>()?;
        let (decision, effects) = decide_all(drafts, request.cost);
        keyspace.apply_all(request.keys.iter().copied().zip(effects).collect())?;
        Ok(reply(&decision, &request.policies, request.full))
    }
}
