//! `ATOMIC.UNLOCK key owner [ALL]`: releases a lock.
//!
//! Reply: the holds that the owner has left, 0 when the lock is released; -1 when `owner` does not own the lock or its lease
//! ended. ALL releases every hold. For a lock acquired with `SET key token NX PX ms` the owner is the token.
//! The same write hands the lock off to the next waiters. Replicates `SET key state PXAT t` with the new holders, or `DEL key`.
//! Errors: as ATOMIC.LOCK.

use super::lock::owner;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::lock::{Draft, Release};
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Kind};

pub struct Unlock;

pub struct Request<'a> {
    key: Str<'a>,
    owner: &'a [u8],
    release: Release,
}

impl Command for Unlock {
    const SPEC: Spec = Spec {
        name: c"atomic.unlock",
        flags: c"write",
        categories: c"string",
        summary: c"Releases a lock.",
        complexity: c"O(1), O(N) with N owners of a SHARED lock",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, Arg::string(c"owner"), Arg::word(c"all", c"ALL").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, owner) = (args.take()?, owner(&mut args)?);
        let release = match args.take_if_any() {
            None => Release::One,
            Some(option) if is(option.bytes(), "ALL") => Release::All,
            Some(option) => return Err(syntax(option.bytes())),
        };
        args.finish()?;
        Ok(Request { key, owner, release })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let (key, owner) = (request.key, request.owner);
        let left = waiting::visit(keyspace, key, |draft: &mut Draft, _, _| {
            let left = draft.release(owner, request.release);
            // Before the queue is served: a waiter of the same owner may bind a new hold.
            if left == Some(0) {
                waiting::forget(keyspace, Kind::Lock, key, owner)?;
            }
            Ok(left)
        })?;
        Ok(Reply::Integer(left.map_or(-1, i64::from)))
    }
}
