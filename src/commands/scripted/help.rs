//! `ATOMIC.COMMANDS HELP`: returns the subcommands, in the format of the server's own HELP commands.

use super::READS;
use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Help;

const LINES: &[&str] = &[
    "ATOMIC.COMMANDS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "LIST",
    "    Return the scripted commands with their files and calls.",
    "RELOAD",
    "    Reload the files of commands-dir, all or none.",
    "HELP",
    "    Print this help.",
];

impl Command for Help {
    const SPEC: Spec = Spec {
        name: c"atomic.commands|help",
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
