//! Function libraries: code that runs once and registers functions, which are called by name from then on.
//!
//! Where the code is kept is not known here. A library whose VM is gone runs its code again before the next call of one of its functions;
//! what its code remembered between calls is lost then, as after a restart.

use std::collections::HashMap;
use std::time::Instant;

use super::context::{Entry, Source, Task};
use super::engine::{Run, is_worth_native_code};
use super::port::{Flags, Port, ReplySink, Rules};
use super::runs::Runs;
use super::vm::{Loaded, Name, Vm};
use crate::error::{Error, Result};

/// The code of a library that has run and is not in use yet.
#[derive(Debug)]
pub struct Candidate {
    code: Box<[u8]>,
    loaded: Loaded,
}

impl Candidate {
    /// Forgets what was loaded for nothing.
    pub(super) fn discard(&self, vm: &mut Vm) {
        vm.unload(&self.loaded);
    }
}

/// All libraries and their functions.
#[derive(Default)]
pub struct Functions {
    libraries: HashMap<Box<[u8]>, Library>,
    /// By name in lower case: the server knows functions in any case.
    functions: HashMap<Box<[u8]>, Function>,
}

struct Library {
    code: Box<[u8]>,
    loaded: Loaded,
    /// Its code, and what runs it has: machine code is made of all of it.
    runs: Runs,
    native: bool,
}

struct Function {
    name: Box<[u8]>,
    library: Box<[u8]>,
    /// Its place among the functions of its library.
    place: usize,
}

/// The longest name that is looked up without memory of its own.
const SHORT: usize = 64;

impl Functions {
    /// How many libraries there are, and how many functions.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.libraries.len(), self.functions.len())
    }

    /// The names of all libraries.
    pub fn libraries(&self) -> impl Iterator<Item = &[u8]> {
        self.libraries.keys().map(|name| &**name)
    }

    /// Whether the library is there with this very code.
    #[must_use]
    pub fn holds(&self, library: &[u8], code: &[u8]) -> bool {
        self.libraries.get(library).is_some_and(|library| *library.code == *code)
    }

    /// Runs the code of a library. Nothing is in use yet.
    pub(super) fn load(vm: &mut Vm, code: &[u8], port: &mut dyn Port) -> Result<Candidate> {
        Ok(Candidate { loaded: vm.load(source(code), port)?, code: code.into() })
    }

    /// Puts a library in use, in place of one of the same name.
    pub(super) fn put(&mut self, vm: &mut Vm, name: &[u8], candidate: Candidate) {
        self.remove(vm, name);
        let Candidate { code, loaded } = candidate;
        for (place, function) in loaded.functions.iter().enumerate() {
            let entry = Function { name: function.name.clone(), library: name.into(), place };
            self.functions.insert(function.name.to_ascii_lowercase().into(), entry);
        }
        self.libraries.insert(name.into(), Library { code, loaded, runs: Runs::default(), native: false });
    }

    /// Forgets a library.
    pub(super) fn remove(&mut self, vm: &mut Vm, name: &[u8]) {
        if let Some(library) = self.libraries.remove(name) {
            vm.unload(&library.loaded);
            self.functions.retain(|_, function| *function.library != *name);
        }
    }

    /// Whether there is a function of this name.
    #[must_use]
    pub fn has(&self, name: &[u8]) -> bool {
        find(&self.functions, name).is_some()
    }

    /// The flags of a function.
    #[must_use]
    pub fn flags(&self, name: &[u8]) -> Option<Flags> {
        let function = find(&self.functions, name)?;
        Some(self.libraries.get(&function.library)?.loaded.functions.get(function.place)?.flags)
    }

    /// Calls a function and writes its result into `reply`; `None` if there is no such function.
    pub(super) fn call(
        &mut self,
        vm: &mut Vm,
        name: &[u8],
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Option<Result<()>> {
        let function = find(&self.functions, name)?;
        let (name, place) = (&*function.name, function.place);
        let library = self.libraries.get_mut(&function.library)?;
        if let Err(error) = library.be_ready(vm, port) {
            return Some(Err(error));
        }
        let registered = library.loaded.functions.get(place)?;
        let started = Instant::now();
        let task = Task { entry: Entry::Function(registered.callback), keys: run.keys, args: run.args };
        let admitted = port.begin(Rules { flags: Some(registered.flags), read_only: run.read_only, digest: None });
        let result = admitted.and_then(|()| vm.run(task, Name::Function(name), port, Some(reply)));
        library.runs.add(started.elapsed(), result.is_err());
        // Other globals would stay with the function: its code makes it anew.
        if vm.take_rebound() {
            vm.unload(&library.loaded);
            library.loaded.vm = Loaded::GONE;
        } else if !library.native && library.loaded.vm == vm.number() && is_worth_native_code(&library.runs, library.code.len()) {
            library.native = true;
            vm.compile_natively(library.loaded.code, library.code.len());
        }
        Some(result)
    }
}

fn find<'f>(functions: &'f HashMap<Box<[u8]>, Function>, name: &[u8]) -> Option<&'f Function> {
    let mut short = [0; SHORT];
    match short.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            functions.get(&*lower)
        }
        None => functions.get(name.to_ascii_lowercase().as_slice()),
    }
}

impl Library {
    /// Runs the code again if the VM in which it ran is gone.
    fn be_ready(&mut self, vm: &mut Vm, port: &mut dyn Port) -> Result<()> {
        if self.loaded.vm == vm.number() {
            return Ok(());
        }
        let loaded = vm.load(source(&self.code), port)?;
        if loaded.vm != vm.number() {
            return Err(Error::Text("ERR not enough memory for the library"));
        }
        let names = |loaded: &Loaded| loaded.functions.iter().map(|function| function.name.clone()).collect::<Vec<_>>();
        // Code could register something else each time; what the server has listed is what there is.
        if names(&loaded) != names(&self.loaded) {
            vm.unload(&loaded);
            return Err(Error::Text("ERR the library does not register the functions that it registered before"));
        }
        self.loaded = loaded;
        self.native = false;
        Ok(())
    }
}

/// What follows the first line, with that line's end, so that the numbers of lines stay right.
fn source(code: &[u8]) -> Source<'_> {
    let end = code.iter().position(|&byte| byte == b'\n').unwrap_or(code.len());
    Source { code: code.get(end..).unwrap_or_default(), name: c"@user_function", library: true }
}
