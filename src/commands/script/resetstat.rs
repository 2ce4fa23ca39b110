//! `ATOMIC.SCRIPT RESETSTAT`: start to count anew.
//!
//! Reply: OK. Zeroes calls, errors and times of every script and of every command from a file, and what STATS and INFO count since the
//! start: `calls`, `errors`, `evicted`, `store-refused`. What there is stays: scripts, bytes, memory.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct ResetStat;

impl Command for ResetStat {
    const SPEC: Spec = Spec {
        name: c"atomic.script|resetstat",
        flags: READS,
        categories: c"scripting",
        summary: c"Zeroes the statistics of all scripts.",
        complexity: c"O(N) in the number of scripts",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(_keyspace: &Keyspace, (): ()) -> Result<Reply> {
        scripting::engine()?.reset_stats();
        Ok(Reply::Ok)
    }
}
