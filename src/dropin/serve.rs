//! Drop-in mode, in the command: the right to what the client sent, and what only the server knows.

use super::served::{Names, Served, StandIn};
use super::with;
use crate::error::{Error, Result};
use crate::lua;
use crate::scripting::library_store::watch;
use crate::server::acl::{Caller, Denied, User};
use crate::server::command_filter;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::reply::Reply;

/// Lets a command know, until this is dropped, that it stands in for one of the server's.
struct StandingIn;

impl StandingIn {
    fn begin() -> Self {
        with(|state| state.standing_in = true);
        Self
    }
}

impl Drop for StandingIn {
    fn drop(&mut self) {
        with(|state| state.standing_in = false);
    }
}

/// Runs a command of ours; if it stands in for one of the server's, only with the right to that one.
pub fn serve(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let Some(stand_in) = argv.first().and_then(|name| StandIn::spelled(name.bytes())) else { return run() };
    permit(ctx, stand_in, argv)?;
    let mut run = || {
        let _standing_in = StandingIn::begin();
        run()
    };
    let served = stand_in.command;
    match served {
        Served::Eval | Served::EvalRo if is_too_much(argv) => ctx.relay(served.c_name(), argv.get(1..).unwrap_or_default()),
        Served::Eval | Served::EvalRo | Served::EvalSha | Served::EvalShaRo => or_native(ctx, served, argv, run()),
        Served::Script => script_command(ctx, argv, &mut run),
        Served::Function => function_command(ctx, argv, &mut run),
        Served::FCall | Served::FCallRo => run(),
    }
}

/// Whether the script is one that we do not even compile.
fn is_too_much(argv: &[Str<'_>]) -> bool {
    argv.get(1).is_some_and(|source| lua::is_refused(source.bytes()))
}

/// The outcome of ours; or the server's, of a script that only the server knows, or can run.
fn or_native(ctx: Ctx, served: Served, argv: &[Str<'_>], outcome: Result<Reply>) -> Result<Reply> {
    match outcome {
        Err(Error::NoScript | Error::LeftToServer) => ctx.relay(served.c_name(), argv.get(1..).unwrap_or_default()),
        outcome => outcome,
    }
}

/// SCRIPT keeps both caches in step: what is loaded, both load, so that whoever is left to the server's engine finds it there, and
/// everybody does once drop-in mode is switched off.
fn script_command(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let args = argv.get(1..).unwrap_or_default();
    let is = |name: &str| args.first().is_some_and(|word| word.bytes().eq_ignore_ascii_case(name.as_bytes()));
    if is("LOAD") {
        // What is Lua for one may not be for the other, or not the same.
        let outcome = if is_servers(args) { Err(Error::LeftToServer) } else { run() };
        let Ok(reply) = outcome else {
            if let (Some(source), Ok(mut scripting)) = (args.get(1), crate::scripting::engine()) {
                scripting.engine.leave_to_server(source.bytes());
            }
            return ctx.relay(c"SCRIPT", args);
        };
        let _ = ctx.native(c"SCRIPT", args);
        return Ok(reply);
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
    or_native(ctx, Served::Script, argv, run())
}

/// FUNCTION LOAD of a library that does not run here: the server's engine may, and else has the last word.
fn function_command(ctx: Ctx, argv: &[Str<'_>], run: &mut dyn FnMut() -> Result<Reply>) -> Result<Reply> {
    let args = argv.get(1..).unwrap_or_default();
    let is_load = args.first().is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"LOAD"));
    let outcome = if is_load && is_servers(args) { Err(Error::LeftToServer) } else { run() };
    if outcome.is_err() && is_load {
        watch::note_change();
        return ctx.relay(c"FUNCTION", args);
    }
    outcome
}

/// Whether the last of the words is a source that means something else here.
fn is_servers(args: &[Str<'_>]) -> bool {
    args.last().is_some_and(|source| lua::differs(source.bytes()))
}

/// Refuses, in the server's words, a caller without the right to the command that it sent.
fn permit(ctx: Ctx, stand_in: &'static StandIn, argv: &[Str<'_>]) -> Result<()> {
    let client = ctx.client_id();
    if client != 0 && with(|state| state.permitted.take()).flatten() == Some(client) {
        return Ok(());
    }
    // Where the filter checks rights and left no note, the right is to be checked now.
    let may_remember = !command_filter::tells_clients();
    if may_remember && with(|state| state.known_users.has(client)) == Some(true) {
        return Ok(());
    }
    let served = stand_in.command;
    let words: Vec<Str<'_>> = std::iter::once(served.original()).chain(argv.iter().skip(1).copied()).collect();
    match ctx.user_of(client) {
        Caller::Nobody => Ok(()),
        Caller::Stranger => Err(refusal(ctx, Denied::Command, &full_name(served, argv))),
        Caller::User(user) if user.may(&words) => {
            if may_remember && user.is_unrestricted() {
                with(|state| state.known_users.learn(client));
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

/// The first key that the user may not declare; `None` when the command itself is refused.
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
    match argv.get(1).filter(|_| served.names() == Names::Subcommand) {
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
        // The filter has seen to the right when the command was queued.
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
