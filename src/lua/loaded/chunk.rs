//! A chunk of code that has run once and left functions in the VM: a function library, or a command file.

use crate::error::{Error, Result};
use crate::lua::run::is_worth_native_code;
use crate::lua::stats::RunCounters;
use crate::lua::vm::Vm;
use crate::lua::vm::task::LoadedChunk;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lua) struct Chunk {
    /// The code. It runs again when the VM in which it ran is gone.
    pub code: Box<[u8]>,
    /// The functions that it left.
    pub loaded: LoadedChunk,
    native: bool,
}

impl Chunk {
    /// Code that has just run.
    pub fn new(code: &[u8], loaded: LoadedChunk) -> Self {
        Self { code: code.into(), loaded, native: false }
    }

    /// Releases the functions that it left in the VM.
    pub fn discard(&self, vm: &mut Vm) {
        vm.unload(&self.loaded);
    }

    /// Runs the code again, by `load`, if the VM in which it ran is gone.
    pub fn prepare(&mut self, vm: &mut Vm, load: impl FnOnce(&mut Vm, &Self) -> Result<LoadedChunk>) -> Result<()> {
        if self.loaded.vm == vm.number() {
            return Ok(());
        }
        let loaded = load(vm, self)?;
        // Loading may cost the VM, too.
        if loaded.vm != vm.number() {
            return Err(Error::Text("ERR not enough memory to reload the function"));
        }
        self.loaded = loaded;
        self.native = false;
        Ok(())
    }

    /// Follows up a run of one of its functions: drops functions whose globals changed, and compiles code that computes to
    /// machine code. `counters` are those of the runs that decide on that.
    pub fn after_run(&mut self, vm: &mut Vm, counters: &RunCounters) {
        // Changed globals would stay with the function. Running the code again makes a new function.
        if vm.take_rebound() {
            vm.unload(&self.loaded);
            self.loaded.vm = LoadedChunk::GONE;
        } else if !self.native && self.loaded.vm == vm.number() && is_worth_native_code(counters, self.code.len()) {
            self.native = true;
            vm.compile_natively(self.loaded.code, self.code.len());
        }
    }
}
