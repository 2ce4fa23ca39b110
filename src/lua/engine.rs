//! The engine as its callers see it: loads, caches and runs scripts.
//!
//! It joins the cache, which knows sources and digests, and the VM, which knows functions; neither knows the other.

use std::collections::HashSet;
use std::ffi::CStr;
use std::time::{Duration, Instant};

use super::limits::Limits;
use super::loaded::command_files::{CommandFile, CommandFiles};
use super::loaded::functions::{Candidate, FunctionId, Functions};
use super::numbers::text::NumberText;
use super::port::{NativeCommand, Port, ReplySink, Rules, Strings};
use super::sandbox;
use super::scripts::cache::{Cache, CacheStats, Compiled, Digest, Listed, Script, ScriptStats};
use super::scripts::left::LeftToServer;
use super::source::shebang;
use super::stats::{RunFigures, Runs};
use super::vm::context::{Entry, ServerVersion, Source, Task};
use super::vm::{Name, Vm};
use crate::error::{Error, Result};

/// What INFO shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The script cache.
    pub cache: CacheStats,
    /// Bytes that the VM uses, scripts and garbage included.
    pub vm_bytes: usize,
}

/// What a run is given.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The global `KEYS`.
    pub keys: &'a dyn Strings,
    /// The global `ARGV`.
    pub args: &'a dyn Strings,
    /// Nothing may be written.
    pub read_only: bool,
    /// How numbers become text.
    pub numbers: NumberText,
    /// The server has an engine that runs what is Lua 5.1 and not the same here, or does not compile: such a script is
    /// [`Error::LeftToServer`].
    pub leaves: bool,
}

/// A sandboxed Lua VM with its script cache. Dropping it joins its watchdog thread.
pub struct Engine {
    vm: Vm,
    cache: Cache,
    functions: Functions,
    command_files: CommandFiles,
    left: LeftToServer,
}

impl Engine {
    /// An engine without scripts, which can call these commands as functions.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Result<Self> {
        Ok(Self {
            vm: Vm::new(limits, version, natives)?,
            cache: Cache::default(),
            functions: Functions::default(),
            command_files: CommandFiles::default(),
            left: LeftToServer::default(),
        })
    }

    /// Changes the limits of the runs to come.
    pub fn set_limits(&mut self, limits: Limits) -> Result<()> {
        self.vm.set_limits(limits)
    }

    /// Compiles a script and remembers it until it is evicted.
    pub fn load(&mut self, source: &[u8]) -> Result<Digest> {
        let digest = Digest::of(source);
        match self.cache.get(digest) {
            Some(script) => drop(ready(&mut self.vm, script)?),
            None => self.add(digest, source)?,
        }
        Ok(digest)
    }

    /// Remembers a script as long as it is stored elsewhere, where the source comes from; false if it cannot be one. It is compiled when it
    /// is used.
    pub fn adopt(&mut self, digest: Digest, source: &[u8]) -> bool {
        if sandbox::refusal(source).is_some() {
            return false;
        }
        if !self.cache.contains(digest) {
            self.cache.insert(digest, source, None);
        }
        self.cache.set_stored(digest);
        true
    }

    /// Whether the script is known to be stored elsewhere.
    #[must_use]
    pub fn is_stored(&self, digest: Digest) -> bool {
        self.cache.is_stored(digest)
    }

    /// Notes that a script is not stored elsewhere any more: it can be evicted.
    pub fn set_evictable(&mut self, digest: Digest) {
        self.cache.set_evictable(digest);
        self.evict();
    }

    /// Of the scripts that are known these are stored elsewhere, and no others.
    pub fn set_stored(&mut self, stored: &HashSet<Digest>) {
        self.cache.set_all_stored(stored);
        self.evict();
    }

    /// Whether the script is known.
    #[must_use]
    pub fn contains(&self, digest: Digest) -> bool {
        self.cache.contains(digest)
    }

    /// The source of a known script.
    #[must_use]
    pub fn source(&self, digest: Digest) -> Option<&[u8]> {
        self.cache.source(digest)
    }

    /// Forgets all scripts and starts with a new VM.
    pub fn flush(&mut self) -> Result<()> {
        self.cache.clear();
        self.left = LeftToServer::default();
        self.vm.replace()
    }

    /// What there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { cache: self.cache.stats(), vm_bytes: self.vm.used() }
    }

    /// At most `count` of the known scripts, in the order of their digests, from behind one on.
    #[must_use]
    pub fn list(&self, after: Option<Digest>, count: usize) -> Vec<Listed> {
        self.cache.list(after, count)
    }

    /// The scripts that are known to be stored elsewhere.
    #[must_use]
    pub fn stored(&self) -> Vec<Digest> {
        self.cache.stored().collect()
    }

    /// What there is of one script.
    #[must_use]
    pub fn script_stats(&self, digest: Digest) -> Option<ScriptStats> {
        self.cache.script_stats(digest, self.vm.number())
    }

    /// Starts to count anew.
    pub fn reset_stats(&mut self) {
        self.cache.reset_stats();
        self.command_files.reset_stats();
    }

    /// Runs a script and writes its result into `reply`: one complete reply, or nothing if the result is an error. The script
    /// is remembered, if it compiles, until it is evicted.
    pub fn eval(&mut self, source: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::of(source);
        if run.leaves && self.left.contains(digest) {
            return Err(Error::LeftToServer);
        }
        if !self.cache.contains(digest) {
            self.add(digest, source).map_err(|error| self.leave(digest, run, error))?;
        }
        self.run(digest, run, port, reply)
    }

    /// As [`Engine::eval`], for a script that is known, by its digest.
    pub fn eval_sha(&mut self, sha_hex: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::parse(sha_hex).ok_or(Error::NoScript)?;
        if run.leaves && self.left.contains(digest) {
            return Err(Error::LeftToServer);
        }
        self.run(digest, run, port, reply)
    }

    fn run(&mut self, digest: Digest, run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let script = self.cache.get(digest).ok_or(Error::NoScript)?;
        let compiled = match ready(&mut self.vm, script) {
            Ok(compiled) if run.leaves && compiled.differs => return Err(self.leave(digest, run, Error::LeftToServer)),
            Ok(compiled) => compiled,
            Err(error) => return Err(self.leave(digest, run, error)),
        };
        let started = Instant::now();
        let task = Task { entry: Entry::Script(compiled.function), keys: run.keys, args: run.args, numbers: run.numbers };
        let admitted = port.begin(Rules { flags: compiled.flags, read_only: run.read_only, digest: Some(digest) });
        let result = admitted.and_then(|()| self.vm.run(task, Name::Script(digest), port, Some(reply)));
        script.runs.add(started.elapsed(), result.is_err());
        // A run that hit a limit may have cost the VM.
        if !compiled.tried_natively && compiled.vm == self.vm.number() && is_worth_native_code(&script.runs, script.source.len())
        {
            script.compiled = Some(Compiled {
                native: self.vm.compile_natively(compiled.function, script.source.len()),
                tried_natively: true,
                ..compiled
            });
        }
        result
    }

    /// Whether a script that is known, or whose source this is, runs here as in the server's engine. What that compiles is remembered.
    pub fn runs_here(&mut self, digest: Digest, source: Option<&[u8]>) -> bool {
        if self.left.contains(digest) {
            return false;
        }
        if !self.cache.contains(digest) && source.is_none_or(|source| self.add(digest, source).is_err()) {
            if source.is_some() && !self.vm.ended_by_limit() {
                self.left.add(digest);
            }
            return false;
        }
        let runs =
            self.cache.get(digest).is_some_and(|script| ready(&mut self.vm, script).is_ok_and(|compiled| !compiled.differs));
        if !runs && !self.vm.ended_by_limit() {
            self.left.add(digest);
        }
        runs
    }

    /// Remembers that the server's engine runs this script.
    pub fn leave_to_server(&mut self, source: &[u8]) {
        self.left.add(Digest::of(source));
    }

    /// What a run comes to whose script does not run here: the server's engine may run it.
    fn leave(&mut self, digest: Digest, run: &Run<'_>, error: Error) -> Error {
        if !run.leaves {
            return error;
        }
        // With more memory it may compile.
        if !self.vm.ended_by_limit() {
            self.left.add(digest);
        }
        Error::LeftToServer
    }

    /// Runs the code of a library, in which `#!lua` is the first word. Nothing changes before [`Engine::put_library`].
    pub fn load_library(&mut self, code: &[u8], port: &mut dyn Port) -> Result<Candidate> {
        Candidate::load(&mut self.vm, code, port)
    }

    /// Whether a limit ended the run that was the last, or the load.
    #[must_use]
    pub fn ended_by_limit(&self) -> bool {
        self.vm.ended_by_limit()
    }

    /// Puts a library in use, in place of one of the same name.
    pub fn put_library(&mut self, name: &[u8], library: Candidate) {
        self.functions.put(&mut self.vm, name, library);
    }

    /// Forgets what was loaded for nothing.
    pub fn discard_library(&mut self, library: &Candidate) {
        library.discard(&mut self.vm);
    }

    /// Forgets a library.
    pub fn remove_library(&mut self, name: &[u8]) {
        self.functions.remove(&mut self.vm, name);
    }

    /// The libraries and their functions.
    #[must_use]
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Sees to it that a function can be called; else why not.
    pub fn prepare_function(&mut self, function: FunctionId, port: &mut dyn Port) -> Result<()> {
        self.functions.prepare(&mut self.vm, function, port)
    }

    /// Calls a function of a library that is prepared, as [`Engine::eval`] runs a script.
    pub fn call_function(
        &mut self,
        function: FunctionId,
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        self.functions.call(&mut self.vm, function, run, port, reply)
    }

    /// Runs the code of a file, which declares commands. Nothing changes before [`Engine::put_command_files`].
    pub fn load_command_file(&mut self, name: &CStr, code: &[u8], port: &mut dyn Port) -> Result<CommandFile> {
        CommandFile::load(&mut self.vm, name, code, port)
    }

    /// Forgets what was loaded for nothing.
    pub fn discard_command_file(&mut self, file: &CommandFile) {
        file.discard(&mut self.vm);
    }

    /// Puts files in use, in place of all others. The commands have these names, and their places are their numbers from then on.
    pub fn put_command_files<'n>(&mut self, names: impl Iterator<Item = &'n CStr>, files: Vec<CommandFile>) {
        self.command_files.put(&mut self.vm, names, files);
    }

    /// Runs a command of a file by its number, as [`Engine::eval`] runs a script. The name is for errors.
    pub fn call_command(
        &mut self,
        command: (usize, &[u8]),
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        self.command_files.call(&mut self.vm, command, run, port, reply)
    }

    /// The file and the line that declare a command, if there are any.
    #[must_use]
    pub fn command_place(&self, number: usize) -> Option<(&str, u32)> {
        self.command_files.place(number)
    }

    /// The runs of a command.
    #[must_use]
    pub fn command_figures(&self, number: usize) -> RunFigures {
        self.command_files.figures(number)
    }

    fn add(&mut self, digest: Digest, source: &[u8]) -> Result<()> {
        let compiled = compile(&mut self.vm, source)?;
        self.cache.insert(digest, source, Some(compiled));
        self.evict();
        Ok(())
    }

    fn evict(&mut self) {
        while let Some(evicted) = self.cache.evict() {
            if let Some(compiled) = evicted.compiled.filter(|compiled| compiled.vm == self.vm.number()) {
                self.vm.release(compiled.function);
            }
        }
    }
}

/// What is compiled of a script, which is compiled again if the VM it was compiled in is gone.
fn ready(vm: &mut Vm, script: &mut Script) -> Result<Compiled> {
    match script.compiled.filter(|compiled| compiled.vm == vm.number()) {
        Some(compiled) => Ok(compiled),
        None => Ok(*script.compiled.insert(compile(vm, &script.source)?)),
    }
}

/// Machine code pays for what computes. A run that mostly waits for commands is short, and gains nothing.
pub(super) fn is_worth_native_code(runs: &Runs, source_bytes: usize) -> bool {
    const ENOUGH: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_micros(20);
    /// Making machine code takes some milliseconds for so long a source, and cannot be interrupted.
    const MOST_BYTES: usize = 64 << 10;
    source_bytes <= MOST_BYTES && runs.total() >= ENOUGH && runs.mean() >= LONG
}

fn compile(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    let number = vm.number();
    match compile_once(vm, source) {
        // What was compiled of other scripts had filled the VM, and is gone with it.
        Err(_) if vm.ended_by_limit() && vm.number() != number => compile_once(vm, source),
        compiled => compiled,
    }
}

fn compile_once(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    let before = vm.value_bytes();
    let header = shebang::read(source)?;
    let function = vm.compile(Source { code: header.code, name: c"@user_script", library: false })?;
    let bytes = vm.value_bytes().saturating_sub(before);
    let differs = vm.differs();
    Ok(Compiled { vm: vm.number(), function, flags: header.flags, bytes, differs, native: false, tried_natively: false })
}
