//! Drop-in mode: this module serves the server's own `EVAL`, `EVALSHA`, `FCALL`, their `_RO` forms, `SCRIPT` and `FUNCTION`.
//!
//! [`rename`] gives an incoming command the name of this module's command, unless [`admit`] finds that this engine would behave
//! differently. Before the handler runs, [`serve`] checks the client's permission for the command that it sent.
//! `docs/adr/005-drop-in.md` has the reasons.

mod admit;
mod known_users;
mod rename;
mod serve;
mod served;
mod transactions;

pub use self::serve::serve;
pub use self::served::{ScriptCommand, script_command};

use self::known_users::KnownUsers;
use self::served::Served;
use self::transactions::Transactions;
use crate::error::Result;
use crate::server::command_filter::{self, Filtered, Look, Role};
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;
use crate::settings;

/// The state of drop-in mode.
struct DropIn {
    on: bool,
    /// The commands that the server lacks: it is too old, or `rename-command` removed them.
    missing: Vec<Served>,
    /// The client whose permission the filter has checked, and the number of the command.
    permitted: Option<(u64, u64)>,
    /// Whether the running command stands in for one of the server's.
    standing_in: bool,
    /// Connections that debug scripts (`SCRIPT DEBUG`), which only the server supports. It closes each after one script.
    debuggers: Vec<u64>,
    transactions: Transactions,
    known_users: KnownUsers,
}

static STATE: ServerThread<DropIn> = ServerThread::new(DropIn {
    on: false,
    missing: Vec::new(),
    permitted: None,
    standing_in: false,
    debuggers: Vec::new(),
    transactions: Transactions::new(),
    known_users: KnownUsers::new(),
});

/// Borrows the state. `look` must not call the server. `None` if a function further up the stack has borrowed it.
fn with_state<R>(look: impl FnOnce(&mut DropIn) -> R) -> Option<R> {
    STATE.try_borrow_mut().map(|mut state| look(&mut state))
}

/// Whether drop-in mode is on.
#[must_use]
pub fn is_on() -> bool {
    with_state(|state| state.on).unwrap_or(false)
}

/// Whether the running command stands in for one of the server's.
#[must_use]
pub fn is_standing_in() -> bool {
    with_state(|state| state.standing_in).unwrap_or(false)
}

/// Starts to follow the setting, at the end of the load.
pub fn start(ctx: Ctx) -> Result<()> {
    let missing = Served::all().filter(|command| !ctx.has_command(command.name().as_bytes())).collect();
    with_state(|state| state.missing = missing);
    follow_setting(ctx)
}

/// Stops serving the server's commands, at unload.
pub fn stop() {
    with_state(|state| state.on = false);
}

/// Switches drop-in mode on or off, as the setting says.
pub fn follow_setting(ctx: Ctx) -> Result<()> {
    if !command_filter::is_open() {
        return Ok(());
    }
    let on = settings::INTERCEPT.get() == 1;
    if on {
        command_filter::join(ctx, &LOOK)?;
    } else {
        command_filter::leave(ctx, &LOOK);
    }
    let was = with_state(|state| std::mem::replace(&mut state.on, on)).unwrap_or(on);
    // The context that comes with a setting cannot run commands.
    if let Some(ctx) = command_filter::context().filter(|_| on && !was) {
        transactions::begin(ctx);
        rename::warn_about_acl(ctx);
    }
    Ok(())
}

/// The commands that the filter shows: those that this module serves, and those that change what it knows about clients.
static LOOK: Look = Look {
    role: Role::Renames,
    names: &[
        "ACL",
        "AUTH",
        "EVAL",
        "EVALSHA",
        "EVALSHA_RO",
        "EVAL_RO",
        "EXEC",
        "FCALL",
        "FCALL_RO",
        "FUNCTION",
        "HELLO",
        "MULTI",
        "RESET",
        "SCRIPT",
    ],
    at,
};

fn at(command: &mut Filtered) -> Result<()> {
    if rename::rename(command) {
        return Ok(());
    }
    let (client, number) = (command.client(), command_filter::seen());
    with_state(|state| {
        if command.is("ACL") {
            state.known_users.on_acl(number);
        } else if command.is("MULTI") {
            client.into_iter().for_each(|client| state.transactions.note(client));
        } else if command.is("AUTH") || command.is("HELLO") || command.is("RESET") {
            state.known_users.on_user_change(client, false, number);
        } else if command.is("EXEC") {
            client.into_iter().for_each(|client| state.transactions.forget(client));
            state.known_users.on_user_change(client, true, number);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_shows_every_command_that_is_served_and_excludes_common_ones_by_their_letters() {
        let may_be = |name: &str| command_filter::may_be_one_of(LOOK.names, name);
        assert!(Served::all().all(|command| LOOK.names.contains(&command.name())));
        assert!(LOOK.names.iter().all(|name| may_be(name) && may_be(&name.to_ascii_lowercase())));
        // Some of them have the length and one letter of a name, or the letters and another length.
        let common = "GET SET MGET INCR HGET HSET HMGET HVALS ZADD ZSCORE ZCARD ZINCRBY ZCOUNT LPUSH RPUSH LREM EXPIRE EXISTS DEL PING ECHO \
                      XADD STRLEN GETRANGE SETRANGE REPLCONF ATOMIC.CAS ATOMIC.RATELIMIT ATOMIC.FENCE";
        assert_eq!(common.split_whitespace().filter(|name| may_be(name)).collect::<Vec<_>>(), [] as [&str; 0]);
        assert!(!may_be(""));
    }
}
