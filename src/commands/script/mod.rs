//! `ATOMIC.SCRIPT`: the container for the script cache commands, one file each.

use super::help::{self, Help};
use super::spec::Spec;

pub mod check;
pub mod exists;
pub mod flush;
pub mod kill;
pub mod list;
pub mod load;
pub mod resetstat;
pub mod show;
pub mod stats;

pub const CONTAINER: Spec = Spec::container(c"atomic.script", c"A container for script cache commands.");

/// The flags of the read-only subcommands.
const READS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of LOAD. Like the server's own, it runs while writes are paused; storing the script waits (`scripting/script_store.rs`).
const LOADS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of FLUSH, which changes the function store. LOAD and FLUSH have the category `@write` without the flag `write`: with the
/// flag, a replica would refuse them, although they are local there.
const CHANGES: &std::ffi::CStr = c"may-replicate allow-stale deny-script";

/// `ATOMIC.SCRIPT HELP`: the subcommands, in the format of the server's own HELP.
pub struct Script;

impl Help for Script {
    const SPEC: Spec = Spec { name: c"atomic.script|help", flags: READS, ..help::SPEC };
    const LINES: &[&str] = &[
        "ATOMIC.SCRIPT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHECK <script>",
        "    Return what differs or fails when a script moves here, without running it.",
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
}
