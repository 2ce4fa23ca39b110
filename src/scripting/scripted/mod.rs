//! Commands that files declare: `commands-dir`, and `ATOMIC.COMMANDS` about them.
//!
//! The server learns about a command when the module loads, and cannot be told again: name, arity, flags and keys are fixed from then on.
//! What may change is the function behind it, by a RELOAD. So what the server was told is kept here, where it is at hand while a script
//! runs and asks for the keys of a command; the functions are the engine's.

mod files;
mod words;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Call, Manner, Scripting};
use crate::commands::spec::{Arg, KeyFlags, Keys, SpecOf};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::{Access, CommandFile, Declaration, MOST_COMMANDS, NAME_BYTES, Positions};
use crate::scripting;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;
use crate::server::thread::ServerThread;
use crate::settings;

pub static REGISTRY: ServerThread<Option<Registry>> = ServerThread::new(None);

/// What the server was told.
pub struct Registry {
    directory: PathBuf,
    /// In the order of registration, by which the engine counts them.
    pub commands: Vec<Rc<Command>>,
    by_name: BTreeMap<Box<[u8]>, usize>,
}

/// A command, as the server knows it.
pub struct Command {
    /// The number by which the engine knows its function.
    pub number: usize,
    /// What the file declares about it.
    pub declaration: Declaration,
}

/// Reads the directory, if there is one, before anything is registered; `is_ours` tells the commands that will be. Any error is that of
/// the load.
pub fn load(ctx: Ctx, is_ours: impl Fn(&CStr) -> bool) -> Result<()> {
    let directory = settings::COMMANDS_DIR.get();
    if directory.is_empty() {
        return Ok(());
    }
    let directory = files::absolute(&directory)?;
    let mut scripting = scripting::engine()?;
    let loaded = load_files(ctx, &mut scripting, &directory)?;
    let mut registry = Registry { directory, commands: Vec::new(), by_name: BTreeMap::new() };
    for (file, declaration) in declarations(&loaded) {
        if ctx.has_command(declaration.name.to_bytes()) || is_ours(&declaration.name) {
            return Err(refusal(file, declaration, "is a command already: of the server, or of a module"));
        }
        let number = registry.commands.len();
        registry.by_name.insert(declaration.name.to_bytes().into(), number);
        registry.commands.push(Rc::new(Command { number, declaration: declaration.clone() }));
    }
    for (file, declaration) in declarations(&loaded).filter(|(_, declaration)| declaration.has_several_dots()) {
        let (file, line, name) = (file.name(), declaration.line, declaration.shown_name());
        ctx.log(
            c"warning",
            &format!("commands-dir: {file}:{line}: {name} has two dots or more: redis-py's cluster client refuses such a name"),
        );
    }
    let (files, commands) = (loaded.len(), registry.commands.len());
    scripting.engine.put_command_files(registry.names(), loaded);
    if let Some(mut slot) = REGISTRY.try_borrow_mut() {
        *slot = Some(registry);
    }
    ctx.log(c"notice", &format!("commands-dir: {commands} commands from {files} files"));
    Ok(())
}

/// Registers the commands. The server takes all of a module away if one is refused.
pub fn register(mut register: impl FnMut(&SpecOf<'_>) -> Result<()>) -> Result<()> {
    let slot = REGISTRY.try_borrow_mut().ok_or(Error::Recursion)?;
    let commands = slot.iter().flat_map(|registry| &registry.commands);
    commands.map(|command| &command.declaration).try_for_each(|declaration| register(&spec(declaration, &words::of(declaration))))
}

/// Reads the directory again, all or none. What is wrong is logged, too: the next load of the module would fail on it.
pub fn reload(ctx: Ctx) -> Result<()> {
    let mut scripting = scripting::engine()?;
    let slot = REGISTRY.try_borrow_mut().ok_or(Error::Recursion)?;
    let registry = slot.as_ref().ok_or(Error::Text("ERR there is no commands-dir"))?;
    let not_reloaded = |error: &Error, so: &str| {
        let error = error.wire();
        ctx.log(c"warning", &format!("not reloaded: {}{so}", error.strip_prefix("ERR ").unwrap_or(&error)));
    };
    let loaded = load_files(ctx, &mut scripting, &registry.directory);
    let loaded = loaded.inspect_err(|error| not_reloaded(error, ". The next start of the server will fail."))?;
    let fits = declarations(&loaded).try_for_each(|(file, declaration)| registry.fits(file, declaration));
    if let Err(error) = fits {
        not_reloaded(&error, "");
        loaded.iter().for_each(|file| scripting.engine.discard_command_file(file));
        return Err(error);
    }
    let (files, commands) = (loaded.len(), declarations(&loaded).count());
    scripting.engine.put_command_files(registry.names(), loaded);
    ctx.log(c"notice", &format!("commands-dir: reloaded, {commands} commands from {files} files"));
    Ok(())
}

/// Forgets all commands, at unload.
pub fn stop() {
    if let Some(mut slot) = REGISTRY.try_borrow_mut() {
        *slot = None;
    }
}

impl Registry {
    fn names(&self) -> impl Iterator<Item = &CStr> {
        self.commands.iter().map(|command| command.declaration.name.as_c_str())
    }

    /// Whether a declaration is of a command that the server was told about, and says the same.
    fn fits(&self, file: &CommandFile, now: &Declaration) -> Result<()> {
        let was = self.by_name.get(now.name.to_bytes()).and_then(|number| self.commands.get(*number));
        let Some(was) = was else { return Err(refusal(file, now, "is a new name, which needs a restart")) };
        match was.declaration.fixed_difference(now) {
            None => Ok(()),
            Some(field) => Err(refusal(file, now, &format!("has another {field} than before, which needs a restart"))),
        }
    }
}

fn load_files(ctx: Ctx, scripting: &mut Scripting, directory: &Path) -> Result<Vec<CommandFile>> {
    let mut loaded: Vec<CommandFile> = Vec::new();
    let outcome = files::read(directory)?.into_iter().try_for_each(|file| {
        loaded.push(scripting.load_command_file(ctx, &file.name, &file.code)?);
        no_name_twice(&loaded)
    });
    if outcome.is_err() {
        loaded.iter().for_each(|file| scripting.engine.discard_command_file(file));
    }
    outcome.map(|()| loaded)
}

/// Within a file the loader has seen to that.
fn no_name_twice(files: &[CommandFile]) -> Result<()> {
    let mut seen: BTreeMap<&CStr, (&CommandFile, &Declaration)> = BTreeMap::new();
    for (file, declaration) in declarations(files) {
        if let Some((other, first)) = seen.insert(&declaration.name, (file, declaration)) {
            let first = format!("is declared in {}:{}, too", other.name(), first.line);
            return Err(refusal(file, declaration, &first));
        }
        if seen.len() > MOST_COMMANDS {
            return Err(refusal(file, declaration, "is one command too many: there may be 256"));
        }
    }
    Ok(())
}

fn declarations(files: &[CommandFile]) -> impl Iterator<Item = (&CommandFile, &Declaration)> {
    files.iter().flat_map(|file| file.declarations().map(move |declaration| (file, declaration)))
}

fn refusal(file: &CommandFile, declaration: &Declaration, what: &str) -> Error {
    let name = declaration.shown_name();
    Error::Script(format!("ERR commands-dir: {}:{}: {name} {what}", file.name(), declaration.line).into_bytes())
}

fn spec<'a>(declaration: &'a Declaration, words: &'a (CString, Vec<Arg>)) -> SpecOf<'a> {
    SpecOf {
        name: &declaration.name,
        flags: &words.0,
        categories: c"scripting",
        summary: &declaration.summary,
        complexity: &declaration.complexity,
        since: &declaration.since,
        arity: declaration.arity,
        keys: Keys::Scripted(declaration.keys, key_flags(declaration.access)),
        args: &words.1,
    }
}

fn key_flags(access: Access) -> KeyFlags {
    match access {
        Access::Read => KeyFlags::Read,
        Access::Update => KeyFlags::Update,
        Access::Overwrite => KeyFlags::Overwrite,
    }
}

/// The command that is called so, in any case.
fn find(name: &[u8]) -> Option<Rc<Command>> {
    let slot = REGISTRY.try_borrow_mut()?;
    let registry = slot.as_ref()?;
    let mut lower = [0; NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    registry.commands.get(*registry.by_name.get(&*lower)?).cloned()
}

/// Whether a file of this load declares a command of this name.
#[must_use]
pub fn declares(name: &[u8]) -> bool {
    find(name).is_some()
}

/// Tells the positions of the keys in a call, if it has all of them, and what happens to them.
pub fn keys(argv: &[Str<'_>], mut tell: impl FnMut(usize, KeyFlags)) {
    let Some(command) = argv.first().and_then(|name| find(name.bytes())) else { return };
    let flags = key_flags(command.declaration.access);
    if let Ok(span) = words::Span::of(command.declaration.keys, argv) {
        (1..argv.len()).filter(|at| span.holds(*at)).for_each(|at| tell(at, flags));
    }
}

/// Runs a command of a file.
pub fn run(keyspace: &Keyspace, argv: &[Str<'_>]) -> Result<Reply> {
    let command = argv.first().and_then(|name| find(name.bytes()));
    let command = command.ok_or(Error::Text("ERR this name is not that of a command from a file"))?;
    let Declaration { keys: positions, flags, name, .. } = &command.declaration;
    let span = words::Span::of(*positions, argv)?;
    let (mut keys, mut args) = (Vec::new(), Vec::with_capacity(argv.len()));
    for (at, word) in argv.iter().enumerate().skip(1) {
        if span.holds(at) {
            keys.push(*word);
        } else if *positions != Positions::Counted(i32::try_from(at).unwrap_or(0)) {
            args.push(*word);
        }
    }
    let call = Call { number: command.number, name: name.to_bytes(), keys: &keys, args: &args };
    scripting::command(keyspace, &call, Manner { read_only: !flags.write(), standing_in: false })
}
