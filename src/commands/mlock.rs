//! `ATOMIC.MLOCK owner lease-ms key [key ...]`: acquires several locks with one lease, all or none.
//!
//! 1 to 128 keys, all different; in a cluster all in one slot. A lock that the owner already holds alone is acquired again. A key
//! with waiters counts as held.
//!
//! Reply: `[1, fence, ttl-ms]` when granted: the fence is higher than those of all earlier owners, the TTL is the shortest; `[0,
//! index, ttl-ms]` when denied: the first key, counted from 0, that another owner holds, and its TTL (-1: another client's lock
//! without a TTL). TTL: each key lives until its lease ends. Replicates: `SET key state PXAT t` for every key, in one transaction;
//! nothing for a denial. Errors: as ATOMIC.LOCK; `at most 128 keys`; `key must not be given twice`.

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, fence};
use crate::primitives::lock::{Claim, Claimed, Draft, Mode};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, distinct};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};
use crate::waiting::{self, Hold, Kind};

pub struct MLock;

pub struct Request<'a> {
    keys: &'a [Str<'a>],
    owner: &'a [u8],
    lease: DurationMs,
}

impl Command for MLock {
    const SPEC: Spec = Spec {
        name: c"atomic.mlock",
        flags: c"write deny-oom",
        categories: c"string",
        summary: c"Acquires several locks with one lease, all or none.",
        complexity: c"O(N) in the number of keys",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::from_on(3, 1, KeyFlags::Update),
        args: &[Arg::string(c"owner"), Arg::integer(c"lease-ms"), Arg::KEY.multiple()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (owner, lease, keys) = (owner(&mut args)?, args.duration("lease-ms")?, args.rest());
        if keys.is_empty() {
            return Err(Error::Arity);
        }
        distinct(keys.iter())?;
        Ok(Request { keys, owner, lease })
    }

    fn run(keyspace: &Keyspace, Request { keys, owner, lease }: Request<'_>) -> Result<Reply> {
        waiting::warn_once(keyspace.ctx());
        let drafts = keys.iter().map(|key| waiting::settled::<Draft>(keyspace, *key)).collect::<Result<Vec<_>>>()?;
        // One fence for all keys, above every stored one.
        let claim = Claim { owner, mode: Mode::Exclusive, lease };
        let issued = fence::next(keyspace.now());
        let now = keyspace.now().floor_ms();
        let (mut effects, mut holds) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        let (mut highest, mut shortest) = (0, lease);
        for ((index, key), (mut draft, waiters)) in keys.iter().enumerate().zip(drafts) {
            let is_new = !draft.is_held_by(owner);
            let overtakes = waiters > 0 && is_new;
            match if overtakes { Claimed::Held } else { draft.claim(claim, issued).map_err(waiting::foreign_lock)? } {
                Claimed::Granted { fence, ttl, .. } => {
                    (highest, shortest) = (fence.max(highest), ttl.min(shortest));
                    holds.push((*key, Hold { owner: owner.into(), fence: Some(fence), lease, until: now.plus(ttl), is_new }));
                    effects.push((*key, draft.effect()));
                }
                Claimed::Held => {
                    let ttl = draft.ttl().map_or(-1, DurationMs::reply);
                    return Ok(Reply::from([0, number(index), ttl]));
                }
                Claimed::Upgrade => return Err(waiting::upgrade()),
            }
        }
        fence::observe(highest);
        keyspace.apply_all(effects)?;
        for (key, hold) in holds {
            waiting::acquired(&waiting::resource(keyspace, Kind::Lock, key), &hold, None, now)?;
        }
        Ok(Reply::from([1, number(highest), shortest.reply()]))
    }
}
