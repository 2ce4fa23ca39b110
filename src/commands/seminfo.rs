//! `ATOMIC.SEMINFO key`: returns the owners of a semaphore's permits.
//!
//! Reply: a map (RESP2: a flat array of names and values), empty when no permit is in use:
//!   `in-use`   the number of permits in use
//!   `owners`   an array of `[owner, permits, ttl-ms]`, sorted by owner
//!   `ttl`      ms until the last lease ends
//!   `waiters`, `bound`, `queue`  as in ATOMIC.LOCKINFO
//! Works on replicas. Errors: as ATOMIC.SEMACQUIRE.

use super::lockinfo::{QUEUE, client_fields};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::semaphore;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number, ttl};
use crate::waiting::{self, Kind, report};

pub struct SemInfo;

impl Command for SemInfo {
    const SPEC: Spec = Spec {
        name: c"atomic.seminfo",
        flags: c"readonly",
        categories: c"sortedset",
        summary: c"Returns the owners, permits, TTLs and waiters of a semaphore.",
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
        let owners = keyspace.read_sorted_set(key, |stored| semaphore::owners(stored, now).map_err(waiting::foreign_semaphore));
        let owners = owners?.unwrap_or_default();
        if owners.is_empty() {
            return Ok(Reply::Map(Vec::new()));
        }
        let in_use = owners.values().map(|owner| owner.permits).fold(0, u64::saturating_add);
        let until = owners.values().map(|owner| owner.until).max();
        let names = owners.keys().map(|name| &name[..]);
        let clients = report::clients(keyspace, Kind::Semaphore, key, names, QUEUE)?;
        let listed = owners.into_iter().map(|(name, owner)| {
            let numbers = [number(owner.permits), ttl(Some(owner.until), now)].map(Reply::Integer);
            Reply::Array([Reply::Bulk(name.into_vec())].into_iter().chain(numbers).collect())
        });
        let mut fields = vec![
            ("in-use", Reply::Integer(number(in_use))),
            ("owners", Reply::Array(listed.collect())),
            ("ttl", Reply::Integer(ttl(until, now))),
        ];
        fields.extend(client_fields(clients));
        Ok(Reply::Map(fields))
    }
}
