//! Function libraries: code that runs once and registers functions, which clients then call by name.
//!
//! The server stores the code, so nothing here does. A library whose VM is gone runs its code again before the next call of one
//! of its functions. Values that the code kept between calls are lost then, as after a restart.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::chunk::Chunk;
use crate::error::{Error, Result};
use crate::lua::port::{Port, ReplySink, ScriptFlags};
use crate::lua::run::{Callee, Run};
use crate::lua::source::shebang;
use crate::lua::stats::RunCounters;
use crate::lua::vm::Vm;
use crate::lua::vm::task::{EntryPoint, LoadedChunk, RunName, Source};

/// A library whose code has run and that is not in use yet.
#[derive(Debug)]
pub struct Candidate(Chunk);

impl Candidate {
    /// Runs the code of a library.
    pub(in crate::lua) fn load(vm: &mut Vm, code: &[u8], port: &mut dyn Port) -> Result<Self> {
        let loaded = vm.load(source(code), port)?;
        Ok(Self(Chunk::new(code, loaded)))
    }

    /// Releases its functions.
    pub(in crate::lua) fn discard(&self, vm: &mut Vm) {
        self.0.discard(vm);
    }
}

/// All libraries and their functions.
#[derive(Default)]
pub struct Functions {
    /// A library keeps its place, and its functions refer to it by that.
    libraries: Vec<Option<Library>>,
    /// By name in lower case: the server compares names of functions without case.
    functions: HashMap<Box<[u8]>, FunctionId, BuildHasherDefault<NameHash>>,
}

struct Library {
    name: Box<[u8]>,
    chunk: Chunk,
    counters: RunCounters,
}

/// A registered function. Valid until a library changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionId {
    library: usize,
    /// Its place among the functions of its library.
    place: usize,
}

impl Functions {
    /// The number of libraries and of functions.
    #[must_use]
    pub fn count(&self) -> (usize, usize) {
        (self.libraries.iter().flatten().count(), self.functions.len())
    }

    pub fn libraries(&self) -> impl Iterator<Item = &[u8]> {
        self.libraries.iter().flatten().map(|library| &*library.name)
    }

    /// Whether a library with this name and this code is in use.
    #[must_use]
    pub fn holds(&self, name: &[u8], code: &[u8]) -> bool {
        self.libraries.iter().flatten().any(|library| *library.name == *name && *library.chunk.code == *code)
    }

    /// Puts a library in use. It replaces one of the same name.
    pub(in crate::lua) fn put(&mut self, vm: &mut Vm, name: &[u8], Candidate(chunk): Candidate) {
        self.remove(vm, name);
        let free = self.libraries.iter().position(Option::is_none);
        let library = free.unwrap_or_else(|| {
            self.libraries.push(None);
            self.libraries.len() - 1
        });
        for (place, function) in chunk.loaded.functions.iter().enumerate() {
            self.functions.insert(function.name.to_ascii_lowercase().into(), FunctionId { library, place });
        }
        if let Some(slot) = self.libraries.get_mut(library) {
            *slot = Some(Library { name: name.into(), chunk, counters: RunCounters::default() });
        }
    }

    /// Drops a library.
    pub(in crate::lua) fn remove(&mut self, vm: &mut Vm, name: &[u8]) {
        let named = |library: &Option<Library>| library.as_ref().is_some_and(|library| *library.name == *name);
        let Some(place) = self.libraries.iter().position(named) else { return };
        if let Some(library) = self.libraries.get_mut(place).and_then(Option::take) {
            library.chunk.discard(vm);
        }
        self.functions.retain(|_, function| function.library != place);
    }

    /// The function with this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<FunctionId> {
        /// The lookup of a longer name allocates.
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

    #[must_use]
    pub fn flags(&self, function: FunctionId) -> Option<ScriptFlags> {
        let library = self.libraries.get(function.library)?.as_ref()?;
        Some(library.chunk.loaded.functions.get(function.place)?.flags)
    }

    /// Runs the code of the function's library again, if the VM in which it ran is gone.
    pub(in crate::lua) fn prepare(&mut self, vm: &mut Vm, function: FunctionId, port: &mut dyn Port) -> Result<()> {
        let Some(library) = self.libraries.get_mut(function.library).and_then(Option::as_mut) else { return Ok(()) };
        library.chunk.prepare(vm, |vm, old| load_again(vm, old, port))
    }

    /// Calls a prepared function.
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
        let function = library.chunk.loaded.functions.get(function.place).ok_or(GONE)?;
        let (entry, name) = (EntryPoint::Function(function.callback), RunName::Function(&function.name));
        let callee = Callee { entry, name, flags: Some(function.flags) };
        let result = run.execute(vm, &callee, &mut library.counters, port, reply);
        library.chunk.after_run(vm, &library.counters);
        result
    }
}

fn load_again(vm: &mut Vm, old: &Chunk, port: &mut dyn Port) -> Result<LoadedChunk> {
    let loaded = vm.load(source(&old.code), port)?;
    // Code could register something else each time, but the server lists what it registered first.
    let listed = |loaded: &LoadedChunk| {
        loaded.functions.iter().map(|function| (function.name.clone(), function.flags)).collect::<Vec<_>>()
    };
    if listed(&loaded) == listed(&old.loaded) {
        return Ok(loaded);
    }
    vm.unload(&loaded);
    Err(Error::Text("ERR the library no longer registers the same functions"))
}

/// The source of a library. The server checks its first line.
fn source(code: &[u8]) -> Source<'_> {
    Source { code: shebang::split(code).1, name: c"@user_function", library: true }
}

/// FNV-1a. Only users who may load functions choose the names, so an attack by collisions gains them nothing.
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
