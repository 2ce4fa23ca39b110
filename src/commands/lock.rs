//! `ATOMIC.LOCK key owner lease-ms`: take a lock for a time, or learn how long it is taken.
//!
//! `owner` is a name of 1 to 255 bytes that is yours alone; `lease-ms` is 1..=31536000000.
//! Reply: `[1, fence, ttl-ms, holds, waiters]` when you are the owner now; `[0, 0, ttl-ms of the holder or -1, 0, waiters]` when
//! somebody else is. Taking a lock again that you own counts `holds` up and keeps the fence; the lease never gets shorter by it.
//! A lock that another client took with `SET key token NX PX ms` is respected.
//! TTL: the key lives until the lease ends. Replicates: `SET key state PXAT t`; a denial writes and replicates nothing.
//! Errors: WRONGTYPE when the key holds another type or a damaged lock; `owner must be 1 to 255 bytes`; lease out of range.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::args::Args;
use crate::keyspace::module_api::Str;
use crate::keyspace::reply::Reply;
use crate::keyspace::{Found, Keyspace, fence};
use crate::primitives::codec::Corrupt;
use crate::primitives::lock::{self, Acquired, FORMAT, MAX_OWNER_BYTES, Stored};
use crate::primitives::time::DurationMs;

/// See the top of this file.
pub struct Lock;

/// The arguments.
pub struct Request<'a> {
    pub(super) key: Str<'a>,
    pub(super) owner: &'a [u8],
    pub(super) lease: DurationMs,
}

impl Command for Lock {
    const SPEC: Spec = Spec {
        name: c"atomic.lock",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Takes a lock for a time, or tells how long it is taken.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 4,
        keys: Keys::First(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"owner"), Arg::integer(c"lease-ms")],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let acquired = keyspace.transact(request.key, decode, |stored, now| {
            let fence = fence::next(now);
            lock::acquire(stored, request.owner, request.lease, fence, now.floor_ms()).map_err(foreign)
        })?;
        Ok(match acquired {
            Acquired::Granted { fence, ttl, holds } => {
                fence::observe(fence);
                Reply::from([1, i64::try_from(fence).unwrap_or(i64::MAX), ttl.reply(), holds.into(), 0])
            }
            Acquired::Held { ttl } => Reply::from([0, 0, ttl.map_or(-1, DurationMs::reply), 0, 0]),
        })
    }
}

impl<'a> Request<'a> {
    /// Reads `key owner lease-ms`.
    pub(super) fn parse(mut args: Args<'a>) -> Result<Self> {
        let request = Self { key: args.take()?, owner: owner(&mut args)?, lease: args.duration("lease-ms")? };
        args.finish()?;
        Ok(request)
    }
}

/// Reads the owner's name.
pub(super) fn owner<'a>(args: &mut Args<'a>) -> Result<&'a [u8]> {
    args.token("owner", MAX_OWNER_BYTES, "must be 1 to 255 bytes")
}

fn foreign(_: Corrupt) -> Error {
    Error::ForeignValue { expected: FORMAT }
}

/// Reads a lock, and remembers its fence.
pub(super) fn decode(mut found: Found<'_>) -> Result<Stored> {
    let until = if lock::is_ours(found.bytes()) { None } else { found.until() };
    let stored = Stored::decode(found.bytes(), until).map_err(foreign)?;
    if let Some(seen) = stored.fence() {
        fence::observe(seen);
    }
    Ok(stored)
}
