//! Drop-in mode, in the handler: checks the client's permission for the command that it sent, and relays what only the server can
//! run.

use super::served::{FirstArgument, Served, StandIn};
use super::{known_users, with_state};
use crate::error::{Error, Result};
use crate::lua;
use crate::scripting::library_store::watch;
use crate::scripting::{self, script_store};
use crate::server::acl::{Caller, Denied, User};
use crate::server::command_filter;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::Reply;

/// While it lives, the running command stands in for one of the server's.
struct StandingIn;

impl StandingIn {
    fn begin() -> Self {
        with_state(|state| state.standing_in = true);
        Self
    }
}

impl Drop for StandingIn {
    fn drop(&mut self) {
        with_state(|state| state.standing_in = false);
    }
}

/// Runs a command of this module. If it stands in for one of the server's, the client needs permission for that one.
pub fn serve(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let Some(stand_in) = argv.first().and_then(|name| StandIn::by_spelling(name.bytes())) else { return run() };
    check_permission(ctx, stand_in, argv)?;
    let mut run = || {
        let _standing_in = StandingIn::begin();
        run()
    };
    let served = stand_in.command;
    match served {
        Served::Eval | Served::EvalRo if is_refused_source(argv) => ctx.relay(served.c_name(), argv.get(1..).unwrap_or_default()),
        Served::Eval | Served::EvalRo | Served::EvalSha | Served::EvalShaRo => or_relay(ctx, served, argv, run()),
        Served::Script => script_command(ctx, argv, &mut run),
        Served::Function => function_command(ctx, argv, &mut run),
        Served::FCall | Served::FCallRo => run(),
    }
}

/// Whether this engine does not even compile the script.
fn is_refused_source(argv: &[Str<'_>]) -> bool {
    argv.get(1).is_some_and(|source| lua::is_refused(source.bytes()))
}

/// The outcome of this engine; or the server's, if only the server has the script or can run it.
fn or_relay(ctx: Ctx, served: Served, argv: &[Str<'_>], outcome: Result<Reply>) -> Result<Reply> {
    match outcome {
        Err(Error::NoScript | Error::LeftToServer) => ctx.relay(served.c_name(), argv.get(1..).unwrap_or_default()),
        outcome => outcome,
    }
}

/// Keeps both script caches in step. SCRIPT LOAD loads into both, so that a client of the server's engine finds the script there, and
/// so do all clients once drop-in mode is off.
fn script_command(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let args = argv.get(1..).unwrap_or_default();
    let is = |name: &str| args.first().is_some_and(|word| word.bytes().eq_ignore_ascii_case(name.as_bytes()));
    if is("LOAD") {
        return script_load(ctx, args, run);
    }
    if is("FLUSH") {
        ctx.native(c"SCRIPT", args)?;
        return run();
    }
    if is("EXISTS") {
        let (ours, theirs) = (run()?, ctx.native_flags(c"SCRIPT", args));
        let Reply::Array(mut known) = ours else { return Ok(ours) };
        for (ours, theirs) in known.iter_mut().zip(theirs) {
            if theirs {
                *ours = Reply::Integer(1);
            }
        }
        return Ok(Reply::Array(known));
    }
    or_relay(ctx, Served::Script, argv, run())
}

/// Both engines get the script. The server's compiles it now, which also finds errors; this one compiles it when it is used, and leaves it to
/// the server if it has another meaning here. A source may be valid in only one of them.
fn script_load(ctx: Ctx, args: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let [_, source] = args else { return ctx.relay(c"SCRIPT", args) };
    let is_valid = ctx.native(c"SCRIPT", args).is_ok();
    let taken = || script_store::take(ctx, &mut *scripting::engine().ok()?, source.bytes());
    if is_valid && let Some(digest) = taken() {
        return Ok(Reply::Bulk(digest.hex().to_vec()));
    }
    run().or_else(|_| {
        if let Ok(mut scripting) = scripting::engine() {
            scripting.engine.leave_to_server(source.bytes());
        }
        ctx.relay(c"SCRIPT", args)
    })
}

/// The server's engine gets a library that FUNCTION LOAD cannot load here. Its reply goes to the client, even if it is an error.
fn function_command(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let args = argv.get(1..).unwrap_or_default();
    let is_load = args.first().is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"LOAD"));
    let outcome = if is_load && is_for_server_engine(args) { Err(Error::LeftToServer) } else { run() };
    if outcome.is_err() && is_load {
        watch::note_change();
        return ctx.relay(c"FUNCTION", args);
    }
    outcome
}

/// Whether the last word is a source that has another meaning in this engine.
fn is_for_server_engine(args: &[Str<'_>]) -> bool {
    args.last().is_some_and(|source| lua::differs(source.bytes()))
}

/// Refuses, with the server's own error, a client without permission for the command that it sent.
fn check_permission(ctx: Ctx, stand_in: &'static StandIn, argv: &[Str<'_>]) -> Result<()> {
    let client = ctx.client_id();
    if client != 0 && with_state(|state| state.permitted.take()).flatten() == Some((client, command_filter::seen())) {
        return Ok(());
    }
    // Where the filter checks permissions but has not checked this one, the cache does not count.
    let may_remember = !command_filter::tells_clients();
    let served = stand_in.command;
    if may_remember && known_users::has(client, served) {
        return Ok(());
    }
    let words: Vec<Str<'_>> = std::iter::once(served.original()).chain(argv.iter().skip(1).copied()).collect();
    match ctx.caller() {
        Caller::Nobody => Ok(()),
        Caller::Stranger => Err(refusal(ctx, Denied::Command, &full_name(served, argv))),
        Caller::User(user) if user.may(&words) => {
            // The server uses the client of a call again, for another user.
            if may_remember && ctx.has_connection() {
                known_users::learn(client, &user, served);
            }
            Ok(())
        }
        Caller::User(user) => {
            let name = full_name(served, argv);
            let (what, object) = match denied_key(&user, &words) {
                None => (Denied::Command, OwnedStr::new(name.as_bytes())),
                Some(key) => (Denied::Key, OwnedStr::new(key.bytes())),
            };
            ctx.log_denial(&user, what, object.as_str());
            Err(refusal(ctx, what, &name))
        }
    }
}

/// The first key that the user has no permission for; `None` if the command itself is denied.
fn denied_key<'a>(user: &User, words: &[Str<'a>]) -> Option<Str<'a>> {
    let (name, script) = (*words.first()?, *words.get(1)?);
    let (none, one) = (OwnedStr::new(b"0"), OwnedStr::new(b"1"));
    if !user.may(&[name, script, none.as_str()]) {
        return None;
    }
    words.iter().skip(3).copied().find(|key| !user.may(&[name, script, one.as_str(), *key])).or(words.get(3).copied())
}

/// The server's full name of the command: `eval`, `script|load`.
fn full_name(served: Served, argv: &[Str<'_>]) -> String {
    let name = served.name().to_ascii_lowercase();
    match argv.get(1).filter(|_| served.first_argument() == FirstArgument::Subcommand) {
        Some(word) => format!("{name}|{}", String::from_utf8_lossy(word.bytes()).to_ascii_lowercase()),
        None => name,
    }
}

fn refusal(ctx: Ctx, what: Denied, name: &str) -> Error {
    let user = ctx.user_name_of(ctx.client_id());
    let user = user.map(|user| String::from_utf8_lossy(user.as_str().bytes()).into_owned()).unwrap_or_default();
    let text = match (command_filter::tells_clients(), what) {
        (false, Denied::Command) => format!("this user has no permissions to run the '{name}' command"),
        (false, Denied::Key) => "this user has no permissions to access one of the keys used as arguments".to_owned(),
        // The filter checked the permission when the command was queued.
        (true, _) if ctx.flags().is_in_exec() => format!(
            "ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed \
             for the following reason: {}",
            match what {
                Denied::Command => "no permission to execute the command or subcommand",
                Denied::Key => "no permission to touch the specified keys",
            }
        ),
        (true, Denied::Command) => format!("User {user} has no permissions to run the '{name}' command"),
        (true, Denied::Key) => "No permissions to access a key".to_owned(),
    };
    Error::Script(format!("NOPERM {text}").into_bytes())
}
