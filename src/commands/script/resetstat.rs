//! `ATOMIC.SCRIPT RESETSTAT`: resets the statistics.
//!
//! Reply: OK. Zeroes the calls, errors and times of every script and scripted command, and the counters of STATS and INFO:
//! `calls`, `errors`, `evicted`, `store-refused`. Current values stay: scripts, bytes, memory.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct ResetStat;

impl Command for ResetStat {
    const SPEC: Spec = Spec {
        name: c"atomic.script|resetstat",
        flags: READS,
        categories: c"scripting",
        summary: c"Resets the statistics of scripts and scripted commands.",
        complexity: c"O(N) with N scripts",
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
