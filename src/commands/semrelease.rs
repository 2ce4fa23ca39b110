//! `ATOMIC.SEMRELEASE key owner [PERMITS n]`: releases permits of a semaphore.
//!
//! Releases one permit, or `PERMITS` of them; all of them when the owner has fewer.
//! Reply: the permits that the owner has left; -1 when it had none or their lease ended.
//! The same write grants the freed permits to the next waiters.
//! Replicates `ZREM key member ...`, `ZADD key score member ...` for changed counts and `PEXPIREAT key t` when the last lease now
//! ends earlier, in MULTI/EXEC when more than one. Releasing the last permit deletes the key. Errors: as ATOMIC.SEMACQUIRE.

use super::lock::owner;
use super::semacquire::{PERMITS, permits};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore::Draft;
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};
use crate::waiting::{self, Kind};

pub struct SemRelease;

pub struct Request<'a> {
    key: Str<'a>,
    owner: &'a [u8],
    permits: u64,
}

impl Command for SemRelease {
    const SPEC: Spec = Spec {
        name: c"atomic.semrelease",
        flags: c"write",
        categories: c"sortedset",
        summary: c"Releases permits of a semaphore.",
        complexity: c"O(log(N)+M) with N owners and M expired leases",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, Arg::string(c"owner"), PERMITS],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, owner) = (args.take()?, owner(&mut args)?);
        let permits = match args.take_if_any() {
            None => 1,
            Some(option) if is(option.bytes(), "PERMITS") => permits(&mut args)?,
            Some(option) => return Err(syntax(option.bytes())),
        };
        args.finish()?;
        Ok(Request { key, owner, permits })
    }

    fn run(keyspace: &Keyspace, Request { key, owner, permits }: Request<'_>) -> Result<Reply> {
        let left = waiting::visit(keyspace, key, |draft: &mut Draft, entry, _| {
            let left = draft.release(&entry.sorted_set()?, owner, permits).map_err(waiting::foreign_semaphore)?;
            // Before the queue is served: a waiter of the same owner may bind a new hold.
            if left == Some(0) {
                waiting::forget(keyspace, Kind::Semaphore, key, owner)?;
            }
            Ok(left)
        })?;
        Ok(Reply::Integer(left.map_or(-1, number)))
    }
}
