//! `ATOMIC.LOCKINFO key`: returns the owners of a lock.
//!
//! Reply: a map (RESP2: a flat array of names and values), empty when the lock is free:
//!   `mode`     `exclusive`, `shared`, or `string` for a lock acquired with `SET key token NX PX ms`
//!   `owners`   an array of `[owner, holds, ttl-ms]`; ttl-ms is -1 for a string lock without a TTL
//!   `fence`    the fencing token; 0 for a string lock
//!   `ttl`      ms until the last lease ends, or -1
//!   `waiters`  the number of waiting clients
//! Works on replicas. Errors: as ATOMIC.LOCK.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::{Found, Keyspace, fence};
use crate::primitives::lock::{Holder, Lock, Mode, Stored, is_ours};
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};
use crate::waiting::{self, Kind};

pub struct LockInfo;

impl Command for LockInfo {
    const SPEC: Spec = Spec {
        name: c"atomic.lockinfo",
        flags: c"readonly",
        categories: c"string",
        summary: c"Returns the owners, fencing token, TTL and waiters of a lock.",
        complexity: c"O(N) with N owners",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::first(KeyFlags::Read),
        args: &[Arg::KEY],
    };

    type Request<'a> = Str<'a>;

    fn parse(mut args: Args<'_>) -> Result<Str<'_>> {
        let key = args.take()?;
        args.finish()?;
        Ok(key)
    }

    fn run(keyspace: &Keyspace, key: Str<'_>) -> Result<Reply> {
        let now = keyspace.now().floor_ms();
        let stored = keyspace.read(key, decode)?;
        let waiters = waiting::waiters(keyspace, Kind::Lock, key)?;
        Ok(match stored {
            None => Reply::Map(Vec::new()),
            Some(Stored::Foreign { token, until }) => foreign(token, until.map(|until| until.since(now)), waiters),
            Some(Stored::Ours(lock)) => lock.valid(now).map_or_else(|| Reply::Map(Vec::new()), |lock| ours(&lock, now, waiters)),
        })
    }
}

fn decode(mut found: Found<'_>) -> Result<Stored> {
    let until = if is_ours(found.bytes()) { None } else { found.until() };
    let stored = Stored::decode(found.bytes(), until).map_err(waiting::foreign_lock)?;
    stored.fence().into_iter().for_each(fence::observe);
    Ok(stored)
}

fn foreign(token: Vec<u8>, ttl: Option<DurationMs>, waiters: i64) -> Reply {
    let ttl = ttl.map_or(-1, DurationMs::reply);
    let owner = Reply::Array(vec![Reply::Bulk(token), Reply::Integer(1), Reply::Integer(ttl)]);
    info("string", vec![owner], 0, ttl, waiters)
}

fn ours(lock: &Lock, now: UnixMs, waiters: i64) -> Reply {
    let mode = match lock.mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    };
    // In order of acquisition, by fence: the storage reuses free places.
    let mut holders: Vec<_> = lock.holders.iter().collect();
    holders.sort_by_key(|holder| holder.fence);
    let owners = holders.into_iter().map(|holder| owner(holder, now)).collect();
    info(mode, owners, number(lock.fence), lock.deadline().since(now).reply(), waiters)
}

fn owner(holder: &Holder, now: UnixMs) -> Reply {
    Reply::Array(vec![
        Reply::Bulk(holder.owner.clone()),
        Reply::Integer(holder.holds.into()),
        Reply::Integer(holder.deadline.since(now).reply()),
    ])
}

fn info(mode: &str, owners: Vec<Reply>, fence: i64, ttl: i64, waiters: i64) -> Reply {
    Reply::Map(vec![
        ("mode", Reply::text(mode)),
        ("owners", Reply::Array(owners)),
        ("fence", Reply::Integer(fence)),
        ("ttl", Reply::Integer(ttl)),
        ("waiters", Reply::Integer(waiters)),
    ])
}
