//! The engine as its callers see it: loads, caches and runs scripts.
//!
//! It joins the cache, which knows sources and digests, and the VM, which knows functions; neither knows the other.

use super::cache::{Cache, CacheStats, Compiled, Digest};
use super::context::{ServerVersion, Task};
use super::limits::Limits;
use super::port::{NativeCommand, Port, ReplySink, Rules, Strings};
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

    /// Compiles a script and keeps it until [`Engine::flush`].
    pub fn load(&mut self, source: &[u8]) -> Result<Digest> {
        let digest = Digest::of(source);
        if !self.cache.contains(digest) {
            self.add(digest, source)?;
        }
        self.cache.keep(digest);
        Ok(digest)
    }

    /// Whether a script with this digest (40 hexadecimal digits of either case) is known.
    #[must_use]
    pub fn exists(&self, sha_hex: &[u8]) -> bool {
        Digest::parse(sha_hex).is_some_and(|digest| self.cache.contains(digest))
    }

    /// The source of a known script.
    #[must_use]
    pub fn source(&self, sha_hex: &[u8]) -> Option<&[u8]> {
        self.cache.source(Digest::parse(sha_hex)?)
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

    /// Runs a script and writes its result into `reply`: one complete reply, or nothing if the result is an error. The script
    /// is remembered, if it compiles, until it is evicted.
    pub fn eval(&mut self, source: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::of(source);
        let script = match self.function(digest)? {
            Some(script) => script,
            None => self.add(digest, source)?,
        };
        self.run(digest, script, run, port, reply)
    }

    /// As [`Engine::eval`], for a script that is known, by its digest.
    pub fn eval_sha(&mut self, sha_hex: &[u8], run: &Run<'_>, port: &mut dyn Port, reply: &mut dyn ReplySink) -> Result<()> {
        let digest = Digest::parse(sha_hex).ok_or(Error::NoScript)?;
        let script = self.function(digest)?.ok_or(Error::NoScript)?;
        self.run(digest, script, run, port, reply)
    }

    fn run(
        &mut self,
        digest: Digest,
        script: Compiled,
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        port.begin(Rules { flags: script.flags, read_only: run.read_only })?;
        self.vm.run(Task { script: script.function, keys: run.keys, args: run.args }, digest, port, reply)
    }

    /// The function of a known script, compiled again if the VM it was compiled in is gone.
    fn function(&mut self, digest: Digest) -> Result<Option<Compiled>> {
        let Some(script) = self.cache.get(digest) else {
            return Ok(None);
        };
        if let Some(compiled) = script.compiled.filter(|compiled| compiled.vm == self.vm.number()) {
            return Ok(Some(compiled));
        }
        let compiled = compile(&mut self.vm, &script.source)?;
        script.compiled = Some(compiled);
        Ok(Some(compiled))
    }

    fn add(&mut self, digest: Digest, source: &[u8]) -> Result<Compiled> {
        let compiled = compile(&mut self.vm, source)?;
        self.cache.insert(digest, source, compiled);
        while let Some(evicted) = self.cache.evict() {
            if let Some(compiled) = evicted.compiled.filter(|compiled| compiled.vm == self.vm.number()) {
                self.vm.release(compiled.function);
            }
        }
        Ok(compiled)
    }
}

fn compile(vm: &mut Vm, source: &[u8]) -> Result<Compiled> {
    if let Some(refusal) = sandbox::refusal(source) {
        return Err(Error::Script([b"ERR Error compiling script (new function): ", refusal].concat()));
    }
    let header = shebang::read(source)?;
    let function = vm.compile(header.code)?;
    Ok(Compiled { vm: vm.number(), function, flags: header.flags })
}
