//! `ATOMIC.SEMACQUIRE key capacity owner lease-ms [PERMITS n] [WAIT ms] [BIND] [MAXQUEUE n]`: take permits of a semaphore for a
//! time, or learn when there are some.
//!
//! `capacity` is how many permits may be in use, those of all owners together; it is the request's, and not stored. `owner` is a name
//! of 1 to 255 bytes; the same owner may take more permits later: all of them end together, and none earlier than before. `PERMITS` is how
//! many are taken, all or none; 1 without it.
//! WAIT, MAXQUEUE and BIND are those of ATOMIC.LOCK; a request for few permits does not overtake one for many.
//! Reply: `[granted, fence, in use, retry-after-ms, waiters]`: `[1, fence, in use, 0, waiters]` when you have the permits, `[0, 0, in use,
//! retry-after-ms, waiters]` when there are not enough; retry-after-ms is when enough leases have ended if nobody gives anything
//! back, -1 when `PERMITS` is more than `capacity`. Every grant has a fence of its own.
//! TTL: the key lives until the last lease ends. Replicates: `ZADD key score member ...` for the lease of the owner and the counts that
//! changed, `ZREM key member ...` for what ended, `PEXPIREAT key t`, in MULTI/EXEC when more than one; a denial writes and replicates nothing.
//! Errors: WRONGTYPE when the key holds another type or a sorted set that is no semaphore; `owner must be 1 to 255 bytes`; integers out
//! of range; syntax error, also for MAXQUEUE without WAIT.

use std::borrow::Cow;

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms::{self, Options};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore::{Draft, MAX_PERMITS};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Ask, Terms, Wanted};

/// See the top of this file.
pub struct SemAcquire;

/// The arguments.
pub struct Request<'a> {
    key: Str<'a>,
    owner: &'a [u8],
    lease: DurationMs,
    ask: Ask,
    terms: Terms,
}

impl Command for SemAcquire {
    const SPEC: Spec = Spec {
        name: c"atomic.semacquire",
        flags: c"write deny-oom blocking",
        categories: c"sortedset",
        summary: c"Takes permits of a semaphore for a time, waits for them, or tells when there are some.",
        complexity: c"O(log(N)) with N owners, and O(M) in the number of leases that ended or have to end first",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::First(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::integer(c"capacity"),
            Arg::string(c"owner"),
            Arg::integer(c"lease-ms"),
            PERMITS,
            terms::WAIT,
            terms::BIND,
            terms::MAXQUEUE,
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, capacity) = (args.take()?, args.count("capacity", 1..=MAX_PERMITS.into())?);
        let (owner, lease) = (owner(&mut args)?, args.duration("lease-ms")?);
        let (mut options, mut wanted) = (Options::default(), None);
        while let Some(option) = args.take_if_any() {
            if is(option.bytes(), "PERMITS") {
                fill(&mut wanted, permits(&mut args)?, option.bytes())?;
            } else if !options.take(option.bytes(), &mut args)? {
                return Err(syntax(option.bytes()));
            }
        }
        let ask = Ask::Permits { capacity, permits: wanted.unwrap_or(1) };
        Ok(Request { key, owner, lease, ask, terms: options.terms()? })
    }

    fn run(keyspace: &Keyspace, Request { key, owner, lease, ask, terms }: Request<'_>) -> Result<Reply> {
        waiting::warn_once(keyspace.ctx());
        waiting::acquire::<Draft>(keyspace, key, Wanted { owner: Cow::Borrowed(owner), lease, ask }, terms)
    }
}

/// `[PERMITS n]`
pub(super) const PERMITS: Arg = Arg::integer(c"permits").after(c"PERMITS").optional();

/// Reads the value of `PERMITS`.
pub(super) fn permits(args: &mut Args<'_>) -> Result<u64> {
    args.count("PERMITS", 1..=MAX_PERMITS.into())
}
