//! The engine as the rest of the module uses it: loads, caches and runs scripts.
//!
//! It joins the cache, which knows sources and digests, and the VM, which knows functions; neither knows the other.

use std::collections::HashSet;
use std::ffi::CStr;

use super::limits::Limits;
use super::loaded::command_files::{CommandFile, CommandFiles};
use super::loaded::functions::{Candidate, FunctionId, Functions};
use super::port::{NativeCommand, Port, ReplySink};
use super::run::{Callee, Run, is_worth_native_code};
use super::scripts::cache::{Cache, CacheStats, Compiled, Listed, Script, ScriptStats};
use super::scripts::left_to_server::LeftToServer;
use super::source::digest::Digest;
use super::source::{refusal, shebang};
use super::stats::RunFigures;
use super::version::ServerVersion;
use super::vm::Vm;
use super::vm::task::{EntryPoint, RunName, Source};
use crate::error::{Error, Result};

/// The figures of INFO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The script cache.
    pub cache: CacheStats,
    /// Bytes that the VM uses, scripts and garbage included.
    pub vm_bytes: usize,
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
    /// An engine without scripts. Scripts can call these commands as functions.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Result<Self> {
        Ok(Self {
            vm: Vm::new(limits, version, natives)?,
            cache: Cache::default(),
            functions: Functions::default(),
            command_files: CommandFiles::default(),
            left: LeftToServer::default(),
        })
    }

    /// Sets the limits of the next runs.
    pub fn set_limits(&mut self, limits: Limits) -> Result<()> {
        self.vm.set_limits(limits)
    }

    /// Compiles a script and caches it until it is evicted.
    pub fn load(&mut self, source: &[u8]) -> Result<Digest> {
        let digest = Digest::of(source);
        match self.cache.get(digest) {
            Some(script) => drop(ready(&mut self.vm, script)?),
            None => self.add(digest, source)?,
        }
        Ok(digest)
    }

    /// Caches a script that the server's engine has compiled, until it is evicted. It is compiled here when it is used. `None` if it can
    /// never compile.
    pub fn take(&mut self, source: &[u8]) -> Option<Digest> {
        if refusal(source).is_some() {
            return None;
        }
        let digest = Digest::of(source);
        if !self.cache.contains(digest) {
            self.cache.insert(digest, source, None);
            self.evict();
        }
        Some(digest)
    }

    /// Compiles a script and forgets it.
    pub fn compile(&mut self, source: &[u8]) -> Result<()> {
        let compiled = compile(&mut self.vm, source)?;
        if compiled.vm == self.vm.number() {
            self.vm.release(compiled.function);
        }
        Ok(())
    }

    /// Caches a script that is stored outside the engine, as long as it is stored there; false if it can never compile. It is
    /// compiled when it is used.
    pub fn adopt(&mut self, digest: Digest, source: &[u8]) -> bool {
        if refusal(source).is_some() {
            return false;
        }
        if !self.cache.contains(digest) {
            self.cache.insert(digest, source, None);
        }
        self.cache.set_stored(digest);
        true
    }

    /// Whether the script is cached and known to be stored outside the engine.
    #[must_use]
    pub fn is_stored(&self, digest: Digest) -> bool {
        self.cache.is_stored(digest)
    }

    /// Notes that a script is no longer stored outside the engine, so it can be evicted.
    pub fn set_evictable(&mut self, digest: Digest) {
        self.cache.set_evictable(digest);
        self.evict();
    }

    /// Notes that of the cached scripts exactly these are stored outside the engine.
    pub fn set_stored(&mut self, stored: &HashSet<Digest>) {
        self.cache.set_all_stored(stored);
        self.evict();
    }

    /// Whether the script is cached.
    #[must_use]
    pub fn contains(&self, digest: Digest) -> bool {
        self.cache.contains(digest)
    }

    /// The source of a cached script.
    #[must_use]
    pub fn source(&self, digest: Digest) -> Option<&[u8]> {
        self.cache.source(digest)
    }

    /// Drops all scripts and replaces the VM.
    pub fn flush(&mut self) -> Result<()> {
        self.cache.clear();
        self.left = LeftToServer::default();
        self.vm.replace()
    }

    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { cache: self.cache.stats(), vm_bytes: self.vm.used() }
    }

    /// At most `count` cached scripts in the order of their digests, starting after `after`.
    #[must_use]
    pub fn list(&self, after: Option<Digest>, count: usize) -> Vec<Listed> {
        self.cache.list(after, count)
    }

    /// The cached scripts that are known to be stored outside the engine.
    #[must_use]
    pub fn stored(&self) -> Vec<Digest> {
        self.cache.stored().collect()
    }

    /// The figures of one script.
    #[must_use]
    pub fn script_stats(&self, digest: Digest) -> Option<ScriptStats> {
        self.cache.script_stats(digest, self.vm.number())
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&mut self) {
        self.cache.reset_stats();
        self.command_files.reset_stats();
    }

    /// Runs a script and writes its result into `reply`: one complete reply, or nothing if the result is an error. The script is
    /// cached, if it compiles, until it is evicted.
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

    /// Runs a cached script by its digest, as [`Engine::eval`] does.
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
        let (entry, name) = (EntryPoint::Script(compiled.function), RunName::Script(digest));
        let callee = Callee { entry, name, flags: compiled.flags };
        let result = run.execute(&mut self.vm, &callee, &mut script.counters, port, reply);
        // A run that hit a limit may have cost the VM.
        let is_current = compiled.vm == self.vm.number();
        if !compiled.tried_natively && is_current && is_worth_native_code(&script.counters, script.source.len()) {
            let native = self.vm.compile_natively(compiled.function, script.source.len());
            script.compiled = Some(Compiled { native, tried_natively: true, ..compiled });
        }
        result
    }

    /// Whether a script runs here as in the server's engine. It is cached, or this is its source; a script that compiles is
    /// cached.
    pub fn runs_here(&mut self, digest: Digest, source: Option<&[u8]>) -> bool {
        if self.left.contains(digest) {
            return false;
        }
        if !self.cache.contains(digest) && source.is_none_or(|source| self.add(digest, source).is_err()) {
            if source.is_some() {
                self.note_left(digest);
            }
            return false;
        }
        let runs =
            self.cache.get(digest).is_some_and(|script| ready(&mut self.vm, script).is_ok_and(|compiled| !compiled.differs));
        if !runs {
            self.note_left(digest);
        }
        runs
    }

    /// Notes that a script does not run here. One that hit a limit may compile later.
    fn note_left(&mut self, digest: Digest) {
        if !self.vm.was_terminated() {
            self.left.add(digest);
        }
    }

    /// Notes that the server's engine runs this script.
    pub fn leave_to_server(&mut self, source: &[u8]) {
        self.left.add(Digest::of(source));
    }

    /// The error of a script that does not run here. The server's engine may run it.
    fn leave(&mut self, digest: Digest, run: &Run<'_>, error: Error) -> Error {
        if !run.leaves {
            return error;
        }
        self.note_left(digest);
        Error::LeftToServer
    }

    /// Runs the code of a library. `#!lua` must be its first word. Nothing changes before [`Engine::put_library`].
    pub fn load_library(&mut self, code: &[u8], port: &mut dyn Port) -> Result<Candidate> {
        Candidate::load(&mut self.vm, code, port)
    }

    /// Whether a limit ended the last run or load.
    #[must_use]
    pub fn ended_by_limit(&self) -> bool {
        self.vm.was_terminated()
    }

    /// Puts a library in use. It replaces one of the same name.
    pub fn put_library(&mut self, name: &[u8], library: Candidate) {
        self.functions.put(&mut self.vm, name, library);
    }

    /// Drops a library that is not put in use.
    pub fn discard_library(&mut self, library: &Candidate) {
        library.discard(&mut self.vm);
    }

    /// Drops a library.
    pub fn remove_library(&mut self, name: &[u8]) {
        self.functions.remove(&mut self.vm, name);
    }

    #[must_use]
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Makes a function ready to be called.
    pub fn prepare_function(&mut self, function: FunctionId, port: &mut dyn Port) -> Result<()> {
        self.functions.prepare(&mut self.vm, function, port)
    }

    /// Calls a prepared function, as [`Engine::eval`] runs a script.
    pub fn call_function(
        &mut self,
        function: FunctionId,
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        self.functions.call(&mut self.vm, function, run, port, reply)
    }

    /// Runs the code of a command file, which declares commands. Nothing changes before [`Engine::put_command_files`].
    pub fn load_command_file(&mut self, name: &CStr, code: &[u8], port: &mut dyn Port) -> Result<CommandFile> {
        CommandFile::load(&mut self.vm, name, code, port)
    }

    /// Drops a command file that is not put in use.
    pub fn discard_command_file(&mut self, file: &CommandFile) {
        file.discard(&mut self.vm);
    }

    /// Puts command files in use. They replace all others. `names` are the names of the commands in the order of their numbers.
    pub fn put_command_files<'n>(&mut self, names: impl Iterator<Item = &'n CStr>, files: Vec<CommandFile>) {
        self.command_files.put(&mut self.vm, names, files);
    }

    /// Runs a scripted command by its number, as [`Engine::eval`] runs a script. The name is for errors.
    pub fn call_command(
        &mut self,
        command: (usize, &[u8]),
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        self.command_files.call(&mut self.vm, command, run, port, reply)
    }

    /// The file and the line that declare a command, if a file declares it.
    #[must_use]
    pub fn command_place(&self, number: usize) -> Option<(&str, u32)> {
        self.command_files.place(number)
    }

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

/// The compiled script. Compiles it again if its VM is gone.
fn ready(vm: &mut Vm, script: &mut Script) -> Result<Compiled> {
    match script.compiled.filter(|compiled| compiled.vm == vm.number()) {
        Some(compiled) => Ok(compiled),
        None => Ok(*script.compiled.insert(compile(vm, &script.source)?)),
    }
}

fn compile(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    let number = vm.number();
    match compile_once(vm, source) {
        // Other compiled scripts had filled the VM and are gone with it.
        Err(_) if vm.was_terminated() && vm.number() != number => compile_once(vm, source),
        compiled => compiled,
    }
}

fn compile_once(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    let before = vm.value_bytes();
    let script = shebang::read(source)?;
    let compiled = vm.compile(Source { code: script.code, name: c"@user_script", library: false })?;
    Ok(Compiled {
        vm: vm.number(),
        function: compiled.function,
        flags: script.flags,
        bytes: vm.value_bytes().saturating_sub(before),
        differs: compiled.differs,
        native: false,
        tried_natively: false,
    })
}
