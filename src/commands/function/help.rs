//! `ATOMIC.FUNCTION HELP`: the subcommands, in the form of the server's own FUNCTION HELP.

use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Help;

const LINES: &[&str] = &[
    "ATOMIC.FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DELETE <library-name>",
    "    Delete a library and all its functions.",
    "DUMP",
    "    Return a serialized payload of all libraries, for RESTORE.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "KILL",
    "    End the function that keeps the server busy, if it has written nothing.",
    "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
    "    Return the libraries, with their functions.",
    "LOAD [REPLACE] <function-code>",
    "    Load a library, in place of one of the same name if REPLACE is given.",
    "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
    "    Load the libraries of a payload: instead of all that are there, beside them (the default), or in place of those of the same name.",
    "STATS",
    "    Return the function that keeps the server busy, and how many libraries and functions there are.",
    "HELP",
    "    Print this help.",
];

impl Command for Help {
    const SPEC: Spec = Spec {
        name: c"atomic.function|help",
        flags: c"allow-loading allow-stale deny-script",
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
