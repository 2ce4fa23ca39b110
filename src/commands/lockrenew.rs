//! `ATOMIC.LOCKRENEW key owner lease-ms`: sets the owner's lease to end `lease-ms` from now.
//!
//! Reply: the new TTL in ms; -1 when `owner` does not own the lock or its lease ended. For a lock acquired with `SET key token NX
//! PX ms` the owner is the token.
//! Replicates `SET key state PXAT t`; for a lock with many readers, `SETRANGE` of the changed part and `PEXPIREAT key t`; for
//! another client's lock, `PEXPIREAT key t`. Errors: as ATOMIC.LOCK.

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::lock::Draft;
use crate::primitives::time::DurationMs;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Kind};

pub struct LockRenew;

pub struct Request<'a> {
    pub(super) key: Str<'a>,
    pub(super) owner: &'a [u8],
    pub(super) lease: DurationMs,
}

impl<'a> Request<'a> {
    pub(super) fn parse(mut args: Args<'a>) -> Result<Self> {
        let request = Self { key: args.take()?, owner: owner(&mut args)?, lease: args.duration("lease-ms")? };
        args.finish()?;
        Ok(request)
    }
}

impl Command for LockRenew {
    const SPEC: Spec = Spec {
        name: c"atomic.lockrenew",
        flags: c"write",
        categories: c"string",
        summary: c"Renews the lease of a lock.",
        complexity: c"O(1), O(N) with N owners of a SHARED lock",
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
        let ttl = waiting::visit(keyspace, key, |draft: &mut Draft, _, _| {
            let ttl = draft.renew(owner, lease);
            if ttl.is_some() {
                waiting::renewed(keyspace, Kind::Lock, key, owner, keyspace.now().floor_ms().plus(lease))?;
            }
            Ok(ttl)
        })?;
        Ok(Reply::Integer(ttl.map_or(-1, DurationMs::reply)))
    }
}
