//! The Lua engine: a sandboxed Luau VM, its script cache and its limits.
//!
//! It knows `port`, `error` and `primitives`, and neither the commands nor the module API, so that a fake port tests it
//! without a server. Its layers, of which an upper one may use a lower one and never the reverse:
//!
//! - `engine`: load, run, flush; joins the two below.
//! - `cache` (sources by `digest`) with `runs` and `histogram` (their statistics), `library` (a script as a library of the server),
//!   `shebang` (a script's first line), `vm` (one run is one protected call).
//! - `functions` (libraries of functions, called by name), `command_files` (files of commands) and `declaration` (what such a file may say).
//! - `sandbox` (what scripts see, `library_globals` what the code of libraries sees), and `api` (what they can call, one file per namespace).
//! - `convert` (replies and values), `fault` (texts of errors), `json`, `number` and `random` (as Redis has them).
//! - `context` (what C functions share), `stack` (Luau's API), `line` (short texts), `limits` (time),
//!   `heap` (memory).
//!
//! `unsafe` is in `vm`, `stack`, `context`, `limits` and `heap`, and in one line of `api/redis`.

mod api;
mod cache;
mod command_files;
mod context;
mod convert;
mod declaration;
mod digest;
mod engine;
mod fault;
mod functions;
mod heap;
mod histogram;
mod json;
pub mod library;
mod library_globals;
mod limits;
mod line;
mod number;
pub mod port;
mod random;
mod resident;
mod runs;
mod sandbox;
mod shebang;
mod stack;
#[cfg(test)]
mod tests;
mod vm;

pub use cache::{CacheStats, Digest, EVICTABLE_BYTES, EVICTABLE_SCRIPTS, Listed, ScriptStats, stored_memory};
pub use command_files::CommandFile;
pub use context::{ServerVersion, Version};
pub use declaration::{Access, CommandFlags, Declaration, MOST_COMMANDS, NAME_BYTES, Positions};
pub use engine::{Engine, Run, Stats};
pub use functions::{Candidate, FunctionId, Functions};
pub use limits::{Limits, MAX_DEPTH, VALUE_BYTES};
pub use runs::RunFigures;
pub use sandbox::SOURCE_BYTES;

/// Whether a script declares that it writes nothing.
#[must_use]
pub fn writes_nothing(source: &[u8]) -> bool {
    shebang::read(source).is_ok_and(|header| header.flags.is_some_and(|flags| flags.no_writes))
}

/// Whether a source is refused before it is compiled.
#[must_use]
pub fn is_refused(source: &[u8]) -> bool {
    sandbox::refusal(source).is_some()
}
