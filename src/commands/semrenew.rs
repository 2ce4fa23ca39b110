//! `ATOMIC.SEMRENEW key owner lease-ms`: sets the lease of all the owner's permits to end `lease-ms` from now.
//!
//! Reply: the new TTL in ms; -1 when `owner` has no permit or their lease ended.
//! Replicates `ZADD key deadline member`, `ZREM key member ...` for expired leases and `PEXPIREAT key t` when the end of the last
//! lease changes, in MULTI/EXEC when more than one. Errors: as ATOMIC.SEMACQUIRE.

use super::lockrenew::Request;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore::Draft;
use crate::primitives::time::DurationMs;
use crate::server::args::Args;
use crate::server::reply::Reply;
use crate::waiting::{self, Kind};

pub struct SemRenew;

impl Command for SemRenew {
    const SPEC: Spec = Spec {
        name: c"atomic.semrenew",
        flags: c"write",
        categories: c"sortedset",
        summary: c"Renews the lease of an owner's permits.",
        complexity: c"O(log(N)+M) with N owners and M expired leases",
        since: c"0.1.0",
        arity: 4,
        keys: Keys::first(KeyFlags::Update),
        args: &[Arg::KEY, Arg::string(c"owner"), Arg::integer(c"lease-ms")],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, Request { key, owner, lease }: Request<'_>) -> Result<Reply> {
        let ttl = waiting::visit(keyspace, key, |draft: &mut Draft, entry, _| {
            let ttl = draft.renew(&entry.sorted_set()?, owner, lease).map_err(waiting::foreign_semaphore)?;
            if ttl.is_some() {
                waiting::renewed(keyspace, Kind::Semaphore, key, owner, keyspace.now().floor_ms().plus(lease))?;
            }
            Ok(ttl)
        })?;
        Ok(Reply::Integer(ttl.map_or(-1, DurationMs::reply)))
    }
}
