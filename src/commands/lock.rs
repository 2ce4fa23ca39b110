//! `ATOMIC.LOCK key owner lease-ms [WAIT ms] [SHARED] [REENTRANT] [BIND] [MAXQUEUE n]`: acquires a lock with a lease, optionally
//! waiting for it.
//!
//! `owner` is a unique name of 1 to 255 bytes; `lease-ms` is 1..=31536000000. WAIT blocks the client until the lock is granted,
//! for at most `ms` (0..=31536000000; 0 waits indefinitely), first come, first served. MAXQUEUE denies at once when `n`
//! (1..=1000000) clients already wait. SHARED shares the lock with other readers, at most 1024; readers that arrive after a
//! waiting writer queue after it. REENTRANT adds a hold if the owner already holds the lock. With BIND the server
//! renews the lease while the connection lives, and releases all that the owner holds when it closes.
//! Reply: `[1, fence, ttl-ms, holds, waiters]` when granted; `[0, 0, ttl-ms of the holder or -1, 0, waiters]` when denied.
//! A request by the owner that already holds the lock passes the waiters, keeps `holds` and the fence, and never shortens the lease,
//! so it is safe to send again. With REENTRANT it increments `holds`, each of which needs an UNLOCK, so it is not. An exclusive owner
//! that asks for SHARED stays exclusive. A reader that asks for the exclusive lock gets it, with a new fence, when it is the only
//! reader; otherwise it is denied at once, also with WAIT, since two such owners would wait for each other.
//! A lock that another client acquired with `SET key token NX PX ms` is respected. WAIT does not wait in MULTI, in scripts or on
//! replicas.
//! TTL: the key lives until the last lease ends. Replicates `SET key state PXAT t`; waiting, denials and a repetition that does not
//! extend the lease write and replicate nothing.
//! Errors: WRONGTYPE when the key holds another type or a damaged lock; `owner must be 1 to 255 bytes`; a number out of range;
//! `BIND needs a client connection` in a script.

use std::borrow::Cow;

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms::{self, Options};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::lock::{Again, Draft, MAX_OWNER_BYTES, Mode};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Claim, Terms};

pub struct Lock;

pub struct Request<'a> {
    key: Str<'a>,
    claim: Claim<'a>,
    terms: Terms,
}

impl Command for Lock {
    const SPEC: Spec = Spec {
        name: c"atomic.lock",
        flags: c"write deny-oom blocking",
        categories: c"string",
        summary: c"Acquires a lock with a lease, optionally waiting for it.",
        complexity: c"O(1), O(N) with N owners of a SHARED lock. Waiting costs nothing; a hand-off is O(log(N)) with N waiters.",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::string(c"owner"),
            Arg::integer(c"lease-ms"),
            terms::WAIT,
            Arg::word(c"shared", c"SHARED").optional(),
            Arg::word(c"reentrant", c"REENTRANT").optional(),
            terms::BIND,
            terms::MAXQUEUE,
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, owner, lease) = (args.take()?, owner(&mut args)?, args.duration("lease-ms")?);
        let (mut options, mut shared, mut reentrant) = (Options::default(), None, None);
        while let Some(option) = args.take_if_any() {
            if is(option.bytes(), "SHARED") {
                fill(&mut shared, (), option.bytes())?;
            } else if is(option.bytes(), "REENTRANT") {
                fill(&mut reentrant, (), option.bytes())?;
            } else if !options.take(option.bytes(), &mut args)? {
                return Err(syntax(option.bytes()));
            }
        }
        let mode = if shared.is_some() { Mode::Shared } else { Mode::Exclusive };
        let again = if reentrant.is_some() { Again::Count } else { Again::Keep };
        let claim = Claim::Lock { owner: Cow::Borrowed(owner), lease, mode, again };
        Ok(Request { key, claim, terms: options.terms()? })
    }

    fn run(keyspace: &Keyspace, Request { key, claim, terms }: Request<'_>) -> Result<Reply> {
        waiting::warn_once(keyspace.ctx());
        waiting::acquire::<Draft>(keyspace, key, claim, terms)
    }
}

pub(super) fn owner<'a>(args: &mut Args<'a>) -> Result<&'a [u8]> {
    args.token("owner", MAX_OWNER_BYTES, "must be 1 to 255 bytes")
}
