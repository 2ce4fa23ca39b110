//! The Lua engine: a sandboxed Luau VM, its script cache and its limits.
//!
//! It knows `port`, `error` and `primitives`, and neither the commands nor the module API, so that a fake port tests it
//! without a server. Its layers, of which an upper one may use a lower one and never the reverse:
//!
//! - `engine`: load, run, flush; joins the two below.
//! - `cache` (sources by `digest`) with `runs` and `histogram` (their statistics), `left` (what the server's engine runs), `library` (a script
//!   as a library of the server), `shebang` (a script's first line), `vm` (one run is one protected call).
//! - `functions` (libraries of functions, called by name), `command_files` (files of commands) and `declaration` (what such a file may say).
//! - `sandbox` (what scripts see, `library_globals` what the code of libraries sees), and `api` (what they can call, one file per namespace).
//! - `lua51` (what a source means on the server), `convert` (replies and values), `fault` (texts of errors), `json`, `number` (of arguments),
//!   `number_text` (of scripts) and `random` (as Redis has them).
//! - `context` (what C functions share), `stack` (Luau's API), `line` (short texts), `limits` (time),
//!   `heap` (memory).
//!
//! `unsafe` is in `vm`, `stack`, `context`, `limits`, `heap` and `number_text`, and in one line of `api/redis`.

mod api;
mod convert;
mod engine;
#[expect(unsafe_code, reason = "the watchdog sets a callback of Luau")]
mod limits;
mod line;
mod loaded;
mod numbers;
pub mod port;
mod sandbox;
mod scripts;
mod source;
mod stats;
#[cfg(test)]
mod tests;
#[expect(unsafe_code, reason = "the only code that calls Luau")]
mod vm;

pub use engine::{Engine, Run, Stats};
pub use limits::{Limits, MAX_DEPTH, VALUE_BYTES};
pub use loaded::command_files::CommandFile;
pub use loaded::declaration::{Access, CommandFlags, Declaration, MOST_COMMANDS, NAME_BYTES, Positions};
pub use loaded::functions::{Candidate, FunctionId, Functions};
pub use numbers::text::NumberText;
pub use sandbox::SOURCE_BYTES;
pub use scripts::cache::{CacheStats, EVICTABLE_BYTES, EVICTABLE_SCRIPTS, Listed, ScriptStats, stored_memory};
pub use scripts::library;
pub use source::digest::Digest;
pub use stats::RunFigures;
pub use vm::context::{ServerVersion, Version};

use source::{lua51, shebang};

/// The flags that a script declares, if it declares any. The error is that of a first line which says something else.
pub fn flags(source: &[u8]) -> crate::error::Result<Option<port::Flags>> {
    shebang::read(source).map(|header| header.flags)
}

/// Whether a script declares that it writes nothing.
#[must_use]
pub fn writes_nothing(source: &[u8]) -> bool {
    flags(source).is_ok_and(|flags| flags.is_some_and(|flags| flags.no_writes))
}

/// Whether a source is refused before it is compiled.
#[must_use]
pub fn is_refused(source: &[u8]) -> bool {
    sandbox::refusal(source).is_some()
}

/// Whether a script, or the code of a library, is Lua 5.1 and means something else here.
#[must_use]
pub fn differs(source: &[u8]) -> bool {
    let first = source.iter().position(|&byte| byte == b'\n').filter(|_| source.starts_with(b"#!")).unwrap_or(0);
    lua51::translate(source.get(first..).unwrap_or_default()).differs
}
