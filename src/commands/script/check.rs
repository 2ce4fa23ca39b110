//! `ATOMIC.SCRIPT CHECK script`: lists what differs or fails when a script moves here, without running it.
//!
//! Reply: an array with a map per finding, in the order of their lines: `line`, `kind` and `text`; empty when there is nothing to say.
//! The kinds are `error`, `differs`, `global`, `key`, `command`, `replica`, `cluster`, `rollback` and `native`. Only what can be seen
//! in the source is found: a key or a command that the script computes is not. The script is not cached.

use super::READS;
use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::lua::Finding;
use crate::scripting;
use crate::server::args::Args;
use crate::server::reply::{Reply, number};

pub struct Check;

impl Command for Check {
    const SPEC: Spec = Spec {
        name: c"atomic.script|check",
        flags: READS,
        categories: c"scripting",
        summary: c"Lists what differs or fails when a Lua script moves here, without running it.",
        complexity: c"O(N) with a script of N bytes",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::string(c"script")],
    };

    type Request<'a> = &'a [u8];

    fn parse(mut args: Args<'_>) -> Result<&[u8]> {
        let script = args.bytes()?;
        args.finish()?;
        Ok(script)
    }

    fn run(keyspace: &Keyspace, script: &[u8]) -> Result<Reply> {
        Ok(Reply::Array(scripting::check(keyspace.ctx(), script)?.iter().map(entry).collect()))
    }
}

fn entry(finding: &Finding) -> Reply {
    Reply::Map(vec![
        ("line", Reply::Integer(number(finding.line))),
        ("kind", Reply::text(finding.kind.name())),
        ("text", Reply::text(&finding.text)),
    ])
}
