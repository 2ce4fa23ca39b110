//! `ATOMIC.FUNCTION`: the container for the function library commands, one file each.
//!
//! The server's own function store keeps, saves and replicates the libraries, and these commands use the syntax of the server's
//! FUNCTION. This module runs the functions.

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

pub const CONTAINER: Spec = Spec {
    name: c"atomic.function",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for function library commands.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};
