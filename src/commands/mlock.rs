//! `ATOMIC.MLOCK owner lease-ms key [key ...]`: acquires several locks with one lease, all or none.
//!
//! 1 to 128 keys, all different; in a cluster all in one slot. A key that the owner already holds counts as free, also with waiters
//! and also when the owner is its only reader: the owner keeps its `holds`, and its lease gets no shorter. Any other key with
//! waiters counts as held. All keys get one new fence. If the owner already holds all of them exclusively with one fence, as after
//! the same request, that fence stays. So the request is safe to send again.
//!
//! Reply: `[1, fence, ttl-ms]` when granted: the fence is higher than those of all earlier owners, the TTL is the shortest; `[0,
//! index, ttl-ms]` when denied: the first key, counted from 0, that another owner holds, and its TTL (-1: another client's lock
//! without a TTL). TTL: each key lives until its lease ends. Replicates: `SET key state PXAT t` for every key that changes, in one
//! transaction; nothing for a denial. Errors: as ATOMIC.LOCK; `at most 128 keys`; `key must not be given twice`.

use std::borrow::Cow;

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, fence};
use crate::primitives::lock::{Again, Claim, Claimed, Draft, Mode};
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
        let again = if common_fence(&drafts, owner).is_some() { Again::Keep } else { Again::Renumber };
        let claim = Claim { owner, mode: Mode::Exclusive, lease, again };
        // One fence for all keys, above every stored one.
        let issued = drafts.iter().fold(fence::next(keyspace.now()), |issued, (draft, _)| draft.next_fence(issued));
        let now = keyspace.now().floor_ms();
        let (mut effects, mut holds) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        let mut granted = issued;
        for ((index, key), (mut draft, waiters)) in keys.iter().enumerate().zip(drafts) {
            let is_new = !draft.is_held_by(owner);
            let overtakes = waiters > 0 && is_new;
            match if overtakes {
                Claimed::Held
            } else {
                draft.claim(claim, issued, || keyspace.entry(*key).expiry()).map_err(waiting::foreign_lock)?
            } {
                Claimed::Granted { fence, ttl, .. } => {
                    granted = fence;
                    holds.push((
                        *key,
                        Hold { owner: Cow::Borrowed(owner), fence: Some(fence), lease, until: now.plus(ttl), is_new },
                    ));
                    effects.push((*key, draft.effect()));
                }
                Claimed::Held => return Ok(denial(index, draft.ttl())),
                Claimed::HeldTogether { until } => return Ok(denial(index, Some(until.since(now)))),
            }
        }
        let shortest = holds.iter().map(|(_, hold)| hold.until.since(now)).min().unwrap_or(lease);
        fence::observe(granted);
        keyspace.apply_all(effects)?;
        for (key, hold) in holds {
            waiting::acquired(keyspace, Kind::Lock, key, || Some(hold), None)?;
        }
        Ok(Reply::from([1, number(granted), shortest.reply()]))
    }
}

/// The fence of an owner that holds all locks exclusively with the same one.
fn common_fence(drafts: &[(Draft, usize)], owner: &[u8]) -> Option<u64> {
    let mut fences = drafts.iter().map(|(draft, _)| draft.exclusive_fence(owner));
    let first = fences.next()??;
    fences.all(|fence| fence == Some(first)).then_some(first)
}

fn denial(index: usize, ttl: Option<DurationMs>) -> Reply {
    Reply::from([0, number(index), ttl.map_or(-1, DurationMs::reply)])
}
