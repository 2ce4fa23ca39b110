//! Scripted commands, which the files of `commands-dir` declare, and `ATOMIC.COMMANDS` about them.
//!
//! The server learns about a command when the module loads, and only then: its name, arity, flags and keys are fixed from that
//! moment. RELOAD can replace only the function of a command. So this file keeps the declarations, where they are at hand while a
//! script runs and asks for the keys of a command; the engine keeps the functions.

mod files;
mod words;

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{RunMode, ScriptedCall, Scripting};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::{Access, CommandFile, Declaration, MOST_COMMANDS, NAME_BYTES, Positions};
use crate::scripting;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;
use crate::server::spec::{Arg, KeyFlags, Keys, SpecOf};
use crate::server::thread::ServerThread;
use crate::settings;

pub static REGISTRY: ServerThread<Option<Registry>> = ServerThread::new(None);

/// The declarations that the server has registered.
pub struct Registry {
    directory: PathBuf,
    /// In order of registration; the engine numbers its functions the same way.
    pub commands: Vec<Rc<ScriptedCommand>>,
    by_name: BTreeMap<Box<[u8]>, usize>,
}

pub struct ScriptedCommand {
    /// The number of its function in the engine.
    pub number: usize,
    pub declaration: Declaration,
}

/// Reads `commands-dir`, if set, before anything is registered; `is_ours` names the commands that will be. An error fails the load of
/// the module.
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
            return Err(refusal(file, declaration, "is already a command of the server or of a module"));
        }
        let number = registry.commands.len();
        registry.by_name.insert(declaration.name.to_bytes().into(), number);
        registry.commands.push(Rc::new(ScriptedCommand { number, declaration: declaration.clone() }));
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

/// Registers the commands. If the server refuses one, the module does not load.
pub fn register(mut register: impl FnMut(&SpecOf<'_>) -> Result<()>) -> Result<()> {
    let slot = REGISTRY.try_borrow_mut().ok_or(Error::Recursion)?;
    let commands = slot.iter().flat_map(|registry| &registry.commands);
    commands.map(|command| &command.declaration).try_for_each(|declaration| register(&spec(declaration, &words::of(declaration))))
}

/// Reloads the directory, all or none. Errors are also logged, because the next load of the module would fail on them.
pub fn reload(ctx: Ctx) -> Result<()> {
    let mut scripting = scripting::engine()?;
    let slot = REGISTRY.try_borrow_mut().ok_or(Error::Recursion)?;
    let registry = slot.as_ref().ok_or(Error::Text("ERR commands-dir is not set"))?;
    let not_reloaded = |error: &Error, consequence: &str| {
        let error = error.wire();
        ctx.log(c"warning", &format!("not reloaded: {}{consequence}", error.strip_prefix("ERR ").unwrap_or(&error)));
    };
    let loaded = load_files(ctx, &mut scripting, &registry.directory);
    let loaded = loaded.inspect_err(|error| not_reloaded(error, ". The next start of the server will fail."))?;
    let fits = declarations(&loaded).try_for_each(|(file, declaration)| registry.check_unchanged(file, declaration));
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

    /// Refuses a declaration that differs from the registered one, or that was not registered.
    fn check_unchanged(&self, file: &CommandFile, now: &Declaration) -> Result<()> {
        let was = self.by_name.get(now.name.to_bytes()).and_then(|number| self.commands.get(*number));
        let Some(was) = was else { return Err(refusal(file, now, "is a new command, which needs a restart")) };
        match was.declaration.fixed_difference(now) {
            None => Ok(()),
            Some(field) => Err(refusal(file, now, &format!("changes its {field}, which needs a restart"))),
        }
    }
}

fn load_files(ctx: Ctx, scripting: &mut Scripting, directory: &Path) -> Result<Vec<CommandFile>> {
    let mut loaded: Vec<CommandFile> = Vec::new();
    let outcome = files::read(directory)?.into_iter().try_for_each(|file| {
        loaded.push(scripting.load_command_file(ctx, &file.name, &file.code)?);
        check_duplicates(&loaded)
    });
    if outcome.is_err() {
        loaded.iter().for_each(|file| scripting.engine.discard_command_file(file));
    }
    outcome.map(|()| loaded)
}

/// Refuses a name that two files declare. The loader has checked each file.
fn check_duplicates(files: &[CommandFile]) -> Result<()> {
    let mut seen: BTreeMap<&CStr, (&CommandFile, &Declaration)> = BTreeMap::new();
    for (file, declaration) in declarations(files) {
        if let Some((other, first)) = seen.insert(&declaration.name, (file, declaration)) {
            let first = format!("is also declared in {}:{}", other.name(), first.line);
            return Err(refusal(file, declaration, &first));
        }
        if seen.len() > MOST_COMMANDS {
            return Err(refusal(file, declaration, "exceeds the limit of 256 commands"));
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
        keys: keys_of(declaration),
        args: &words.1,
    }
}

fn keys_of(declaration: &Declaration) -> Keys {
    let flags = key_flags(declaration.access);
    match declaration.keys {
        Positions::None => Keys::None,
        Positions::Range { first, last, step } => Keys::Range([first, last, step], flags),
        // Files count positions from 1.
        Positions::Counted(at) => Keys::Counted { at: at.unsigned_abs() as usize, flags, of_script: false },
    }
}

fn key_flags(access: Access) -> KeyFlags {
    match access {
        Access::Read => KeyFlags::Read,
        Access::Update => KeyFlags::Update,
        Access::Overwrite => KeyFlags::Overwrite,
    }
}

/// Finds a command by name, ignoring case.
fn find(name: &[u8]) -> Option<Rc<ScriptedCommand>> {
    let slot = REGISTRY.try_borrow_mut()?;
    let registry = slot.as_ref()?;
    let mut lower = [0; NAME_BYTES];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    registry.commands.get(*registry.by_name.get(&*lower)?).cloned()
}

#[must_use]
pub fn declares(name: &[u8]) -> bool {
    find(name).is_some()
}

/// Calls `report` with the position and access of each key of a call, unless the call lacks keys.
pub fn keys(argv: &[Str<'_>], mut report: impl FnMut(usize, KeyFlags)) {
    let Some(command) = argv.first().and_then(|name| find(name.bytes())) else { return };
    let flags = key_flags(command.declaration.access);
    if let Ok(span) = words::Span::of(command.declaration.keys, argv) {
        (1..argv.len()).filter(|at| span.holds(*at)).for_each(|at| report(at, flags));
    }
}

pub fn run(keyspace: &Keyspace, argv: &[Str<'_>]) -> Result<Reply> {
    let command = argv.first().and_then(|name| find(name.bytes()));
    let command = command.ok_or(Error::Text("ERR not a scripted command"))?;
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
    let call = ScriptedCall { number: command.number, name: name.to_bytes(), keys: &keys, args: &args };
    scripting::command(keyspace, &call, RunMode { read_only: !flags.write(), ..RunMode::default() })
}
