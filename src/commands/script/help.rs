//! `ATOMIC.SCRIPT HELP`: returns the subcommands, in the format of the server's SCRIPT HELP.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Help;

const LINES: &[&str] = &[
    "ATOMIC.SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "EXISTS <sha1> [<sha1> ...]",
    "    Return whether the scripts exist.",
    "FLUSH [ASYNC|SYNC]",
    "    Remove all cached and stored scripts.",
    "KILL",
    "    Terminate the script that keeps the server busy, if it has written nothing.",
    "LIST [<sha1>] [COUNT <count>]",
    "    Return the scripts after a SHA1, with their size, storage and calls.",
    "LOAD <script>",
    "    Compile a script and store it, without running it.",
    "RESETSTAT",
    "    Reset the statistics of scripts and scripted commands.",
    "SHOW <sha1>",
    "    Return the source of a script.",
    "STATS [<sha1>]",
    "    Return the calls, errors, times and memory of all scripts or of one.",
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
