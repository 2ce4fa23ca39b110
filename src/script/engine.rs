//! The engine as its callers see it: loads, caches and runs scripts.
//!
//! It joins the cache, which knows sources and digests, and the VM, which knows functions; neither knows the other.

use std::collections::HashSet;
use std::time::Instant;

use super::cache::{Cache, CacheStats, Compiled, Digest, Listed, ScriptStats};
use super::context::{ServerVersion, Task};
use super::limits::Limits;
use super::port::{NativeCommand, Port, ReplySink, Rules, Strings};
use super::runs::Runs;
use super::vm::Vm;
use super::{sandbox, shebang};
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
}

/// A sandboxed Lua VM with its script cache. Dropping it joins its watchdog thread.
pub struct Engine {
    vm: Vm,
    cache: Cache,
}

impl Engine {
    /// An engine without scripts, which can call these commands as functions.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Result<Self> {
        Ok(Self { vm: Vm::new(limits, version, natives)?, cache: Cache::default() })
    }

    /// Changes the limits of the runs to come.
    pub fn set_limits(&mut self, limits: Limits) -> Result<()> {
        self.vm.set_limits(limits)
    }

    /// Compiles a script and remembers it until it is evicted.
    pub fn load(&mut self, source: &[u8]) -> Result<Digest> {
        let digest = Digest::of(source);
        if function(&mut self.vm, &mut self.cache, digest)?.is_none() {
            self.add(digest, source)?;
        }
        Ok(digest)
    }

    /// Remembers a script as long as it is stored elsewhere, where the source comes from. It is compiled when it is used.
    pub fn adopt(&mut self, digest: Digest, source: &[u8]) {
        if !self.cache.contains(digest) {
            self.cache.insert(digest, source, None);
        }
        self.cache.set_stored(digest);
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
        self.vm.replace()
    }

    /// What there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { cache: self.cache.stats(), vm_bytes: self.vm.used() }
    }

    /// All known scripts, in the order of their digests.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        self.cache.list()
    }

    /// What there is of one script.
    #[must_use]
    pub fn script_stats(&self, digest: Digest) -> Option<ScriptStats> {
        self.cache.script_stats(digest, self.vm.number())
    }

    /// Starts to count anew.
    pub fn reset_stats(&mut self) {
        self.cache.reset_stats();
    }

    /// Runs a script and writes its result into `reply`: one complete reply, or nothing if the result is an error. The script
    /// is remembered, if it compiles, until it is evicted.
    pub fn eval(&mut self, source: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::of(source);
        let (script, runs) = match function(&mut self.vm, &mut self.cache, digest)? {
            Some(found) => found,
            None => {
                let script = self.add(digest, source)?;
                (script, &mut self.cache.get(digest).ok_or(Error::NoScript)?.runs)
            }
        };
        execute(&mut self.vm, Known { digest, script, runs }, run, port, reply)
    }

    /// As [`Engine::eval`], for a script that is known, by its digest.
    pub fn eval_sha(&mut self, sha_hex: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::parse(sha_hex).ok_or(Error::NoScript)?;
        let (script, runs) = function(&mut self.vm, &mut self.cache, digest)?.ok_or(Error::NoScript)?;
        execute(&mut self.vm, Known { digest, script, runs }, run, port, reply)
    }

    fn add(&mut self, digest: Digest, source: &[u8]) -> Result<Compiled> {
        let compiled = compile(&mut self.vm, source)?;
        self.cache.insert(digest, source, Some(compiled));
        self.evict();
        Ok(compiled)
    }

    fn evict(&mut self) {
        while let Some(evicted) = self.cache.evict() {
            if let Some(compiled) = evicted.compiled.filter(|compiled| compiled.vm == self.vm.number()) {
                self.vm.release(compiled.function);
            }
        }
    }
}

/// The function of a known script, compiled again if the VM it was compiled in is gone, and where its runs are noted.
fn function<'c>(vm: &mut Vm, cache: &'c mut Cache, digest: Digest) -> Result<Option<(Compiled, &'c mut Runs)>> {
    let Some(script) = cache.get(digest) else {
        return Ok(None);
    };
    let compiled = match script.compiled.filter(|compiled| compiled.vm == vm.number()) {
        Some(compiled) => compiled,
        None => *script.compiled.insert(compile(vm, &script.source)?),
    };
    Ok(Some((compiled, &mut script.runs)))
}

/// A script that can be run, and where its runs are noted.
struct Known<'c> {
    digest: Digest,
    script: Compiled,
    runs: &'c mut Runs,
}

fn execute(vm: &mut Vm, known: Known<'_>, run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
    let started = Instant::now();
    let task = Task { script: known.script.function, keys: run.keys, args: run.args };
    let admitted = port.begin(Rules { flags: known.script.flags, read_only: run.read_only });
    let result = admitted.and_then(|()| vm.run(task, known.digest, port, reply));
    known.runs.add(started.elapsed(), result.is_err());
    result
}

fn compile(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    if let Some(refusal) = sandbox::refusal(source) {
        return Err(Error::Script([b"ERR Error compiling script (new function): ", refusal].concat()));
    }
    let before = vm.value_bytes();
    let header = shebang::read(source)?;
    let function = vm.compile(header.code)?;
    Ok(Compiled { vm: vm.number(), function, flags: header.flags, bytes: vm.value_bytes().saturating_sub(before) })
}
