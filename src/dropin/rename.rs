//! Drop-in mode, on a command's way in: which commands of the server are ours to serve, and under which name.
//!
//! The filter only renames. The name is that of our command in a spelling of its own, so that the command knows, in a transaction too,
//! what its client sent ([`stand_in`](super::serve)); a client that types that very spelling is only asked for one right more.
//!
//! Where the server tells whose command it is (7.2 and later), a command is renamed if its caller may run both, and else left to the
//! server: so nobody who may only run EVAL loses anything, and a refusal is the server's own. On 7.0 every such command is renamed.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{admit, known_users, serve};
use crate::error::{QUOTED_BYTES, printable};
use crate::lua::{self, Digest};
use crate::scripting;
use crate::scripting::busy;
use crate::server::acl::{Caller, User};
use crate::server::command_filter::{self, Filtered};
use crate::server::kept::Kept;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::thread::ServerThread;

/// A command of the server, and ours that stands in for it.
pub struct StandIn {
    /// The server's name.
    pub original: Kept,
    /// Our name, as only the filter spells it.
    pub name: Kept,
    /// Whether the server has the command: `rename-command` may have taken it away.
    there: AtomicBool,
}

const fn row(original: &'static str, name: &'static str) -> StandIn {
    StandIn { original: Kept::new(original), name: Kept::new(name), there: AtomicBool::new(true) }
}

/// Looks at which commands the server has, at the end of the load.
pub fn look(ctx: Ctx) {
    ALL.iter().for_each(|row| row.there.store(ctx.has_command(row.original.word().as_bytes()), Ordering::Relaxed));
}

static ALL: [StandIn; 8] = [
    row("EVAL", "ATOMIC.Eval"),
    row("EVALSHA", "ATOMIC.EvalSha"),
    row("EVAL_RO", "ATOMIC.Eval_Ro"),
    row("EVALSHA_RO", "ATOMIC.EvalSha_Ro"),
    row("SCRIPT", "ATOMIC.Script"),
    row("FCALL", "ATOMIC.FCall"),
    row("FCALL_RO", "ATOMIC.FCall_Ro"),
    row("FUNCTION", "ATOMIC.Function"),
];

/// For scripts and functions that declare that they write nothing, while writes are paused: the server runs those meanwhile.
static WITHOUT_WRITES: [StandIn; 3] =
    [row("EVAL", "ATOMIC.EVAL_Ro"), row("EVALSHA", "ATOMIC.EVALSHA_Ro"), row("FCALL", "ATOMIC.FCALL_Ro")];

/// A subcommand that is ours, with the least and the most words of the command. The server answers for all others, and for wrong numbers
/// of words.
type Subcommand = (&'static str, usize, usize);

const SCRIPT: &[Subcommand] = &[("LOAD", 3, 3), ("EXISTS", 3, usize::MAX), ("FLUSH", 2, 3), ("SHOW", 3, 3), ("KILL", 2, 2)];

/// What only reads the function store is the server's: the store is.
const FUNCTION: &[Subcommand] =
    &[("LOAD", 3, 4), ("DELETE", 3, 3), ("FLUSH", 2, 3), ("RESTORE", 3, 4), ("KILL", 2, 2), ("STATS", 2, 2)];

/// Connections that debug scripts (`SCRIPT DEBUG`), which only the server can. It closes each after one script.
static DEBUGGERS: ServerThread<Vec<u64>> = ServerThread::new(Vec::new());

/// The stand-in of this name in the filter's spelling.
pub fn named(name: &[u8]) -> Option<&'static StandIn> {
    ALL.iter().chain(&WITHOUT_WRITES).find(|row| row.name.word().as_bytes() == name)
}

/// Renames a command that is ours; tells whether it did.
pub fn rename(command: &mut Filtered) -> bool {
    let row = command.arg(0).and_then(|name| {
        let row = ALL.iter().find(|row| row.original.word().as_bytes().eq_ignore_ascii_case(name.bytes()))?;
        if row.there.load(Ordering::Relaxed) && is_ours(command, row) { permitted(command, row) } else { None }
    });
    if let Some(row) = row {
        command.rename(row.name.as_str());
    }
    row.is_some()
}

/// Whether the command, as far as its words tell, is one that we serve.
fn is_ours(command: &Filtered, row: &StandIn) -> bool {
    match row.original.word() {
        "SCRIPT" => is_in(SCRIPT, command) || is_debugging(command),
        // The store of a replica is its master's, whose commands cannot be told from others there.
        "FUNCTION" => is_in(FUNCTION, command) && (command_filter::tells_clients() || !command.ctx().flags().is_replica()),
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

/// Follows who debugs scripts. Where the server does not tell whose command it is, debugging is refused, by our lack of a subcommand.
fn is_debugging(command: &Filtered) -> bool {
    if !command.arg(1).is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"DEBUG")) {
        return false;
    }
    let on = command.arg(2).is_some_and(|mode| !mode.bytes().eq_ignore_ascii_case(b"NO"));
    let (Some(client), Some(mut debuggers)) = (command.client(), DEBUGGERS.try_borrow_mut()) else { return on };
    debuggers.retain(|debugger| *debugger != client && command.ctx().is_connected(*debugger));
    if on {
        debuggers.push(client);
    }
    false
}

fn is_debugger(client: u64) -> bool {
    DEBUGGERS.try_borrow_mut().is_some_and(|debuggers| debuggers.contains(&client))
}

/// The stand-in, if its caller may run it as well as the command itself.
fn permitted(command: &Filtered, row: &'static StandIn) -> Option<&'static StandIn> {
    let serves = || admit::may_serve(command, row.original.word());
    let Some(client) = command.client() else { return serves().then_some(row) };
    if row.original.word().starts_with("EVAL") && is_debugger(client) {
        return None;
    }
    let without_writes = || {
        let other = WITHOUT_WRITES.iter().find(|other| other.original.word() == row.original.word())?;
        (command.ctx().writes_are_paused() && writes_nothing(command, other)).then_some(other)
    };
    let chosen = if known_users::is_known(client) {
        without_writes().unwrap_or(row)
    } else {
        // Who has no user is the master, or another module: theirs is the server's engine.
        let Caller::User(user) = command.ctx().user_of(client) else { return None };
        let may = |row: &'static StandIn| may_as(command, &user, row.name.as_str());
        if !may_as(command, &user, row.original.as_str()) {
            return None;
        }
        let chosen = without_writes().filter(|other| may(other)).or_else(|| may(row).then_some(row))?;
        known_users::learn(client, &user);
        chosen
    };
    if !serves() {
        return None;
    }
    serve::permit_next(client);
    Some(chosen)
}

fn may_as(command: &Filtered, user: &User, name: Str<'_>) -> bool {
    command.with_name(name, |words| user.may(words))
}

fn writes_nothing(command: &Filtered, row: &StandIn) -> bool {
    let Some(word) = command.arg(1).map(Str::bytes) else { return false };
    match row.original.word() {
        "EVAL" => lua::writes_nothing(word),
        "FCALL" => scripting::engine().is_ok_and(|scripting| {
            let functions = scripting.engine.functions();
            functions.find(word).and_then(|function| functions.flags(function)).is_some_and(|flags| flags.no_writes)
        }),
        _ => scripting::engine().is_ok_and(|scripting| {
            Digest::parse(word).and_then(|digest| scripting.engine.source(digest)).is_some_and(lua::writes_nothing)
        }),
    }
}

/// Tells the log which users may run a command of the server, but not ours.
pub fn warn(ctx: Ctx) {
    const MOST: usize = 20;
    let what = if command_filter::tells_clients() { "stay with the server's own engine" } else { "are refused" };
    let users = ctx.acl_users();
    let lacking = users.iter().filter_map(|name| {
        let lacking = User::named(name.as_str()).map(|user| lacking(&user)).unwrap_or_default();
        if lacking.is_empty() { None } else { Some((name.as_str().bytes(), lacking.join(", "))) }
    });
    for (name, commands) in lacking.take(MOST) {
        let name = printable(name, QUOTED_BYTES);
        ctx.log(c"warning", &format!("atomic.intercept: user {name} has no right to our {commands}, so that these {what}"));
    }
}

fn lacking(user: &User) -> Vec<&'static str> {
    let (load, zero) = (OwnedStr::new(b"LOAD"), OwnedStr::new(b"0"));
    let may = |name: &'static Kept| user.may(&[name.as_str(), load.as_str(), zero.as_str()]);
    ALL.iter().filter(|row| may(&row.original) && !may(&row.name)).map(|row| row.original.word()).collect()
}
