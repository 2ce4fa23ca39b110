//! `ATOMIC.COMMANDS`: a container for the commands about scripted commands, one file each.

pub mod help;
pub mod list;
pub mod reload;

use std::ffi::CStr;

use super::guard::Named;
use super::spec::{KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::scripted;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// The container.
pub const CONTAINER: Spec = Spec {
    name: c"atomic.commands",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for scripted command management.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};

/// The flags of the read-only subcommands.
const READS: &CStr = c"allow-stale deny-script";

/// The scripted commands themselves.
pub struct Scripted;

impl Named for Scripted {
    fn keys(argv: &[Str<'_>], tell: impl FnMut(usize, KeyFlags)) {
        scripted::keys(argv, tell);
    }

    fn run(keyspace: &Keyspace, argv: &[Str<'_>]) -> Result<Reply> {
        scripted::run(keyspace, argv)
    }
}
