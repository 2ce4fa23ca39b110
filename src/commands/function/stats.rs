//! `ATOMIC.FUNCTION STATS`: returns the function that keeps the server busy, and the number of libraries and functions.
//!
//! Reply: that of FUNCTION STATS, a map: `running_script`, null or a map of `name`, `command` and `duration_ms`; `engines`, a map
//! of `libraries_count` and `functions_count` by engine.
//! Errors: `BUSY` while a script, not a function, keeps the server busy.

use crate::commands::spec::{Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::busy;
use crate::scripting::library_store::server_list;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Stats;

impl Command for Stats {
    const SPEC: Spec = Spec {
        name: c"atomic.function|stats",
        flags: c"allow-busy deny-script",
        categories: c"scripting",
        summary: c"Returns the running function and the number of libraries and functions.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(keyspace: &Keyspace, (): ()) -> Result<Reply> {
        let ctx = keyspace.ctx();
        busy::refuse_during_script(ctx)?;
        let Some(running) = busy::running_function() else {
            server_list::relay(ctx, b"STATS", &[])?;
            return Ok(Reply::Sent);
        };
        let duration = i64::try_from(running.since.elapsed().as_millis()).unwrap_or(i64::MAX);
        let command = running.command.into_iter().map(Reply::Bulk).collect();
        let running = Reply::Map(vec![
            ("name", Reply::Bulk(running.name)),
            ("command", Reply::Array(command)),
            ("duration_ms", Reply::Integer(duration)),
        ]);
        let engine = |engine: server_list::Engine| {
            let libraries = ("libraries_count", Reply::Integer(engine.libraries));
            let functions = ("functions_count", Reply::Integer(engine.functions));
            (Reply::Bulk(engine.name), Reply::Map(vec![libraries, functions]))
        };
        let engines = Reply::Pairs(server_list::engines(ctx).into_iter().map(engine).collect());
        Ok(Reply::Map(vec![("running_script", running), ("engines", engines)]))
    }
}
