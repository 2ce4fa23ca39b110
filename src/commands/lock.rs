//! `ATOMIC.LOCK key owner lease-ms [WAIT ms] [SHARED] [BIND] [MAXQUEUE n]`: take a lock for a time, wait for it, or learn how long it is
//! taken.
//!
//! `owner` is a name of 1 to 255 bytes that is yours alone; `lease-ms` is 1..=31536000000. WAIT lets the server block you until your
//! turn comes, at most `ms` (0..=31536000000, 0 is for ever), first come, first served; MAXQUEUE refuses at once when `n` (1..=1000000)
//! clients wait already. SHARED holds it together with other readers, up to 1024; whoever comes after a waiting writer waits behind it.
//! BIND gives this hold back when the connection closes.
//! Reply: `[1, fence, ttl-ms, holds, waiters]` when you are an owner now; `[0, 0, ttl-ms of the holder or -1, 0, waiters]` when you are
//! not. Taking a lock again that you own counts `holds` up and keeps the fence; the lease never gets shorter by it.
//! A lock that another client took with `SET key token NX PX ms` is respected. In MULTI, in scripts and on replicas WAIT does not wait.
//! TTL: the key lives until the last lease ends. Replicates: `SET key state PXAT t`; a denial and waiting write and replicate nothing.
//! Errors: WRONGTYPE when the key holds another type or a damaged lock; `owner must be 1 to 255 bytes`; a number out of its range; `owner
//! holds this lock SHARED` for a reader that asks to write; `BIND needs a connection of its own` in a script.

use std::borrow::Cow;

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms::{self, Options};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::lock::{Draft, MAX_OWNER_BYTES, Mode};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Ask, Terms, Wanted};

/// See the top of this file.
pub struct Lock;

/// The arguments.
pub struct Request<'a> {
    key: Str<'a>,
    owner: &'a [u8],
    lease: DurationMs,
    mode: Mode,
    terms: Terms,
}

impl Command for Lock {
    const SPEC: Spec = Spec {
        name: c"atomic.lock",
        flags: c"write deny-oom blocking",
        categories: c"string",
        summary: c"Takes a lock for a time, waits for it, or tells how long it is taken.",
        complexity:
            c"O(1); O(N) with N readers of a SHARED lock. A waiting client costs nothing, its turn O(log N) with N waiting.",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::First(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::string(c"owner"),
            Arg::integer(c"lease-ms"),
            terms::WAIT,
            Arg::word(c"shared", c"SHARED").optional(),
            terms::BIND,
            terms::MAXQUEUE,
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, owner, lease) = (args.take()?, owner(&mut args)?, args.duration("lease-ms")?);
        let (mut options, mut shared) = (Options::default(), None);
        while let Some(option) = args.take_if_any() {
            if is(option.bytes(), "SHARED") {
                fill(&mut shared, (), option.bytes())?;
            } else if !options.take(option.bytes(), &mut args)? {
                return Err(syntax(option.bytes()));
            }
        }
        let mode = if shared.is_some() { Mode::Shared } else { Mode::Exclusive };
        Ok(Request { key, owner, lease, mode, terms: options.terms()? })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        waiting::warn_once(keyspace.ctx());
        let wanted = Wanted { owner: Cow::Borrowed(request.owner), lease: request.lease, ask: Ask::Lock(request.mode) };
        waiting::acquire::<Draft>(keyspace, request.key, wanted, request.terms)
    }
}

/// Reads the owner's name.
pub(super) fn owner<'a>(args: &mut Args<'a>) -> Result<&'a [u8]> {
    args.token("owner", MAX_OWNER_BYTES, "must be 1 to 255 bytes")
}
