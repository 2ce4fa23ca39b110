//! `ATOMIC.SCRIPT STATS [sha1]`: returns statistics of all scripts, or of one.
//!
//! Reply: a map, which is a flat array in RESP2.
//!
//! All scripts: `scripts` and the `bytes` of their sources; `stored` and `stored-bytes`, those in the function store;
//! `stored-memory`, the memory they use, which `script-store-max-bytes` limits; `store-refused`, scripts loaded but not stored;
//! `evicted`; `calls` and `errors`, including evicted scripts and calls that found no script; `vm-memory`, the memory of the
//! engine in bytes.
//!
//! One script: `bytes` of its source; `stored`, 1 or 0; `memory`, roughly what compiling it took, or 0 before its first use;
//! `native`, 1 when it runs as machine code; `calls` and `errors`; `p50-us`, `p99-us`, `max-us` and `total-us`, the time of its
//! runs in microseconds, rounded up. Percentiles are accurate to a sixteenth. Times cover its runs, not its compilation.
//! `undeclared` counts the uses of keys that the script had not declared, unless `script-undeclared-keys` is `allow`.
//!
//! All counters are this server's own, since it started or RESETSTAT. Errors: NOSCRIPT when there is no such script.

use super::READS;
use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::ScriptStats;
use crate::scripting::script_store;
use crate::scripting::{self, Scripting};
use crate::server::args::Args;
use crate::server::reply::{Reply, number};

pub struct Stats;

impl Command for Stats {
    const SPEC: Spec = Spec {
        name: c"atomic.script|stats",
        flags: READS,
        categories: c"scripting",
        summary: c"Returns the calls, errors, times and memory of all scripts or of one.",
        complexity: c"O(1), O(N) with N function libraries after a change to the function store",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::string(c"sha1").optional()],
    };

    type Request<'a> = Option<&'a [u8]>;

    fn parse(mut args: Args<'_>) -> Result<Option<&[u8]>> {
        let sha = args.take_if_any().map(|sha| sha.bytes());
        args.finish()?;
        Ok(sha)
    }

    fn run(keyspace: &Keyspace, sha: Option<&[u8]>) -> Result<Reply> {
        let mut scripting = scripting::engine()?;
        let Some(sha) = sha else {
            script_store::follow(keyspace.ctx(), &mut scripting.engine);
            return Ok(of_all(&scripting));
        };
        let digest = script_store::find(keyspace.ctx(), &mut scripting.engine, sha).ok_or(Error::NoScript)?;
        scripting.engine.script_stats(digest).map(|stats| of_one(&stats)).ok_or(Error::NoScript)
    }
}

fn of_all(scripting: &Scripting) -> Reply {
    let stats = scripting.engine.stats();
    let (calls, errors) = scripting.runs();
    Reply::Map(vec![
        ("scripts", Reply::Integer(number(stats.cache.scripts))),
        ("bytes", Reply::Integer(number(stats.cache.bytes))),
        ("stored", Reply::Integer(number(stats.cache.stored))),
        ("stored-bytes", Reply::Integer(number(stats.cache.stored_bytes))),
        ("stored-memory", Reply::Integer(number(stats.cache.stored_memory))),
        ("store-refused", Reply::Integer(number(scripting.store.refused()))),
        ("evicted", Reply::Integer(number(stats.cache.evicted))),
        ("calls", Reply::Integer(number(calls))),
        ("errors", Reply::Integer(number(errors))),
        ("vm-memory", Reply::Integer(number(stats.vm_bytes))),
    ])
}

fn of_one(script: &ScriptStats) -> Reply {
    let microseconds = |nanoseconds: u64| Reply::Integer(number(nanoseconds.div_ceil(1000)));
    Reply::Map(vec![
        ("bytes", Reply::Integer(number(script.bytes))),
        ("stored", Reply::Integer(script.stored.into())),
        ("memory", Reply::Integer(number(script.memory))),
        ("native", Reply::Integer(script.native.into())),
        ("calls", Reply::Integer(number(script.runs.calls))),
        ("errors", Reply::Integer(number(script.runs.errors))),
        ("p50-us", microseconds(script.runs.p50)),
        ("p99-us", microseconds(script.runs.p99)),
        ("max-us", microseconds(script.runs.max)),
        ("total-us", microseconds(script.runs.total)),
        ("undeclared", Reply::Integer(number(script.runs.undeclared))),
    ])
}
