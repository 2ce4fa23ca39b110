//! `ATOMIC.FUNCTION HELP`: returns the subcommands, in the format of the server's FUNCTION HELP.

use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Help;

const LINES: &[&str] = &[
    "ATOMIC.FUNCTION <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "DELETE <library-name>",
    "    Delete a library and its functions.",
    "DUMP",
    "    Return a serialized payload of all libraries, for RESTORE.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "KILL",
    "    Terminate the function that keeps the server busy, if it has written nothing.",
    "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
    "    Return the libraries and their functions.",
    "LOAD [REPLACE] <function-code>",
    "    Load a library. REPLACE replaces a library of the same name.",
    "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries of a payload. FLUSH deletes all existing libraries first, APPEND (the default) keeps them, and REPLACE",
    "    replaces those of the same name.",
    "STATS",
    "    Return the function that keeps the server busy, and the number of libraries and functions.",
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
