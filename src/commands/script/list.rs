//! `ATOMIC.SCRIPT LIST`: all scripts.
//!
//! Reply: an array with a map per script, in the order of their SHA1: `sha1`; `bytes`, of its source; `stored`, 1 if it is in the function
//! store and 0 if it can be evicted; `calls`, its runs on this server since it was first seen or the statistics were reset. RESP2 has
//! flat arrays for the maps.

use super::{READS, store};
use crate::commands::scripting;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::{Reply, number};
use crate::script::Listed;

/// See the top of this file.
pub struct List;

impl Command for List {
    const SPEC: Spec = Spec {
        name: c"atomic.script|list",
        flags: READS,
        categories: c"scripting",
        summary: c"Lists all scripts, with where they are kept and how often they ran.",
        complexity: c"O(N*log(N)) in the number of scripts and function libraries",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(keyspace: &Keyspace, (): ()) -> Result<Reply> {
        let mut scripting = scripting::engine()?;
        store::reconcile(keyspace.ctx(), &mut scripting.engine);
        Ok(Reply::Array(scripting.engine.list().into_iter().map(entry).collect()))
    }
}

fn entry(script: Listed) -> Reply {
    Reply::Map(vec![
        ("sha1", Reply::Bulk(script.digest.hex().to_vec())),
        ("bytes", Reply::Integer(number(script.bytes))),
        ("stored", Reply::Integer(script.stored.into())),
        ("calls", Reply::Integer(number(script.calls))),
    ])
}
