//! `ATOMIC.FUNCTION`: the container for the function library commands, one file each.
//!
//! The server's own function store keeps, saves and replicates the libraries, and these commands use the syntax of the server's
//! FUNCTION. This module runs the functions.

use super::help::{self, Help};
use super::spec::Spec;

pub mod delete;
pub mod dump;
pub mod flush;
pub mod kill;
pub mod list;
pub mod load;
pub mod restore;
pub mod stats;

pub const CONTAINER: Spec = Spec::container(c"atomic.function", c"A container for function library commands.");

/// `ATOMIC.FUNCTION HELP`: the subcommands, in the format of the server's own HELP.
pub struct Function;

impl Help for Function {
    const SPEC: Spec = Spec { name: c"atomic.function|help", flags: c"allow-loading allow-stale deny-script", ..help::SPEC };
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
}
