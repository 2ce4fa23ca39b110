//! `ATOMIC.SCRIPT HELP`: the subcommands, a line or two each, in the form of the server's own SCRIPT HELP.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Help;

const LINES: &[&str] = &[
    "ATOMIC.SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return information about the existence of the scripts.",
    "FLUSH [ASYNC|SYNC]",
    "    Forget every script and delete those that are stored.",
    "KILL",
    "    End the script that keeps the server busy, if it has written nothing.",
    "LIST [<sha1>] [COUNT <count>]",
    "    Return scripts, from behind a SHA1 on, with where they are kept and how often they ran.",
    "LOAD <script>",
    "    Compile a script and store it, without executing it.",
    "RESETSTAT",
    "    Zero the statistics of all scripts.",
    "SHOW <sha1>",
    "    Return the source of a script.",
    "STATS [<sha1>]",
    "    Return calls, errors, time and memory of all scripts or of one.",
    "HELP",
    "    Print this help.",
];

impl Command for Help {
    const SPEC: Spec = Spec {
        name: c"atomic.script|help",
        flags: READS,
        categories: c"scripting",
        summary: c"Returns help about the subcommands.",
        complexity: c"O(1)",
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
        Ok(Reply::Lines(LINES))
    }
}
