//! Function libraries: code that runs once and registers functions, which are called by name from then on.
//!
//! Where the code is kept is not known here. A library whose VM is gone runs its code again before the next call of one of its functions;
//! what its code remembered between calls is lost then, as after a restart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

use super::resident::Resident;
use crate::error::{Error, Result};
use crate::lua::engine::Run;
use crate::lua::port::{Flags, Port, ReplySink, Rules};
use crate::lua::stats::Runs;
use crate::lua::vm::context::{Entry, Source, Task};
use crate::lua::vm::{Loaded, Name, Vm};

/// The code of a library that has run and is not in use yet.
#[derive(Debug)]
pub struct Candidate(Resident);

impl Candidate {
    /// Runs the code of a library. Nothing is in use yet.
    pub(in crate::lua) fn load(vm: &mut Vm, code: &[u8], port: &mut dyn Port) -> Result<Self> {
        let loaded = vm.load(source(code), port)?;
        Ok(Self(Resident::new(code, loaded)))
    }

    /// Forgets what was loaded for nothing.
    pub(in crate::lua) fn discard(&self, vm: &mut Vm) {
        self.0.discard(vm);
    }
}

/// All libraries and their functions.
#[derive(Default)]
pub struct Functions {
    /// A library keeps its place, by which its functions know it.
    libraries: Vec<Option<Library>>,
    /// By name in lower case: the server knows functions in any case.
    functions: HashMap<Box<[u8]>, FunctionId, BuildHasherDefault<NameHash>>,
}

struct Library {
    name: Box<[u8]>,
    resident: Resident,
    runs: Runs,
}

/// A function that is there, until libraries change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionId {
    library: usize,
    /// Its place among the functions of its library.
    place: usize,
}

impl Functions {
    /// How many libraries there are, and how many functions.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.libraries.iter().flatten().count(), self.functions.len())
    }

    /// The names of all libraries.
    pub fn libraries(&self) -> impl Iterator<Item = &[u8]> {
        self.libraries.iter().flatten().map(|library| &*library.name)
    }

    /// Whether the library is there with this very code.
    #[must_use]
    pub fn holds(&self, name: &[u8], code: &[u8]) -> bool {
        self.libraries.iter().flatten().any(|library| *library.name == *name && *library.resident.code == *code)
    }

    /// Puts a library in use, in place of one of the same name.
    pub(in crate::lua) fn put(&mut self, vm: &mut Vm, name: &[u8], Candidate(resident): Candidate) {
        self.remove(vm, name);
        let free = self.libraries.iter().position(Option::is_none);
        let library = free.unwrap_or_else(|| {
            self.libraries.push(None);
            self.libraries.len() - 1
        });
        for (place, function) in resident.loaded.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase().into(), FunctionId { library, place });
        }
        if let Some(slot) = self.libraries.get_mut(library) {
            *slot = Some(Library { name: name.into(), resident, runs: Runs::default() });
        }
    }

    /// Forgets a library.
    pub(in crate::lua) fn remove(&mut self, vm: &mut Vm, name: &[u8]) {
        let named = |library: &Option<Library>| library.as_ref().is_some_and(|library| *library.name == *name);
        let Some(place) = self.libraries.iter().position(named) else { return };
        if let Some(library) = self.libraries.get_mut(place).and_then(Option::take) {
            library.resident.discard(vm);
        }
        self.functions.retain(|_, function| function.library != place);
    }

    /// The function of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<FunctionId> {
        /// Longer names are looked up with memory of their own.
        const SHORT: usize = 64;
        let mut short = [0; SHORT];
        let found = match short.get_mut(..name.len()) {
            Some(lower) => {
                lower.copy_from_slice(name);
                lower.make_ascii_lowercase();
                self.functions.get(&*lower)
            }
            None => self.functions.get(name.to_ascii_lowercase().as_slice()),
        };
        found.copied()
    }

    /// The flags of a function.
    #[must_use]
    pub fn flags(&self, function: FunctionId) -> Option<Flags> {
        let library = self.libraries.get(function.library)?.as_ref()?;
        Some(library.resident.loaded.functions.get(function.place)?.flags)
    }

    /// Runs the code of the function's library again, if the VM in which it ran is gone.
    pub(in crate::lua) fn prepare(&mut self, vm: &mut Vm, function: FunctionId, port: &mut dyn Port) -> Result<()> {
        let Some(library) = self.libraries.get_mut(function.library).and_then(Option::as_mut) else { return Ok(()) };
        library.resident.be_ready(vm, |vm, old| load_again(vm, old, port))
    }

    /// Calls a function that is prepared and writes its result into `reply`.
    pub(in crate::lua) fn call(
        &mut self,
        vm: &mut Vm,
        function: FunctionId,
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        const GONE: Error = Error::Text("ERR Function not found");
        let library = self.libraries.get_mut(function.library).and_then(Option::as_mut).ok_or(GONE)?;
        let function = library.resident.loaded.functions.get(function.place).ok_or(GONE)?;
        let started = Instant::now();
        let task = Task { entry: Entry::Function(function.callback), keys: run.keys, args: run.args, numbers: run.numbers };
        let admitted = port.begin(Rules { flags: Some(function.flags), read_only: run.read_only, digest: None });
        let result = admitted.and_then(|()| vm.run(task, Name::Function(&function.name), port, Some(reply)));
        library.runs.add(started.elapsed(), result.is_err());
        library.resident.settle(vm, &library.runs);
        result
    }
}

fn load_again(vm: &mut Vm, old: &Resident, port: &mut dyn Port) -> Result<Loaded> {
    let loaded = vm.load(source(&old.code), port)?;
    // Code could register something else each time; what the server has listed is what there is.
    let said =
        |loaded: &Loaded| loaded.functions.iter().map(|function| (function.name.clone(), function.flags)).collect::<Vec<_>>();
    let same = said(&loaded) == said(&old.loaded);
    if same {
        return Ok(loaded);
    }
    vm.unload(&loaded);
    Err(Error::Text("ERR the library no longer registers the same functions"))
}

/// What follows the first line, with that line's end, so that the numbers of lines stay right.
fn source(code: &[u8]) -> Source<'_> {
    let end = code.iter().position(|&byte| byte == b'\n').unwrap_or(code.len());
    Source { code: code.get(end..).unwrap_or_default(), name: c"@user_function", library: true }
}

/// FNV-1a. The names are those of libraries, whose number is bounded by who may load them.
struct NameHash(u64);

impl Default for NameHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHash {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
