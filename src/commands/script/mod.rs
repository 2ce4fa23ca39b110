//! `ATOMIC.SCRIPT`: the container for the script cache commands, one file each.

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

pub const CONTAINER: Spec = Spec {
    name: c"atomic.script",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for script cache commands.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};

/// The flags of the read-only subcommands.
const READS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of LOAD: like the server's own, it runs while writes are paused. Storing the script waits (see [`store`]).
const LOADS: &std::ffi::CStr = c"allow-stale deny-script";

/// The flags of FLUSH, which changes the function store. LOAD and FLUSH have the category `@write` without the flag `write`: with the
/// flag, a replica would refuse them, although they are local there.
const CHANGES: &std::ffi::CStr = c"may-replicate allow-stale deny-script";
