//! `ATOMIC.FUNCTION`: a container for the commands of function libraries, one file each.
//!
//! The libraries are in the server's own function store, which keeps, saves and replicates them; the words of the server's FUNCTION are
//! those of these commands. What is ours is running the functions.

use super::spec::{Keys, Spec};

pub mod delete;
pub mod dump;
pub mod flush;
pub mod help;
pub mod kill;
pub mod list;
pub mod load;
pub mod restore;
pub mod stats;

/// The container.
pub const CONTAINER: Spec = Spec {
    name: c"atomic.function",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for the commands of function libraries.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};
