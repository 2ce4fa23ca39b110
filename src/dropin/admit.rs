//! Drop-in mode, before a run: whether this engine would behave as the server does. Otherwise the server's own engine keeps the
//! command.
//!
//! - In a cluster with a table per slot (`server/slots.rs`), this engine finds the keys of a run if the run uses only the slot of its
//!   declared keys, or if it declares none outside of MULTI. The script's flags must say so: a script without flags may use all
//!   slots.
//! - The flags of a script or a function make the server's command a write, which the server refuses when it is queued, or redirects
//!   to the primary. This module's command is no write, so the server keeps a command that it would refuse or redirect.
//!
//! A server that does not report the client of a command (7.0) does not show whether the command is queued.

use super::served::{FirstArgument, Served};
use super::transactions;
use crate::lua::port::ScriptFlags;
use crate::lua::{self, Digest};
use crate::scripting::library_store as functions;
use crate::scripting::script_store as scripts;
use crate::scripting::{admission, engine};
use crate::server::args::parse_i64;
use crate::server::command_filter::Filtered;
use crate::server::module_api::{Ctx, Str};
use crate::server::slots;
use crate::settings;

/// The script or function to run, as far as it is known here.
enum Target {
    /// A script without flags.
    Undeclared,
    /// A script or a function with flags.
    Declared(ScriptFlags),
    /// The server's own engine may know it.
    Unknown,
}

/// Whether this module may serve the command. It may serve every command that runs no script or function.
pub fn may_serve(command: &Filtered, served: Served) -> bool {
    if served.first_argument() == FirstArgument::Subcommand {
        return true;
    }
    let ctx = command.ctx();
    let queued = command.client().map(|client| transactions::is_in(ctx, client));
    if queued == Some(false) && !slots::is_cluster() {
        return true;
    }
    let target = target(command, served);
    if slots::has_table_per_slot() && !stays_in_declared_slot(command, served, &target, queued != Some(false)) {
        return false;
    }
    match target {
        Target::Declared(flags) => is_admitted(ctx, flags, queued),
        Target::Undeclared | Target::Unknown => true,
    }
}

fn stays_in_declared_slot(command: &Filtered, served: Served, target: &Target, queued: bool) -> bool {
    if command.arg(2).is_some_and(|count| parse_i64(count.bytes()) == Some(0)) {
        return !queued;
    }
    let keeps = match target {
        Target::Declared(flags) => !flags.allow_cross_slot_keys,
        Target::Undeclared => settings::INTERCEPT_ONE_SLOT.get() == 1,
        Target::Unknown => false,
    };
    keeps && runs_here(command, served)
}

/// Whether this engine can finish a run that it begins. It cannot hand the run over: the server's engine would not find its keys when
/// this module calls it. A known function runs here.
fn runs_here(command: &Filtered, served: Served) -> bool {
    let Some(word) = command.arg(1).map(Str::bytes) else { return false };
    let (digest, source) = match served.first_argument() {
        FirstArgument::Source => (Some(Digest::of(word)), Some(word)),
        FirstArgument::Digest => (Digest::parse(word), None),
        FirstArgument::Function | FirstArgument::Subcommand => return true,
    };
    digest.is_some_and(|digest| engine().is_ok_and(|mut scripting| scripting.engine.runs_here(digest, source)))
}

/// Whether the server would take the command into a transaction, if it is `queued`, and keep it on this node of a cluster.
fn is_admitted(ctx: Ctx, flags: ScriptFlags, queued: Option<bool>) -> bool {
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

fn target(command: &Filtered, served: Served) -> Target {
    let Some(word) = command.arg(1).map(Str::bytes) else { return Target::Unknown };
    match served.first_argument() {
        FirstArgument::Source => of_source(word),
        FirstArgument::Digest => of_stored(command.ctx(), |ctx| of_digest(ctx, word)),
        FirstArgument::Function => of_stored(command.ctx(), |ctx| of_function(ctx, word)),
        FirstArgument::Subcommand => Target::Unknown,
    }
}

fn of_source(source: &[u8]) -> Target {
    if lua::is_refused(source) {
        return Target::Unknown;
    }
    match lua::flags(source) {
        Ok(None) => Target::Undeclared,
        Ok(Some(flags)) => Target::Declared(flags),
        Err(_) => Target::Unknown,
    }
}

/// The function store cannot be read during a data load, or while a running script yields to this command.
fn of_stored(ctx: Ctx, find: impl FnOnce(Ctx) -> Option<Target>) -> Target {
    let server = ctx.flags();
    let known = if server.is_loading() || server.is_in_script() { None } else { find(ctx) };
    known.unwrap_or(Target::Unknown)
}

fn of_digest(ctx: Ctx, sha: &[u8]) -> Option<Target> {
    let mut scripting = engine().ok()?;
    let digest = scripts::find(ctx, &mut scripting.engine, sha)?;
    scripting.engine.source(digest).map(of_source)
}

fn of_function(ctx: Ctx, name: &[u8]) -> Option<Target> {
    let mut scripting = engine().ok()?;
    functions::follow(ctx, &mut scripting);
    let functions = scripting.engine.functions();
    functions.flags(functions.find(name)?).map(Target::Declared)
}
