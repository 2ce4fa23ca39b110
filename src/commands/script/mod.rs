//! `ATOMIC.SCRIPT`: a container for the commands of the script cache, one file each.

use super::spec::{Keys, Spec};

pub mod exists;
pub mod flush;
pub mod help;
pub mod kill;
pub mod list;
pub mod load;
pub mod resetstat;
pub mod show;
pub mod stats;

/// The container.
pub const CONTAINER: Spec = Spec {
    name: c"atomic.script",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for the commands of the script cache.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};

/// The flags of the subcommands that read.
const READS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of LOAD: it does not wait while writes are paused, as the server's own does not. What it stores waits (see [`store`]).
const LOADS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of FLUSH, which changes the function store. LOAD and FLUSH have the category `@write` without the flag: with it a replica
/// would refuse them, where they are local.
const CHANGES: &std::ffi::CStr = c"may-replicate allow-stale deny-script";
