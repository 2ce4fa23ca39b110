//! `ATOMIC.COMMANDS`: a container for the commands about scripted commands, one file each.

pub mod list;
pub mod reload;

use std::ffi::CStr;

use super::guard::Named;
use super::help::{self, Help};
use super::spec::{KeyFlags, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::scripted;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub const CONTAINER: Spec = Spec::container(c"atomic.commands", c"A container for scripted command management.");

/// The flags of the read-only subcommands.
const READS: &CStr = c"allow-stale deny-script";

/// The scripted commands themselves.
pub struct Scripted;

impl Named for Scripted {
    fn keys(argv: &[Str<'_>], report: impl FnMut(usize, KeyFlags)) {
        scripted::keys(argv, report);
    }

    fn run(keyspace: &Keyspace, argv: &[Str<'_>]) -> Result<Reply> {
        scripted::run(keyspace, argv)
    }
}

/// `ATOMIC.COMMANDS HELP`: the subcommands, in the format of the server's own HELP.
pub struct Commands;

impl Help for Commands {
    const SPEC: Spec = Spec { name: c"atomic.commands|help", flags: READS, ..help::SPEC };
    const LINES: &[&str] = &[
        "ATOMIC.COMMANDS <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "LIST",
        "    Return the scripted commands with their files and calls.",
        "RELOAD",
        "    Reload the files of commands-dir, all or none.",
        "HELP",
        "    Print this help.",
    ];
}
