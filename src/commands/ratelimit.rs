//! `ATOMIC.RATELIMIT key policy [policy ...] [COST n | UPTO n | FORCE n | REFUND n | RESET] [FULL]`: grants or denies a
//! request against one or more limits, and returns how long to wait after a denial.
//!
//!   policy := BUCKET capacity refill period-ms [AS name]   continuous refill: token bucket, leaky bucket as a meter, GCRA
//!           | FIXED limit window-ms [ALIGN] [AS name]      a counter per window, from the first hit or ALIGNed to the Unix epoch
//!           | SLIDING limit window-ms [AS name]            two weighted windows: constant memory, approximate
//!           | LOG limit window-ms [AS name]                exact sliding window, memory bounded by the limit
//!
//! 1 to 8 policies. The request passes when all of them let it pass, and is charged to all of them or to none. Numbers are
//! 1..=10^12, the limit of a LOG 1..=10000, `period-ms` and `window-ms` 1..=31536000000. Names are unique and have 1 to 64
//! bytes. COST 1 is the default.
//!
//! Reply: `[granted, limit, remaining, retry-after-ms, reset-after-ms, index]`. `granted` is the number of units charged, or 0
//! when denied; with REFUND the number returned, with RESET 0. `limit`, `remaining` and `index` belong to the binding policy:
//! when denied the one with the longest retry, else the one with the least remaining. `retry-after-ms` is 0 when granted, else
//! the time until the same request (UPTO: one unit) passes, provided that no other request is charged before, rounded up; -1
//! when it can never pass. `reset-after-ms` is the time until all policies are full again. FULL: a map of `granted` and
//! `policies`, each a map of `name`, `limit`, `remaining`, `retry-after-ms`, `reset-after-ms`, `window-ms`.
//! TTL: the key expires when the limiter is full again. Replicates: `SET key state PXAT t`; for a long LOG the `SETRANGE` of the
//! changed bytes and `PEXPIREAT key t`; `DEL key` for a reset or full refund; nothing for a denial, which writes nothing.
//! Above `maxmemory` COST and UPTO are refused with OOM, and so is FORCE on a missing key; REFUND and RESET work.
//! Errors: WRONGTYPE when the key holds anything but a rate limit; numbers out of range; syntax error.

use std::ops::RangeInclusive;

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::growth::Growth;
use crate::primitives::codec::Corrupt;
use crate::primitives::ratelimit::{
    self, Bucket, Decision, FORMAT, Fixed, Kind, Log, MAX_LIMIT, MAX_LOG, MAX_NAME, MAX_POLICIES, PerPolicy, Policy, Sliding,
    Standing,
};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};

pub struct RateLimit;

pub struct Request<'a> {
    key: Str<'a>,
    policies: PerPolicy<Policy<'a>>,
    asked: ratelimit::Request,
    full: bool,
}

const NAME: Arg = Arg::string(c"name").after(c"AS").optional();

/// `BUCKET capacity refill period-ms [AS name] | FIXED limit window-ms [ALIGN] [AS name] | SLIDING ... | LOG ...`, once or more
pub(super) const POLICIES: Arg = Arg::one_of(
    c"policy",
    &[
        Arg::block(
            c"bucket",
            &[Arg::integer(c"capacity").after(c"BUCKET"), Arg::integer(c"refill"), Arg::integer(c"period-ms"), NAME],
        ),
        Arg::block(
            c"fixed",
            &[Arg::integer(c"limit").after(c"FIXED"), Arg::integer(c"window-ms"), Arg::word(c"align", c"ALIGN").optional(), NAME],
        ),
        Arg::block(c"sliding", &[Arg::integer(c"limit").after(c"SLIDING"), Arg::integer(c"window-ms"), NAME]),
        Arg::block(c"log", &[Arg::integer(c"limit").after(c"LOG"), Arg::integer(c"window-ms"), NAME]),
    ],
)
.multiple();

/// `[COST n]`
pub(super) const COST: Arg = Arg::integer(c"cost").after(c"COST").optional();

/// `[FULL]`
pub(super) const FULL: Arg = Arg::word(c"full", c"FULL").optional();

const ACTION: Arg = Arg::one_of(
    c"action",
    &[
        Arg::integer(c"cost").after(c"COST"),
        Arg::integer(c"most").after(c"UPTO"),
        Arg::integer(c"forced").after(c"FORCE"),
        Arg::integer(c"returned").after(c"REFUND"),
        Arg::word(c"reset", c"RESET"),
    ],
)
.optional();

impl Command for RateLimit {
    const SPEC: Spec = Spec {
        name: c"atomic.ratelimit",
        flags: c"write fast",
        categories: c"string",
        summary: c"Charges a request to a rate limit, or denies it and returns how long to wait.",
        complexity: c"O(1) per policy; LOG: O(log N), N the hits that it remembers",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, POLICIES, ACTION, FULL],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let policies = policies(&mut args, 1..=MAX_POLICIES)?;
        let (asked, full) = options(args, action)?;
        Ok(Request { key, policies, asked: asked.unwrap_or(ratelimit::Request::Charge(1)), full })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        if let Some(growth) = growth(request.asked) {
            keyspace.admit(growth, request.key)?;
        }
        let mut entry = keyspace.entry(request.key);
        let decided = ratelimit::decide(entry.string()?, &request.policies, request.asked, keyspace.now());
        let (decision, effect) = decided.map_err(foreign)?;
        entry.apply(effect)?;
        Ok(reply(&decision, &request.policies, request.full))
    }
}

/// The memory that a request may add. Out of memory, requests that only free units are still served, and so is one that settles
/// a cost on an existing limiter.
fn growth(asked: ratelimit::Request) -> Option<Growth> {
    use ratelimit::Request::{Charge, Force, Refund, Reset, UpTo};
    match asked {
        Charge(_) | UpTo(_) => Some(Growth::Any),
        Force(_) => Some(Growth::NewKey),
        Refund(_) | Reset => None,
    }
}

fn action(option: &[u8], args: &mut Args<'_>) -> Result<Option<ratelimit::Request>> {
    use ratelimit::Request::{Charge, Force, Refund, Reset, UpTo};
    let mut amount = |name| args.count(name, 1..=MAX_LIMIT);
    Ok(Some(if is(option, "COST") {
        Charge(amount("COST")?)
    } else if is(option, "UPTO") {
        UpTo(amount("UPTO")?)
    } else if is(option, "FORCE") {
        Force(amount("FORCE")?)
    } else if is(option, "REFUND") {
        Refund(amount("REFUND")?)
    } else if is(option, "RESET") {
        Reset
    } else {
        return Ok(None);
    }))
}

/// Reads `[action] [FULL]` in any order, up to the end.
pub(super) fn options<'a, T>(
    mut args: Args<'a>,
    action: impl Fn(&[u8], &mut Args<'a>) -> Result<Option<T>>,
) -> Result<(Option<T>, bool)> {
    let (mut asked, mut full) = (None, false);
    while let Some(option) = args.take_if_any() {
        let option = option.bytes();
        if is(option, "FULL") && !full {
            full = true;
        } else if asked.is_none()
            && let Some(found) = action(option, &mut args)?
        {
            asked = Some(found);
        } else {
            return Err(syntax(option));
        }
    }
    Ok((asked, full))
}

/// Reads `COST n`, where `n` is at least `least`.
pub(super) fn cost(option: &[u8], args: &mut Args<'_>, least: i64) -> Result<Option<u64>> {
    if is(option, "COST") { args.count("COST", least..=MAX_LIMIT).map(Some) } else { Ok(None) }
}

/// Reads as many policies as there are, up to the end of `count`. Fewer than its start are an error; further ones stay unread.
pub(super) fn policies<'a>(args: &mut Args<'a>, count: RangeInclusive<usize>) -> Result<PerPolicy<Policy<'a>>> {
    let mut policies: PerPolicy<Policy<'a>> = PerPolicy::default();
    while policies.len() < *count.end() {
        let mut ahead = *args;
        let word = ahead.take_if_any().map(Str::bytes);
        let Some(kind) = word.map(|word| kind(word, &mut ahead)).transpose()?.flatten() else {
            let missing = word.map_or(Error::Arity, syntax);
            return if policies.len() < *count.start() { Err(missing) } else { Ok(policies) };
        };
        let policy = Policy { kind, name: name(&mut ahead)? };
        if policy.name.is_some() && policies.iter().any(|other| other.name == policy.name) {
            return Err(Error::Argument { argument: "name", expected: "must not be given twice" });
        }
        policies.push(policy);
        *args = ahead;
    }
    Ok(policies)
}

/// The policy that begins with `word`; `None` if there is no such policy.
fn kind(word: &[u8], args: &mut Args<'_>) -> Result<Option<Kind>> {
    Ok(Some(if is(word, "BUCKET") {
        let (capacity, refill) = (args.count("capacity", 1..=MAX_LIMIT)?, args.count("refill", 1..=MAX_LIMIT)?);
        Kind::Bucket(Bucket { capacity, refill, period: args.duration("period-ms")? })
    } else if is(word, "FIXED") {
        let (limit, window) = window(args, MAX_LIMIT)?;
        Kind::Fixed(Fixed { limit, window, aligned: take_word(args, "ALIGN") })
    } else if is(word, "SLIDING") {
        let (limit, window) = window(args, MAX_LIMIT)?;
        Kind::Sliding(Sliding { limit, window })
    } else if is(word, "LOG") {
        let (limit, window) = window(args, MAX_LOG)?;
        Kind::Log(Log { limit, window })
    } else {
        return Ok(None);
    }))
}

fn window(args: &mut Args<'_>, max: i64) -> Result<(u64, DurationMs)> {
    Ok((args.count("limit", 1..=max)?, args.duration("window-ms")?))
}

fn name<'a>(args: &mut Args<'a>) -> Result<Option<&'a [u8]>> {
    if take_word(args, "AS") { args.token("name", MAX_NAME, "must be 1 to 64 bytes").map(Some) } else { Ok(None) }
}

/// Takes the next argument if it is this word.
fn take_word(args: &mut Args<'_>, word: &str) -> bool {
    let mut ahead = *args;
    let found = ahead.take_if_any().is_some_and(|next| is(next.bytes(), word));
    if found {
        *args = ahead;
    }
    found
}

/// The error for a string that is not a rate limit.
pub(super) fn foreign(_: Corrupt) -> Error {
    Error::ForeignValue { expected: FORMAT }
}

/// The reply in its short or FULL form.
pub(super) fn reply(decision: &Decision, policies: &[Policy<'_>], full: bool) -> Reply {
    if full { map(decision, policies) } else { integers(decision) }
}

fn integers(decision: &Decision) -> Reply {
    match &decision.standings[..] {
        [one] => short(decision, 0, one, one.reset_after),
        _ => {
            let (index, binding) = decision.binding();
            short(decision, index, &binding, decision.reset_after())
        }
    }
}

fn short(decision: &Decision, index: usize, binding: &Standing, reset_after: DurationMs) -> Reply {
    Reply::from([
        number(decision.granted),
        number(binding.limit),
        binding.remaining,
        binding.retry_after.map_or(-1, DurationMs::reply),
        reset_after.reply(),
        number(index),
    ])
}

fn map(decision: &Decision, policies: &[Policy<'_>]) -> Reply {
    let policy = |(index, (policy, standing)): (usize, (&Policy<'_>, &Standing))| {
        let name = policy.name.map_or_else(|| format!("{}:{index}", policy.kind.word()).into_bytes(), <[u8]>::to_vec);
        Reply::Map(vec![
            ("name", Reply::Bulk(name)),
            ("limit", Reply::Integer(number(standing.limit))),
            ("remaining", Reply::Integer(standing.remaining)),
            ("retry-after-ms", Reply::Integer(standing.retry_after.map_or(-1, DurationMs::reply))),
            ("reset-after-ms", Reply::Integer(standing.reset_after.reply())),
            ("window-ms", Reply::Integer(policy.kind.window().reply())),
        ])
    };
    let policies = policies.iter().zip(decision.standings.iter()).enumerate().map(policy).collect();
    Reply::Map(vec![("granted", Reply::Integer(number(decision.granted))), ("policies", Reply::Array(policies))])
}
