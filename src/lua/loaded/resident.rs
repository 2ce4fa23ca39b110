//! Code that has run once and left functions in the VM, which are called later.

use crate::error::{Error, Result};
use crate::lua::engine::is_worth_native_code;
use crate::lua::stats::Runs;
use crate::lua::vm::{Loaded, Vm};

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::lua) struct Resident {
    /// The code, which runs again when the VM in which it ran is gone.
    pub code: Box<[u8]>,
    /// What it left.
    pub loaded: Loaded,
    native: bool,
}

impl Resident {
    /// Code that has just run.
    pub fn new(code: &[u8], loaded: Loaded) -> Self {
        Self { code: code.into(), loaded, native: false }
    }

    /// Forgets what it left in the VM.
    pub fn discard(&self, vm: &mut Vm) {
        vm.unload(&self.loaded);
    }

    /// Lets the code run again, by `load`, if the VM in which it ran is gone.
    pub fn be_ready(&mut self, vm: &mut Vm, load: impl FnOnce(&mut Vm, &Self) -> Result<Loaded>) -> Result<()> {
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

    /// Sees to the code after a run of one of its functions. These are the runs that decide on machine code.
    pub fn settle(&mut self, vm: &mut Vm, runs: &Runs) {
        // Other globals would stay with the function: its code makes it anew.
        if vm.take_rebound() {
            vm.unload(&self.loaded);
            self.loaded.vm = Loaded::GONE;
        } else if !self.native && self.loaded.vm == vm.number() && is_worth_native_code(runs, self.code.len()) {
            self.native = true;
            vm.compile_natively(self.loaded.code, self.code.len());
        }
    }
}
