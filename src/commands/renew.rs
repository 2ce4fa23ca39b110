//! `ATOMIC.RENEW key owner lease-ms`: let your lease end `lease-ms` from now.
//!
//! Reply: the new TTL in ms; -1 when `owner` is not the owner, or its lease ended. On a lock that was taken with
//! `SET key token NX PX ms` the token is the owner.
//! Replicates: `SET key state PXAT t`, or `PEXPIREAT key t` for another client's lock. Errors: as ATOMIC.LOCK.

use super::lock::{Request, decode};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::Reply;
use crate::primitives::lock;
use crate::primitives::time::DurationMs;

/// See the top of this file.
pub struct Renew;

impl Command for Renew {
    const SPEC: Spec = Spec {
        name: c"atomic.renew",
        flags: c"write fast",
        categories: c"string",
        summary: c"Extends or shortens the lease of a lock.",
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
        let ttl = keyspace
            .transact(request.key, decode, |stored, now| Ok(lock::renew(stored, request.owner, request.lease, now.floor_ms())))?;
        Ok(Reply::Integer(ttl.map_or(-1, DurationMs::reply)))
    }
}
