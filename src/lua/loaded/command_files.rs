//! Commands that files declare: each file is code that runs once, as that of a function library does, and declares commands.
//!
//! What the server was told of a command is not known here: a command is a number, in the order in which they were registered, and has the
//! function of the file that declares it now, if one does. A file whose VM is gone runs its code again before the next call.

use std::ffi::{CStr, CString};
use std::time::Instant;

use super::declaration::Declaration;
use super::resident::Resident;
use crate::error::{Error, Result};
use crate::lua::engine::Run;
use crate::lua::port::{Port, ReplySink, Rules};
use crate::lua::stats::{RunFigures, Runs};
use crate::lua::vm::context::{Entry, Registered, Source, Task};
use crate::lua::vm::{Loaded, Name, Vm};

/// A file whose code has run.
#[derive(Debug)]
pub struct CommandFile {
    /// Its name behind an `@`, as Luau wants it.
    chunk: CString,
    resident: Resident,
    /// As many as there are functions, in their order.
    declarations: Vec<Declaration>,
}

impl CommandFile {
    /// Runs the code of a file, whose name may have no odd characters.
    pub(in crate::lua) fn load(vm: &mut Vm, name: &CStr, code: &[u8], port: &mut dyn Port) -> Result<Self> {
        let chunk =
            CString::new([b"@", name.to_bytes()].concat()).map_err(|_| Error::Text("ERR the file name contains a NUL byte"))?;
        let (loaded, declarations) = load(vm, &chunk, code, port)?;
        Ok(Self { chunk, resident: Resident::new(code, loaded), declarations })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        shown(&self.chunk)
    }

    /// What it declares.
    pub fn declarations(&self) -> impl Iterator<Item = &Declaration> {
        self.declarations.iter()
    }

    /// Forgets what was loaded.
    pub(in crate::lua) fn discard(&self, vm: &mut Vm) {
        self.resident.discard(vm);
    }

    /// Runs the code again if the VM in which it ran is gone.
    fn be_ready(&mut self, vm: &mut Vm, port: &mut dyn Port) -> Result<()> {
        let Self { chunk, resident, declarations } = self;
        resident.be_ready(vm, |vm, old| {
            let (loaded, declared) = load(vm, chunk, &old.code, port)?;
            // Code could declare something else each time; what the server was told is what there is.
            if declared == *declarations {
                return Ok(loaded);
            }
            vm.unload(&loaded);
            Err(refusal(chunk, b"no longer declares the same commands"))
        })
    }
}

/// The files in use, and the commands.
#[derive(Default)]
pub(in crate::lua) struct CommandFiles {
    files: Vec<CommandFile>,
    commands: Vec<Command>,
}

#[derive(Default)]
struct Command {
    /// Its file, and its place among the declarations there.
    place: Option<(usize, usize)>,
    runs: Runs,
}

impl CommandFiles {
    /// Puts files in use, in place of all others. The commands have these names, by their numbers.
    pub fn put<'n>(&mut self, vm: &mut Vm, names: impl Iterator<Item = &'n CStr>, files: Vec<CommandFile>) {
        std::mem::replace(&mut self.files, files).iter().for_each(|file| file.discard(vm));
        for (number, name) in names.enumerate() {
            if number == self.commands.len() {
                self.commands.push(Command::default());
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

    /// Runs a command and writes its result into `reply`. `name` is for errors.
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
        file.be_ready(vm, port)?;
        let callback = file.resident.loaded.functions.get(place).map(|function: &Registered| function.callback).ok_or(REMOVED)?;
        let started = Instant::now();
        let task = Task { entry: Entry::Function(callback), keys: run.keys, args: run.args, numbers: run.numbers };
        let admitted = port.begin(Rules { flags: None, read_only: run.read_only, digest: None });
        let result = admitted.and_then(|()| vm.run(task, Name::Function(name), port, Some(reply)));
        command.runs.add(started.elapsed(), result.is_err());
        file.resident.settle(vm, &command.runs);
        result
    }

    /// The file and the line of a command's declaration, if a file declares it.
    pub fn place(&self, number: usize) -> Option<(&str, u32)> {
        let (file, place) = self.commands.get(number)?.place?;
        let file = self.files.get(file)?;
        Some((file.name(), file.declarations.get(place)?.line))
    }

    /// The runs of a command.
    pub fn figures(&self, number: usize) -> RunFigures {
        self.commands.get(number).map(|command| command.runs.figures()).unwrap_or_default()
    }

    /// Starts to count anew.
    pub fn reset_stats(&mut self) {
        self.commands.iter_mut().for_each(|command| command.runs = Runs::default());
    }
}

fn load(vm: &mut Vm, chunk: &CStr, code: &[u8], port: &mut dyn Port) -> Result<(Loaded, Vec<Declaration>)> {
    let end = code.iter().position(|&byte| byte == b'\n').unwrap_or(code.len());
    let (first, code) = code.split_at_checked(end).unwrap_or_default();
    if !is_first_line(first) {
        return Err(refusal(chunk, b"1: the first line must be #!lua name=<letters, digits and _>"));
    }
    vm.load_commands(Source { code, name: chunk, library: true }, port).map_err(|why| refusal(chunk, &why))
}

fn is_first_line(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let name = (words.next() == Some(b"#!lua")).then(|| words.next()).flatten();
    let name = name.and_then(|word| word.strip_prefix(b"name=")).filter(|name| !name.is_empty());
    words.next().is_none() && name.is_some_and(|name| name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric()))
}

/// What is wrong with a file. What starts with a line's number follows its name closely.
fn refusal(chunk: &CStr, what: &[u8]) -> Error {
    let name = shown(chunk).as_bytes();
    let space: &[u8] = if what.first().is_some_and(u8::is_ascii_digit) { b"" } else { b" " };
    Error::Script([b"ERR commands-dir: ", name, b":", space, what].concat())
}

/// A name without the sign before it.
fn shown(chunk: &CStr) -> &str {
    chunk.to_str().unwrap_or_default().trim_start_matches('@')
}
