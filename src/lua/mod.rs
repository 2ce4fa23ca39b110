//! The Lua engine: a sandboxed Luau VM, its script cache and its limits.
//!
//! It knows `port`, `error` and `primitives`, and neither the commands nor the module API, so a fake port tests it without a
//! server. Its parts, from the top down:
//!
//! - `engine`: load, run, flush. It joins the layers below.
//! - `loaded`: code that runs once and stays, which is function libraries and command files. `scripts`: the script cache, the
//!   scripts that the server's engine runs, and scripts as libraries of the server. `run`: one run, the same for all of them.
//!   `stats`: its figures.
//! - `vm`: one run is one protected call. It owns the memory and time limits.
//! - `sandbox`: the globals that scripts see. `api`: the functions that they can call, one file per namespace.
//! - `convert`: replies and values. `numbers`: numbers as text. `source`: digest, first line, and meaning in Lua 5.1.
//! - `port`, `limits`, `declaration`, `version`, `fixed_text`: types that several of these use.
//!
//! The VM, the sandbox, `convert` and the functions of `api` use each other, as in every embedded VM. `vm/pinned`, `vm/task`, `vm/arguments`
//! and `vm/compiler` are leaves below them.
//!
//! `unsafe` is in `vm`, in `numbers/text`, which replaces a function of Luau, and in `api/redis`, which reads replies from the
//! port's buffer.

mod api;
mod convert;
mod declaration;
mod engine;
mod fixed_text;
mod limits;
mod loaded;
mod numbers;
pub mod port;
mod run;
mod sandbox;
mod scripts;
mod source;
mod stats;
#[cfg(test)]
mod tests;
mod version;
#[expect(unsafe_code, reason = "the only code that calls Luau")]
mod vm;

pub use declaration::{Access, CommandFlags, Declaration, MOST_COMMANDS, NAME_BYTES, Positions};
pub use engine::{Engine, Stats};
pub use limits::{Limits, MAX_DEPTH, VALUE_BYTES};
pub use loaded::command_files::CommandFile;
pub use loaded::functions::{Candidate, FunctionId, Functions};
pub use numbers::text::NumberText;
pub use run::Run;
pub use scripts::cache::{CacheStats, EVICTABLE_BYTES, EVICTABLE_SCRIPTS, Listed, ScriptStats, stored_memory};
pub use scripts::library;
pub use source::SOURCE_BYTES;
pub use source::digest::Digest;
pub use source::lua51::check::{Call, Finding, Kind, check};
pub use stats::RunFigures;
pub use version::{ServerVersion, Version};

use source::{lua51, shebang};

/// The flags that a script declares, if it declares any. Fails if its first line is a shebang that cannot be read.
pub fn flags(source: &[u8]) -> crate::error::Result<Option<port::ScriptFlags>> {
    shebang::read(source).map(|script| script.flags)
}

/// Whether a script declares that it writes nothing.
#[must_use]
pub fn writes_nothing(source: &[u8]) -> bool {
    flags(source).is_ok_and(|flags| flags.is_some_and(|flags| flags.no_writes))
}

/// The first line of a library, with its end, if it names the engine Lua, in any case.
#[must_use]
pub fn library_line(code: &[u8]) -> Option<&[u8]> {
    let (shebang, rest) = shebang::split(code);
    let engine = shebang.engine().filter(|_| shebang::is_present(code))?.strip_prefix(b"#!")?;
    let is_complete = engine.eq_ignore_ascii_case(b"lua") && !rest.is_empty();
    code.get(..code.len().saturating_sub(rest.len()).saturating_add(1)).filter(|_| is_complete)
}

/// Whether a source is refused before it is compiled.
#[must_use]
pub fn is_refused(source: &[u8]) -> bool {
    source::refusal(source).is_some()
}

/// Whether a script, or the code of a library, is Lua 5.1 and means something else here.
#[must_use]
pub fn differs(source: &[u8]) -> bool {
    let code = if shebang::is_present(source) { shebang::split(source).1 } else { source };
    lua51::translate(code).differs
}
