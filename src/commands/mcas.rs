//! `ATOMIC.MCAS key expected new [key expected new ...]`: compare-and-set on several keys, all or none.
//!
//! 1 to 128 keys, all different; in a cluster all in one slot.
//!
//! Reply: `[1, -1]` when all keys were set; `[0, index]` when none was: the first key, counted from 0, that holds another value or
//! does not exist. TTL: as in SET, cleared. Replicates: `SET key new` for every key, in one transaction; nothing when nothing
//! changed. Errors: WRONGTYPE when any key is not a string, even if an earlier key does not match; `at most 128 keys`; `key must not
//! be given twice`; wrong number of arguments unless each key has both values.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::cas;
use crate::primitives::effect::{Effect, Expiry};
use crate::server::args::{Args, distinct};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};

pub struct MCas;

pub struct Request<'a> {
    /// Key, expected value, new value.
    swaps: &'a [[Str<'a>; 3]],
}

impl Command for MCas {
    const SPEC: Spec = Spec {
        name: c"atomic.mcas",
        flags: c"write deny-oom",
        categories: c"string",
        summary: c"Sets several keys, all or none, if each holds its expected value.",
        complexity: c"O(N) in the number of keys, and in the length of the values whose lengths match",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::from_on(1, 3, KeyFlags::Update),
        args: &[Arg::block(c"swap", &[Arg::KEY, Arg::string(c"expected"), Arg::string(c"new")]).multiple()],
    };

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        let (swaps, left) = args.rest().as_chunks::<3>();
        if swaps.is_empty() || !left.is_empty() {
            return Err(Error::Arity);
        }
        distinct(swaps.iter().map(|[key, ..]| key))?;
        Ok(Request { swaps })
    }

    fn run(keyspace: &Keyspace, Request { swaps }: Request<'_>) -> Result<Reply> {
        let compared = swaps.iter().map(|[key, expected, _]| keyspace.entry(*key).compare(expected.bytes()));
        let found = compared.collect::<Result<Vec<_>>>()?;
        if let Some(failed) = cas::first_failure(&found) {
            return Ok(Reply::from([0, number(failed)]));
        }
        let effects = swaps.iter().map(|[key, _, new]| (*key, Effect::Put { value: *new, expiry: Expiry::Clear }));
        keyspace.apply_all(effects.collect())?;
        Ok(Reply::from([1, -1]))
    }
}
