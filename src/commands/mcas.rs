//! `ATOMIC.MCAS numkeys key [key ...] expected new [expected new ...]`: compare-and-set on several keys, all or none.
//!
//! The i-th pair is for the i-th key. 1 to 128 keys, all different; in a cluster all in one slot.
//!
//! Reply: `[1, -1]` when all were set; `[0, index]` when none was, with the first key, counted from 0, that holds another value or does
//! not exist. TTL: as in SET, cleared. Replicates: `SET key new` for every key, in one transaction; nothing when nothing changed.
//! Errors: WRONGTYPE when any of the keys is not a string, even behind one that differs; `numkeys must be an integer in 1..=128`;
//! `key must not be given twice`; wrong number of arguments unless there is exactly one pair per key.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::cas;
use crate::primitives::effect::{Effect, Expiry};
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};

/// See the top of this file.
pub struct MCas;

/// The arguments.
pub struct Request<'a> {
    keys: &'a [Str<'a>],
    /// Expected and new value, one pair per key.
    pairs: &'a [[Str<'a>; 2]],
}

impl Command for MCas {
    const SPEC: Spec = Spec {
        name: c"atomic.mcas",
        flags: c"write deny-oom",
        categories: c"string",
        summary: c"Sets several keys only if all of them hold the expected values.",
        complexity: c"O(N) in the number of keys, and in the length of the values whose lengths match",
        since: c"0.1.0",
        arity: -5,
        keys: Keys::Numbered(KeyFlags::Update),
        args: &[
            Arg::integer(c"numkeys"),
            Arg::KEY.multiple(),
            Arg::block(c"pair", &[Arg::string(c"expected"), Arg::string(c"new")]).multiple(),
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let keys = args.keys()?;
        let (pairs, left) = args.rest().as_chunks();
        if left.is_empty() && pairs.len() == keys.len() { Ok(Request { keys, pairs }) } else { Err(Error::Arity) }
    }

    fn run(keyspace: &Keyspace, Request { keys, pairs }: Request<'_>) -> Result<Reply> {
        let both = || keys.iter().copied().zip(pairs);
        let found =
            both().map(|(key, [expected, _])| keyspace.entry(key).compare(expected.bytes())).collect::<Result<Vec<_>>>()?;
        if let Some(failed) = cas::first_failure(&found) {
            return Ok(Reply::from([0, number(failed)]));
        }
        keyspace.apply_all(both().map(|(key, [_, new])| (key, Effect::Put { value: *new, expiry: Expiry::Clear })).collect())?;
        Ok(Reply::from([1, -1]))
    }
}
