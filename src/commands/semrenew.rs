//! `ATOMIC.SEMRENEW key owner lease-ms`: let all your permits of a semaphore end `lease-ms` from now.
//!
//! Reply: the new TTL in ms; -1 when `owner` has no permit, or their leases ended.
//! Replicates: `ZADD key deadline member`, `ZREM key member ...` for what ended, `PEXPIREAT key t` when the last lease ends at
//! another time, in MULTI/EXEC when more than one. Errors: as ATOMIC.SEMACQUIRE.

use super::lockrenew::Request;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore::Draft;
use crate::primitives::time::DurationMs;
use crate::server::args::Args;
use crate::server::reply::Reply;
use crate::waiting::{self, Kind};

/// See the top of this file.
pub struct SemRenew;

impl Command for SemRenew {
    const SPEC: Spec = Spec {
        name: c"atomic.semrenew",
        flags: c"write",
        categories: c"sortedset",
        summary: c"Extends or shortens the lease of an owner's permits.",
        complexity: c"O(log(N)) with N owners, and O(M) in the number of leases that ended",
        since: c"0.1.0",
        arity: 4,
        keys: Keys::First(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"owner"), Arg::integer(c"lease-ms")],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, Request { key, owner, lease }: Request<'_>) -> Result<Reply> {
        let ttl = waiting::visit(keyspace, key, |draft: &mut Draft, entry, _| {
            draft.renew(&entry.sorted_set()?, owner, lease).map_err(waiting::foreign_semaphore)
        })?;
        if ttl.is_some() {
            waiting::prolong(keyspace, Kind::Semaphore, key, owner, keyspace.now().floor_ms().plus(lease))?;
        }
        Ok(Reply::Integer(ttl.map_or(-1, DurationMs::reply)))
    }
}
