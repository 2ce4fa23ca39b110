//! Drop-in mode, on a run's way in: whether we would do what the server does. What we would not stays with the server's own engine.
//!
//! - In a cluster with a table per slot (`server/slots.rs`) we find the keys of a run if it keeps to the slot of its declared keys, or if
//!   it declares none outside of MULTI. Its flags have to say so: a script without any may use all slots.
//! - The flags of a script or a function make the server's command a write, which it refuses when the command is queued, or sends to the
//!   primary. Ours is no write. So what the server would refuse or send elsewhere is left to it.
//!
//! Where the server does not tell whose command it is (7.0) it is not known whether the command is queued.

use super::served::{Names, Served};
use super::transactions;
use crate::lua::port::Flags;
use crate::lua::{self, Digest};
use crate::scripting::library_store as functions;
use crate::scripting::script_store as scripts;
use crate::scripting::{admission, engine};
use crate::server::args::parse_i64;
use crate::server::command_filter::Filtered;
use crate::server::module_api::{Ctx, Str};
use crate::server::slots;
use crate::settings;

/// What is to run, as far as that is known here.
enum Subject {
    /// A script without flags.
    Undeclared,
    /// A script or a function with flags.
    Declared(Flags),
    /// The server's own engine may know it.
    Unknown,
}

/// Whether a command that runs a script or a function may be ours; so may all others.
pub fn may_serve(command: &Filtered, served: Served) -> bool {
    if served.names() == Names::Subcommand {
        return true;
    }
    let ctx = command.ctx();
    let queued = command.client().map(|client| transactions::is_in(ctx, client));
    if queued == Some(false) && !slots::is_cluster() {
        return true;
    }
    let subject = subject(command, served);
    if slots::has_table_per_slot() && !keeps_to_its_slot(command, served, &subject, queued != Some(false)) {
        return false;
    }
    match subject {
        Subject::Declared(flags) => is_admitted(ctx, flags, queued),
        Subject::Undeclared | Subject::Unknown => true,
    }
}

fn keeps_to_its_slot(command: &Filtered, served: Served, subject: &Subject, queued: bool) -> bool {
    if command.arg(2).is_some_and(|count| parse_i64(count.bytes()) == Some(0)) {
        return !queued;
    }
    let keeps = match subject {
        Subject::Declared(flags) => !flags.allow_cross_slot_keys,
        Subject::Undeclared => settings::INTERCEPT_ONE_SLOT.get() == 1,
        Subject::Unknown => false,
    };
    keeps && runs_here(command, served)
}

/// Whether a run that we begin is one that we end: the server's engine, called by us, would not find its keys. A function that is known
/// runs here.
fn runs_here(command: &Filtered, served: Served) -> bool {
    let Some(word) = command.arg(1).map(Str::bytes) else { return false };
    let (digest, source) = match served.names() {
        Names::Source => (Some(Digest::of(word)), Some(word)),
        Names::Digest => (Digest::parse(word), None),
        Names::Function | Names::Subcommand => return true,
    };
    digest.is_some_and(|digest| engine().is_ok_and(|mut scripting| scripting.engine.runs_here(digest, source)))
}

/// Whether the server would take the command into a transaction, if it is `queued`, and keep it on this node of a cluster.
fn is_admitted(ctx: Ctx, flags: Flags, queued: Option<bool>) -> bool {
    let server = ctx.flags();
    let writes = !flags.no_writes;
    if writes && server.is_cluster() && server.is_replica() {
        return false;
    }
    match queued {
        Some(false) => true,
        Some(true) => admission::admit(ctx, server, flags, false).is_ok() && !(writes && ctx.refuses_writes()),
        None => !(writes && server.is_read_only_replica()),
    }
}

fn subject(command: &Filtered, served: Served) -> Subject {
    let Some(word) = command.arg(1).map(Str::bytes) else { return Subject::Unknown };
    match served.names() {
        Names::Source => of_source(word),
        Names::Digest => of_stored(command.ctx(), |ctx| of_digest(ctx, word)),
        Names::Function => of_stored(command.ctx(), |ctx| of_function(ctx, word)),
        Names::Subcommand => Subject::Unknown,
    }
}

fn of_source(source: &[u8]) -> Subject {
    if lua::is_refused(source) {
        return Subject::Unknown;
    }
    match lua::flags(source) {
        Ok(None) => Subject::Undeclared,
        Ok(Some(flags)) => Subject::Declared(flags),
        Err(_) => Subject::Unknown,
    }
}

/// The function store is not to be asked while data is loaded, or while a script lets this command in.
fn of_stored(ctx: Ctx, look: impl FnOnce(Ctx) -> Option<Subject>) -> Subject {
    let server = ctx.flags();
    let known = if server.is_loading() || server.is_in_script() { None } else { look(ctx) };
    known.unwrap_or(Subject::Unknown)
}

fn of_digest(ctx: Ctx, sha: &[u8]) -> Option<Subject> {
    let mut scripting = engine().ok()?;
    let digest = scripts::find(ctx, &mut scripting.engine, sha)?;
    scripting.engine.source(digest).map(of_source)
}

fn of_function(ctx: Ctx, name: &[u8]) -> Option<Subject> {
    let mut scripting = engine().ok()?;
    functions::follow(ctx, &mut scripting);
    let functions = scripting.engine.functions();
    functions.flags(functions.find(name)?).map(Subject::Declared)
}
