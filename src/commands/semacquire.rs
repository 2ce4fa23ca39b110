//! `ATOMIC.SEMACQUIRE key capacity owner lease-ms [PERMITS n] [ADD] [WAIT ms] [BIND] [MAXQUEUE n]`: acquires permits of a
//! semaphore with a lease, optionally waiting for them.
//!
//! `capacity` limits the permits in use by all owners together; it belongs to the request and is not stored. `owner` is a unique
//! name of 1 to 255 bytes. `PERMITS` is how many permits the owner holds afterwards; the default is 1. The request takes those that
//! are missing, all or none, and never any away. If none is missing it needs no room and passes the waiters. So it is safe to send
//! again. With ADD the owner gets `PERMITS` more, each time. All permits of an owner end together, none earlier than before.
//! WAIT, MAXQUEUE and BIND work as in ATOMIC.LOCK; a request for few permits does not overtake one for many.
//! Reply: `[1, fence, in use, 0, waiters]` when granted; `[0, 0, in use, retry-after-ms, waiters]` when denied. retry-after-ms is
//! the time until enough leases end, provided that no owner releases permits earlier; -1 when `PERMITS` exceeds `capacity`. Every
//! grant has its own fence, also a repeated one.
//! TTL: the key lives until the last lease ends. Replicates `ZADD key score member ...` for the owner's lease and changed counts,
//! `ZREM key member ...` for expired leases and `PEXPIREAT key t`, in MULTI/EXEC when more than one; a denial, and a repetition
//! that does not extend the lease, write and replicate nothing.
//! Errors: WRONGTYPE when the key holds another type or a sorted set that is not a semaphore; `owner must be 1 to 255 bytes`;
//! integers out of range; a syntax error, also for MAXQUEUE without WAIT.

use std::borrow::Cow;

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms::{self, Options};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore::{Amount, Draft, MAX_PERMITS};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Claim, Terms};

pub struct SemAcquire;

pub struct Request<'a> {
    key: Str<'a>,
    claim: Claim<'a>,
    terms: Terms,
}

impl Command for SemAcquire {
    const SPEC: Spec = Spec {
        name: c"atomic.semacquire",
        flags: c"write deny-oom blocking",
        categories: c"sortedset",
        summary: c"Acquires permits of a semaphore with a lease, optionally waiting for them.",
        complexity: c"O(log(N)+M) with N owners and M leases that have expired or must expire first",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::first(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::integer(c"capacity"),
            Arg::string(c"owner"),
            Arg::integer(c"lease-ms"),
            PERMITS,
            Arg::word(c"add", c"ADD").optional(),
            terms::WAIT,
            terms::BIND,
            terms::MAXQUEUE,
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, capacity) = (args.take()?, args.count("capacity", 1..=MAX_PERMITS.into())?);
        let (owner, lease) = (owner(&mut args)?, args.duration("lease-ms")?);
        let (mut options, mut wanted, mut add) = (Options::default(), None, None);
        while let Some(option) = args.take_if_any() {
            if is(option.bytes(), "PERMITS") {
                fill(&mut wanted, permits(&mut args)?, option.bytes())?;
            } else if is(option.bytes(), "ADD") {
                fill(&mut add, (), option.bytes())?;
            } else if !options.take(option.bytes(), &mut args)? {
                return Err(syntax(option.bytes()));
            }
        }
        let amount = if add.is_some() { Amount::More } else { Amount::AtLeast };
        let amount = amount(wanted.unwrap_or(1));
        let claim = Claim::Permits { owner: Cow::Borrowed(owner), lease, capacity, amount };
        Ok(Request { key, claim, terms: options.terms()? })
    }

    fn run(keyspace: &Keyspace, Request { key, claim, terms }: Request<'_>) -> Result<Reply> {
        waiting::warn_once(keyspace.ctx());
        waiting::acquire::<Draft>(keyspace, key, claim, terms)
    }
}

pub(super) const PERMITS: Arg = Arg::integer(c"permits").after(c"PERMITS").optional();

pub(super) fn permits(args: &mut Args<'_>) -> Result<u64> {
    args.count("PERMITS", 1..=MAX_PERMITS.into())
}
