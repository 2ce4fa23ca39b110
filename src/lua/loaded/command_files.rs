//! Scripted commands: each command file is code that runs once, as the code of a function library does, and declares commands.
//!
//! The server knows a command by its registration. Here a command is a number, in the order of registration, with the function of
//! the file that declares it now, if one does. A file whose VM is gone runs its code again before the next call.

use std::ffi::{CStr, CString};

use super::chunk::Chunk;
use crate::error::{Error, Result};
use crate::lua::declaration::Declaration;
use crate::lua::port::{Port, ReplySink};
use crate::lua::run::{Callee, Run};
use crate::lua::source::shebang;
use crate::lua::stats::{RunCounters, RunFigures};
use crate::lua::vm::Vm;
use crate::lua::vm::task::{EntryPoint, LoadedChunk, Registered, RunName, Source};

/// A command file whose code has run.
#[derive(Debug)]
pub struct CommandFile {
    /// Its name after an `@`, as Luau wants it.
    chunk_name: CString,
    chunk: Chunk,
    /// One for each function, in their order.
    declarations: Vec<Declaration>,
}

impl CommandFile {
    /// Runs the code of a command file. Its name must not have odd characters.
    pub(in crate::lua) fn load(vm: &mut Vm, name: &CStr, code: &[u8], port: &mut dyn Port) -> Result<Self> {
        let chunk_name =
            CString::new([b"@", name.to_bytes()].concat()).map_err(|_| Error::Text("ERR the file name contains a NUL byte"))?;
        let (loaded, declarations) = load(vm, &chunk_name, code, port)?;
        Ok(Self { chunk_name, chunk: Chunk::new(code, loaded), declarations })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        shown(&self.chunk_name)
    }

    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.declarations.iter()
    }

    /// Releases its functions.
    pub(in crate::lua) fn discard(&self, vm: &mut Vm) {
        self.chunk.discard(vm);
    }

    /// Runs the code again if the VM in which it ran is gone.
    fn prepare(&mut self, vm: &mut Vm, port: &mut dyn Port) -> Result<()> {
        let Self { chunk_name, chunk, declarations } = self;
        chunk.prepare(vm, |vm, old| {
            let (loaded, declared) = load(vm, chunk_name, &old.code, port)?;
            // Code could declare something else each time, but the server knows what it declared first.
            if declared == *declarations {
                return Ok(loaded);
            }
            vm.unload(&loaded);
            Err(refusal(chunk_name, b"no longer declares the same commands"))
        })
    }
}

/// The command files in use, and the commands.
#[derive(Default)]
pub(in crate::lua) struct CommandFiles {
    files: Vec<CommandFile>,
    commands: Vec<ScriptedCommand>,
}

#[derive(Default)]
struct ScriptedCommand {
    /// Its file, and its place among the declarations there.
    place: Option<(usize, usize)>,
    counters: RunCounters,
}

impl CommandFiles {
    /// Puts files in use. They replace all others. `names` are the names of the commands in the order of their numbers.
    pub fn put<'n>(&mut self, vm: &mut Vm, names: impl Iterator<Item = &'n CStr>, files: Vec<CommandFile>) {
        std::mem::replace(&mut self.files, files).iter().for_each(|file| file.discard(vm));
        for (number, name) in names.enumerate() {
            if number == self.commands.len() {
                self.commands.push(ScriptedCommand::default());
            }
            let place = self.files.iter().enumerate().find_map(|(file, loaded)| {
                let place = loaded.declarations.iter().position(|declaration| *declaration.name == *name)?;
                Some((file, place))
            });
            if let Some(command) = self.commands.get_mut(number) {
                command.place = place;
            }
        }
    }

    /// Runs a command. `name` is for errors.
    pub fn call(
        &mut self,
        vm: &mut Vm,
        (number, name): (usize, &[u8]),
        run: &Run<'_>,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        const REMOVED: Error = Error::Text("ERR no file in commands-dir declares this command any more");
        let command = self.commands.get_mut(number).ok_or(REMOVED)?;
        let (file, place) = command.place.ok_or(REMOVED)?;
        let file = self.files.get_mut(file).ok_or(REMOVED)?;
        file.prepare(vm, port)?;
        let &Registered { callback, flags, .. } = file.chunk.loaded.functions.get(place).ok_or(REMOVED)?;
        let callee = Callee { entry: EntryPoint::Function(callback), name: RunName::Function(name), flags: Some(flags) };
        let result = run.execute(vm, &callee, &mut command.counters, port, reply);
        file.chunk.after_run(vm, &command.counters);
        result
    }

    /// The file and the line of a command's declaration, if a file declares it.
    pub fn place(&self, number: usize) -> Option<(&str, u32)> {
        let (file, place) = self.commands.get(number)?.place?;
        let file = self.files.get(file)?;
        Some((file.name(), file.declarations.get(place)?.line))
    }

    /// The figures of a command.
    pub fn figures(&self, number: usize) -> RunFigures {
        self.commands.get(number).map(|command| command.counters.figures()).unwrap_or_default()
    }

    /// Sets all counters to zero.
    pub fn reset_stats(&mut self) {
        self.commands.iter_mut().for_each(|command| command.counters = RunCounters::default());
    }
}

fn load(vm: &mut Vm, chunk_name: &CStr, code: &[u8], port: &mut dyn Port) -> Result<(LoadedChunk, Vec<Declaration>)> {
    let (first_line, code) = shebang::split(code);
    if !first_line.only_name().is_some_and(is_library_name) {
        return Err(refusal(chunk_name, b"1: the first line must be #!lua name=<letters, digits and _>"));
    }
    vm.load_commands(Source { code, name: chunk_name, library: true }, port).map_err(|why| refusal(chunk_name, &why))
}

fn is_library_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// The error about a file. A reason that starts with a line number follows the file's name without a space.
fn refusal(chunk_name: &CStr, what: &[u8]) -> Error {
    let name = shown(chunk_name).as_bytes();
    let space: &[u8] = if what.first().is_some_and(u8::is_ascii_digit) { b"" } else { b" " };
    Error::Script([b"ERR commands-dir: ", name, b":", space, what].concat())
}

/// The name without the `@`.
fn shown(chunk_name: &CStr) -> &str {
    chunk_name.to_str().unwrap_or_default().trim_start_matches('@')
}
