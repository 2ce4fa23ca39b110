//! The inputs and results of compilations and runs.

use std::ffi::CStr;

use super::pinned::Ref;
use crate::lua::numbers::text::NumberText;
use crate::lua::port::{ScriptFlags, Strings};
use crate::lua::source::digest::Digest;

/// One run: the code and its arguments.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Task<'a> {
    pub entry: EntryPoint,
    pub keys: &'a dyn Strings,
    /// The arguments that are not keys.
    pub args: &'a dyn Strings,
    /// How numbers become text.
    pub numbers: NumberText,
}

/// A compiled function of the VM, by how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum EntryPoint {
    /// A script: its arguments are the globals `KEYS` and `ARGV`.
    Script(Ref),
    /// A registered function: called with the two lists.
    Function(Ref),
    /// The code of a library, or of a command file, which only registers functions. The second value is the table `redis` that it
    /// sees.
    Library(Ref, Ref),
}

/// How errors name a run.
#[derive(Clone, Copy)]
pub(in crate::lua) enum RunName<'a> {
    Script(Digest),
    Function(&'a [u8]),
    /// The code of a library. Its caller words the error.
    Library,
    /// The code of a command file. Its errors are named by their lines.
    CommandFile,
}

/// Text for the compiler.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Source<'a> {
    pub code: &'a [u8],
    /// The name in messages, after an `@`.
    pub name: &'a CStr,
    /// The code gets the globals of libraries.
    pub library: bool,
}

impl Source<'_> {
    /// The kind of the source, in the words of Redis.
    pub fn what(&self) -> &'static [u8] {
        if self.library { b"function" } else { b"script (new function)" }
    }
}

/// The result of a compilation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct CompiledSource {
    pub function: Ref,
    /// The source is Lua 5.1 and means something else there.
    pub differs: bool,
}

/// A function that a library has registered.
#[derive(Debug)]
pub(in crate::lua) struct Registered {
    pub name: Box<[u8]>,
    pub callback: Ref,
    pub flags: ScriptFlags,
}

/// The code of a library or a command file after its run.
#[derive(Debug)]
pub(in crate::lua) struct LoadedChunk {
    /// The number of the VM in which it ran.
    pub vm: u64,
    pub code: Ref,
    pub functions: Vec<Registered>,
}

impl LoadedChunk {
    /// The number of no VM.
    pub const GONE: u64 = u64::MAX;
}

/// The error that ended a run, as the error handler saw it.
#[derive(Default)]
pub(in crate::lua) struct Failure {
    /// The text of the error, with its code; empty if no handler ran.
    pub message: Vec<u8>,
    /// `source:line` of the Lua function that failed, or empty.
    pub place: Vec<u8>,
}
