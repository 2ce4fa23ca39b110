//! Drop-in mode, before a command runs: whether it is renamed to one of this module's commands.
//!
//! Where the server reports the client of a command (7.2 and later), a command is renamed if its client has permission for both
//! commands; otherwise the server keeps it. So a client with permission for EVAL alone loses nothing, and errors are the server's
//! own. On 7.0, every such command is renamed.

use super::served::{FirstArgument, Served, StandIn};
use super::{admit, known_users, with_state};
use crate::error::{QUOTED_BYTES, printable};
use crate::lua::{self, Digest};
use crate::scripting::{self, busy};
use crate::server::acl::{Caller, User};
use crate::server::command_filter::{self, Filtered};
use crate::server::module_api::{Ctx, OwnedStr, Str};

/// A subcommand that this module serves, with the minimum and maximum number of words. The server keeps all others, and all wrong
/// numbers of words.
type Subcommand = (&'static str, usize, usize);

const SCRIPT: &[Subcommand] = &[("LOAD", 3, 3), ("EXISTS", 3, usize::MAX), ("FLUSH", 2, 3), ("SHOW", 3, 3), ("KILL", 2, 2)];

/// The server keeps the subcommands that only read the function store, because the store is its own.
const FUNCTION: &[Subcommand] =
    &[("LOAD", 3, 4), ("DELETE", 3, 3), ("FLUSH", 2, 3), ("RESTORE", 3, 4), ("KILL", 2, 2), ("STATS", 2, 2)];

/// Renames a command that this module serves. Returns whether it did.
pub fn rename(command: &mut Filtered) -> bool {
    let Some(served) = command.name().and_then(Served::named) else { return false };
    let exists = with_state(|state| !state.missing.contains(&served)).unwrap_or(false);
    if !exists || !is_ours(command, served) {
        return false;
    }
    let stand_in = choose_stand_in(command, served);
    if let Some(stand_in) = stand_in {
        command.rename(stand_in.name());
    }
    stand_in.is_some()
}

/// Whether this module serves the command, judging by its words.
fn is_ours(command: &Filtered, served: Served) -> bool {
    match served {
        Served::Script => is_served_subcommand(SCRIPT, command) || is_debugging(command),
        // A replica's store belongs to its primary. On a server that reports no clients, commands of the primary look like those of
        // clients.
        Served::Function => {
            is_served_subcommand(FUNCTION, command) && (command_filter::tells_clients() || !command.ctx().flags().is_replica())
        }
        _ => command.len() >= 3,
    }
}

fn is_served_subcommand(subcommands: &[Subcommand], command: &Filtered) -> bool {
    let Some(word) = command.arg(1) else { return false };
    match subcommands.iter().find(|(name, ..)| word.bytes().eq_ignore_ascii_case(name.as_bytes())) {
        // No run of this engine is yielding, so the server answers for its own scripts.
        Some(("KILL" | "STATS", ..)) if !busy::is_yielding() => false,
        // Redis 7.0 does not have it. Other servers without it have no permission for it either, so they keep it.
        Some(("SHOW", ..)) if !command_filter::tells_clients() => false,
        Some((_, least, most)) => (*least..=*most).contains(&command.len()),
        None => false,
    }
}

/// Tracks which clients debug scripts. On a server that reports no clients, debugging is refused: this module has no such subcommand.
fn is_debugging(command: &Filtered) -> bool {
    if !command.arg(1).is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"DEBUG")) {
        return false;
    }
    let on = command.arg(2).is_some_and(|mode| !mode.bytes().eq_ignore_ascii_case(b"NO"));
    let Some(client) = command.client() else { return on };
    let mut debuggers = with_state(|state| std::mem::take(&mut state.debuggers)).unwrap_or_default();
    debuggers.retain(|debugger| *debugger != client && command.ctx().is_connected(*debugger));
    if on {
        debuggers.push(client);
    }
    with_state(|state| state.debuggers = debuggers);
    false
}

fn is_debugger(client: u64) -> bool {
    with_state(|state| state.debuggers.contains(&client)).unwrap_or(false)
}

/// The stand-in, if the client has permission for it and for the command itself.
fn choose_stand_in(command: &Filtered, served: Served) -> Option<&'static StandIn> {
    let stand_in = served.stand_in();
    let serves = || admit::may_serve(command, served);
    let Some(client) = command.client() else { return serves().then_some(stand_in) };
    if matches!(served.first_argument(), FirstArgument::Source | FirstArgument::Digest) && is_debugger(client) {
        return None;
    }
    let without_writes = || {
        let other = served.read_only_stand_in()?;
        (command.ctx().writes_are_paused() && writes_nothing(command, served)).then_some(other)
    };
    let read_only = without_writes();
    let chosen = if read_only.is_none() && known_users::has(client, served) {
        stand_in
    } else {
        // A client without a user is the primary, or another module: the server's engine serves those.
        let Caller::User(user) = command.ctx().user_of(client) else { return None };
        let may = |name: Str<'_>| command.with_name(name, |words| user.may(words));
        if !may(served.original()) {
            return None;
        }
        let read_only = read_only.filter(|other| may(other.name()));
        if read_only.is_none() {
            if !may(stand_in.name()) {
                return None;
            }
            known_users::learn(client, &user, served);
        }
        read_only.unwrap_or(stand_in)
    };
    if !serves() {
        return None;
    }
    with_state(|state| state.permitted = Some((client, command_filter::seen())));
    Some(chosen)
}

/// Whether the script or function declares that it writes nothing.
fn writes_nothing(command: &Filtered, served: Served) -> bool {
    let Some(word) = command.arg(1).map(Str::bytes) else { return false };
    match served.first_argument() {
        FirstArgument::Source => lua::writes_nothing(word),
        FirstArgument::Digest => scripting::engine().is_ok_and(|scripting| {
            Digest::parse(word).and_then(|digest| scripting.engine.source(digest)).is_some_and(lua::writes_nothing)
        }),
        FirstArgument::Function => scripting::engine().is_ok_and(|scripting| {
            let functions = scripting.engine.functions();
            functions.find(word).and_then(|function| functions.flags(function)).is_some_and(|flags| flags.no_writes)
        }),
        FirstArgument::Subcommand => false,
    }
}

/// Logs the users that have permission for one of the server's commands but not for its stand-in.
pub fn warn_about_acl(ctx: Ctx) {
    const MAX_LOGGED: usize = 20;
    let effect = if command_filter::tells_clients() { "the server's own engine serves" } else { "these are refused:" };
    let users = ctx.acl_users();
    let lacking = users.iter().filter_map(|name| {
        let lacking = User::named(name.as_str()).map(|user| lacking(&user)).unwrap_or_default();
        if lacking.is_empty() { None } else { Some((name.as_str().bytes(), lacking)) }
    });
    for (name, commands) in lacking.take(MAX_LOGGED) {
        let name = printable(name, QUOTED_BYTES);
        let missing = commands.iter().map(|command| format!("+atomic.{}", command.to_ascii_lowercase())).collect::<Vec<_>>();
        let (missing, commands) = (missing.join(" "), commands.join(", "));
        ctx.log(c"warning", &format!("atomic.intercept: user {name} lacks {missing}; {effect} {commands}"));
    }
}

fn lacking(user: &User) -> Vec<&'static str> {
    let (load, zero) = (OwnedStr::new(b"LOAD"), OwnedStr::new(b"0"));
    let may = |name: Str<'_>| user.may(&[name, load.as_str(), zero.as_str()]);
    let lacks = |served: &Served| may(served.original()) && !may(served.stand_in().name());
    Served::all().filter(lacks).map(Served::name).collect()
}
