//! Layer 3: the commands, one file each. A file is its reference page (`//!`), its metadata, its arguments, what it runs.
//!
//! The table of contents; [`spec`] says what a command is made of, [`guard`] how the server enters it.

mod cad;
mod cas;
#[cfg(feature = "fault-injection")]
mod debug;
mod eval;
mod evalsha;
pub mod guard;
mod lock;
mod lockinfo;
mod ratelimit;
mod ratelimit_ro;
mod renew;
mod script;
pub mod scripting;
pub mod spec;
mod unlock;

use self::guard::{Entry, entry};

/// Every command, in the order of registration. A container stands before its subcommands.
pub const ALL: &[Entry] = &[
    entry::<cas::Cas>(),
    entry::<cad::Cad>(),
    entry::<ratelimit::RateLimit>(),
    entry::<ratelimit_ro::RateLimitRo>(),
    entry::<lock::Lock>(),
    entry::<unlock::Unlock>(),
    entry::<renew::Renew>(),
    entry::<lockinfo::LockInfo>(),
    entry::<eval::Eval>(),
    entry::<evalsha::EvalSha>(),
    Entry::container(&script::CONTAINER),
    entry::<script::Load>(),
    entry::<script::Exists>(),
    entry::<script::Flush>(),
    #[cfg(feature = "fault-injection")]
    entry::<debug::Debug>(),
];
