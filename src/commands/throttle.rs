//! `CL.THROTTLE key max_burst count period [quantity]`: redis-cell's command, for its clients. Only with the module argument
//! `compat yes`.
//!
//! `max_burst` is 0..=10^12 - 1, `count` 1..=10^12 per `period` of 1..=31536000 seconds, `quantity` 0..=10^12 and 1 by default;
//! a quantity of 0 charges nothing. Reply, as redis-cell's: `[limited 1|0, limit (max_burst + 1), remaining, retry after in s or
//! -1, full again after in s]`, seconds rounded up; retry is -1 when the request passes, and when it never can.
//!
//! Equals ATOMIC.RATELIMIT with one BUCKET of `max_burst + 1`, `count` and `period`: the same key, state and replication, so a
//! client can migrate one call at a time. Unlike redis-cell it limits high rates exactly, writes nothing for a denial or a
//! quantity of 0, replicates states instead of requests, and returns an error where redis-cell aborts the server: on a foreign
//! key, and on numbers out of range.

use super::ratelimit::foreign;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::ratelimit::{self, Bucket, Kind, MAX_LIMIT, Policy};
use crate::primitives::time::{DurationMs, MAX_DURATION_MS};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};

pub struct Throttle;

pub struct Request<'a> {
    key: Str<'a>,
    bucket: Bucket,
    quantity: u64,
}

impl Command for Throttle {
    const SPEC: Spec = Spec {
        name: c"cl.throttle",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Charges a request to a rate limit, with the arguments and reply of redis-cell.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::first(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::integer(c"max_burst"),
            Arg::integer(c"count"),
            Arg::integer(c"period"),
            Arg::integer(c"quantity").optional(),
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let capacity = args.count("max_burst", 0..=MAX_LIMIT - 1)?.saturating_add(1);
        let refill = args.count("count", 1..=MAX_LIMIT)?;
        let period = DurationMs(args.count("period", 1..=MAX_DURATION_MS / 1000)?.saturating_mul(1000));
        let quantity = match args.take_if_any() {
            None => 1,
            Some(quantity) => crate::server::args::integer(quantity.bytes(), "quantity", 0..=MAX_LIMIT)?.unsigned_abs(),
        };
        args.finish()?;
        Ok(Request { key, bucket: Bucket { capacity, refill, period }, quantity })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let policy = Policy { kind: Kind::Bucket(request.bucket), name: None };
        let asked = ratelimit::Request::Charge(request.quantity);
        let mut entry = keyspace.entry(request.key);
        let (decision, effect) = ratelimit::decide(entry.string()?, &[policy], asked, keyspace.now()).map_err(foreign)?;
        entry.apply(effect)?;
        let (_, standing) = decision.binding();
        let passes = standing.retry_after == Some(DurationMs(0));
        let retry = standing.retry_after.filter(|_| !passes).map_or(-1, seconds);
        let limit = number(standing.limit);
        Ok(Reply::from([i64::from(!passes), limit, standing.remaining, retry, seconds(standing.reset_after)]))
    }
}

fn seconds(duration: DurationMs) -> i64 {
    number(duration.0.div_ceil(1000))
}
