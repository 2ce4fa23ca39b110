//! `ATOMIC.LOCKINFO key`: returns the owners of a lock.
//!
//! Reply: a map (RESP2: a flat array of names and values), empty when the lock is free:
//!   `mode`     `exclusive`, `shared`, or `string` for a lock acquired with `SET key token NX PX ms`
//!   `owners`   an array of `[owner, holds, ttl-ms]`; ttl-ms is -1 for a string lock without a TTL
//!   `fence`    the fencing token; 0 for a string lock
//!   `ttl`      ms until the last lease ends, or -1
//!   `waiters`  the number of waiting clients
//!   `bound`    an array of `[owner, client-id]`: the owners whose hold is bound to a connection, in the order of `owners`
//!   `queue`    the owners that wait, in order, at most the first 100
//! `waiters`, `bound` and `queue` are what this node knows: a replica has no waiters and no bound holds.
//! Works on replicas. Errors: as ATOMIC.LOCK.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::{Found, Keyspace, fence};
use crate::primitives::codec::Name;
use crate::primitives::lock::{Holder, Lock, Mode, Stored, is_ours};
use crate::primitives::time::{DurationMs, UnixMs};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};
use crate::waiting::report::{self, Clients};
use crate::waiting::{self, Kind};

pub struct LockInfo;

/// The most owners in `queue`.
pub const QUEUE: usize = 100;

impl Command for LockInfo {
    const SPEC: Spec = Spec {
        name: c"atomic.lockinfo",
        flags: c"readonly",
        categories: c"string",
        summary: c"Returns the owners, fencing token, TTL and waiters of a lock.",
        complexity: c"O(N*log(N)) with N owners",
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
        let clients =
            |owners: &[&Holder]| report::clients(keyspace, Kind::Lock, key, owners.iter().map(|holder| &*holder.owner), QUEUE);
        match stored {
            Some(Stored::Foreign { token, until }) => Ok(foreign(token, until.map(|until| until.since(now)), clients(&[])?)),
            Some(Stored::Ours(mut lock)) => {
                if !lock.retain_valid(now) {
                    return Ok(Reply::Map(Vec::new()));
                }
                let holders = in_order(&lock);
                let clients = clients(&holders)?;
                Ok(ours(&lock, &holders, now, clients))
            }
            None => Ok(Reply::Map(Vec::new())),
        }
    }
}

fn decode(mut found: Found<'_>) -> Result<Stored> {
    let until = if is_ours(found.bytes()) { None } else { found.until() };
    let stored = Stored::decode(found.bytes(), || until).map_err(waiting::foreign_lock)?;
    stored.fence().into_iter().for_each(fence::observe);
    Ok(stored)
}

/// The holders in order of acquisition, by fence: the storage reuses free places.
fn in_order(lock: &Lock) -> Vec<&Holder> {
    let mut holders: Vec<_> = lock.holders.iter().collect();
    holders.sort_by_key(|holder| holder.fence);
    holders
}

fn foreign(token: Name, ttl: Option<DurationMs>, clients: Clients) -> Reply {
    let ttl = ttl.map_or(-1, DurationMs::reply);
    let owner = Reply::Array(vec![Reply::Bulk(token.into_vec()), Reply::Integer(1), Reply::Integer(ttl)]);
    info("string", vec![owner], 0, ttl, clients)
}

fn ours(lock: &Lock, holders: &[&Holder], now: UnixMs, clients: Clients) -> Reply {
    let mode = match lock.mode {
        Mode::Exclusive => "exclusive",
        Mode::Shared => "shared",
    };
    let owners = holders.iter().map(|holder| owner(holder, now)).collect();
    info(mode, owners, number(lock.fence), lock.deadline().since(now).reply(), clients)
}

fn owner(holder: &Holder, now: UnixMs) -> Reply {
    Reply::Array(vec![
        Reply::Bulk(holder.owner.to_vec()),
        Reply::Integer(holder.holds.into()),
        Reply::Integer(holder.deadline.since(now).reply()),
    ])
}

fn info(mode: &str, owners: Vec<Reply>, fence: i64, ttl: i64, clients: Clients) -> Reply {
    let mut fields = vec![
        ("mode", Reply::text(mode)),
        ("owners", Reply::Array(owners)),
        ("fence", Reply::Integer(fence)),
        ("ttl", Reply::Integer(ttl)),
    ];
    fields.extend(client_fields(clients));
    Reply::Map(fields)
}

/// The fields about clients, which stand last. A client that reads `owners` expects three elements of each entry, so the connections are
/// a field of their own.
pub fn client_fields(clients: Clients) -> [(&'static str, Reply); 3] {
    let bound = |(owner, client)| Reply::Array(vec![Reply::Bulk(owner), Reply::Integer(number(client))]);
    [
        ("waiters", Reply::Integer(number(clients.waiting))),
        ("bound", Reply::Array(clients.bound.into_iter().map(bound).collect())),
        ("queue", Reply::Array(clients.queue.into_iter().map(Reply::Bulk).collect())),
    ]
}
