//! Drop-in mode, on a command's way in: whether it is renamed to one of ours.
//!
//! Where the server tells whose command it is (7.2 and later), a command is renamed if its client may run both, and else left to the
//! server: so a client that may only run EVAL loses nothing, and a refusal is the server's own. On 7.0 every such command is renamed.

use super::served::{Names, Served, StandIn};
use super::{admit, with};
use crate::error::{QUOTED_BYTES, printable};
use crate::lua::{self, Digest};
use crate::scripting::{self, busy};
use crate::server::acl::{Caller, User};
use crate::server::command_filter::{self, Filtered};
use crate::server::module_api::{Ctx, OwnedStr, Str};

/// A subcommand that is ours, with the least and the most words of the command. The server answers for all others, and for wrong numbers
/// of words.
type Subcommand = (&'static str, usize, usize);

const SCRIPT: &[Subcommand] = &[("LOAD", 3, 3), ("EXISTS", 3, usize::MAX), ("FLUSH", 2, 3), ("SHOW", 3, 3), ("KILL", 2, 2)];

/// What only reads the function store is the server's: the store is.
const FUNCTION: &[Subcommand] =
    &[("LOAD", 3, 4), ("DELETE", 3, 3), ("FLUSH", 2, 3), ("RESTORE", 3, 4), ("KILL", 2, 2), ("STATS", 2, 2)];

/// Renames a command that is ours. Returns whether it did.
pub fn rename(command: &mut Filtered) -> bool {
    let Some(served) = command.name().and_then(Served::named) else { return false };
    let exists = with(|state| Served::ALL.iter().zip(state.exists).any(|(known, exists)| *known == served && exists));
    if exists != Some(true) || !is_ours(command, served) {
        return false;
    }
    let stand_in = permitted(command, served);
    if let Some(stand_in) = stand_in {
        command.rename(stand_in.name());
    }
    stand_in.is_some()
}

/// Whether the command, as far as its words tell, is one that we serve.
fn is_ours(command: &Filtered, served: Served) -> bool {
    match served {
        Served::Script => is_in(SCRIPT, command) || is_debugging(command),
        // The store of a replica is its primary's, whose commands look like those of clients on servers that do not tell clients.
        Served::Function => is_in(FUNCTION, command) && (command_filter::tells_clients() || !command.ctx().flags().is_replica()),
        _ => command.len() >= 3,
    }
}

fn is_in(subcommands: &[Subcommand], command: &Filtered) -> bool {
    let Some(word) = command.arg(1) else { return false };
    match subcommands.iter().find(|(name, ..)| word.bytes().eq_ignore_ascii_case(name.as_bytes())) {
        // The server ends its own scripts.
        Some(("KILL" | "STATS", ..)) if !busy::lets_others_in() => false,
        // Without it on 7.0, and elsewhere nobody may run what the server does not have.
        Some(("SHOW", ..)) if !command_filter::tells_clients() => false,
        Some((_, least, most)) => (*least..=*most).contains(&command.len()),
        None => false,
    }
}

/// Follows which clients debug scripts. Where the server does not tell whose command it is, debugging is refused: we have no such
/// subcommand.
fn is_debugging(command: &Filtered) -> bool {
    if !command.arg(1).is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"DEBUG")) {
        return false;
    }
    let on = command.arg(2).is_some_and(|mode| !mode.bytes().eq_ignore_ascii_case(b"NO"));
    let Some(client) = command.client() else { return on };
    let mut debuggers = with(|state| std::mem::take(&mut state.debuggers)).unwrap_or_default();
    debuggers.retain(|debugger| *debugger != client && command.ctx().is_connected(*debugger));
    if on {
        debuggers.push(client);
    }
    with(|state| state.debuggers = debuggers);
    false
}

fn is_debugger(client: u64) -> bool {
    with(|state| state.debuggers.contains(&client)).unwrap_or(false)
}

/// The stand-in, if the client may run it as well as the command itself.
fn permitted(command: &Filtered, served: Served) -> Option<&'static StandIn> {
    let stand_in = served.stand_in();
    let serves = || admit::may_serve(command, served);
    let Some(client) = command.client() else { return serves().then_some(stand_in) };
    if matches!(served.names(), Names::Source | Names::Digest) && is_debugger(client) {
        return None;
    }
    let without_writes = || {
        let other = served.stand_in_without_writes()?;
        (command.ctx().writes_are_paused() && writes_nothing(command, served)).then_some(other)
    };
    let chosen = if with(|state| state.known_users.has(client, command_filter::seen())) == Some(true) {
        without_writes().unwrap_or(stand_in)
    } else {
        // A client without a user is the primary, or another module: the server's engine serves those.
        let Caller::User(user) = command.ctx().user_of(client) else { return None };
        let may = |name: Str<'_>| command.with_name(name, |words| user.may(words));
        if !may(served.original()) {
            return None;
        }
        let chosen = without_writes().filter(|other| may(other.name())).or_else(|| may(stand_in.name()).then_some(stand_in))?;
        if user.is_unrestricted() {
            with(|state| state.known_users.learn(client, command_filter::seen()));
        }
        chosen
    };
    if !serves() {
        return None;
    }
    with(|state| state.permitted = Some((client, command_filter::seen())));
    Some(chosen)
}

/// Whether what the command runs declares that it writes nothing.
fn writes_nothing(command: &Filtered, served: Served) -> bool {
    let Some(word) = command.arg(1).map(Str::bytes) else { return false };
    match served.names() {
        Names::Source => lua::writes_nothing(word),
        Names::Digest => scripting::engine().is_ok_and(|scripting| {
            Digest::parse(word).and_then(|digest| scripting.engine.source(digest)).is_some_and(lua::writes_nothing)
        }),
        Names::Function => scripting::engine().is_ok_and(|scripting| {
            let functions = scripting.engine.functions();
            functions.find(word).and_then(|function| functions.flags(function)).is_some_and(|flags| flags.no_writes)
        }),
        Names::Subcommand => false,
    }
}

/// Logs the users who may run a command of the server but not the one that serves it here.
pub fn warn(ctx: Ctx) {
    const MOST: usize = 20;
    let effect = if command_filter::tells_clients() { "the server's own engine serves" } else { "these are refused:" };
    let users = ctx.acl_users();
    let lacking = users.iter().filter_map(|name| {
        let lacking = User::named(name.as_str()).map(|user| lacking(&user)).unwrap_or_default();
        if lacking.is_empty() { None } else { Some((name.as_str().bytes(), lacking)) }
    });
    for (name, commands) in lacking.take(MOST) {
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
    Served::ALL.into_iter().filter(lacks).map(Served::name).collect()
}
