//! Drop-in mode: this module serves the server's own `EVAL`, `EVALSHA`, `FCALL`, their `_RO` forms, `SCRIPT` and `FUNCTION`.
//!
//! A command passes [`rename`] on its way in, which gives it the name of ours, unless [`admit`] finds that we would not do what the server
//! does. Before our handler runs, [`serve`] checks the right to what the client sent. `docs/adr/005-drop-in.md` has the reasons.

mod admit;
mod known_users;
mod rename;
mod serve;
mod served;
mod transactions;

pub use self::serve::serve;

use self::known_users::KnownUsers;
use self::transactions::Transactions;
use crate::error::Result;
use crate::server::command_filter::{self, Filtered, Look, Role};
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;
use crate::settings;

/// Everything that drop-in mode remembers.
struct DropIn {
    on: bool,
    /// Whether the server has each of the commands, in the order of [`served::Served::ALL`]: `rename-command` may have taken some away.
    exists: [bool; served::Served::ALL.len()],
    /// The client whose right the filter has checked, and at which command.
    permitted: Option<(u64, u64)>,
    /// Whether the command that runs stands in for one of the server's.
    standing_in: bool,
    /// Connections that debug scripts (`SCRIPT DEBUG`), which only the server can. It closes each after one script.
    debuggers: Vec<u64>,
    transactions: Transactions,
    known_users: KnownUsers,
}

static STATE: ServerThread<DropIn> = ServerThread::new(DropIn {
    on: false,
    exists: [true; served::Served::ALL.len()],
    permitted: None,
    standing_in: false,
    debuggers: Vec::new(),
    transactions: Transactions::new(),
    known_users: KnownUsers::new(),
});

/// The state, for a moment: no call of the server may be made meanwhile. `None` when somebody further up the stack has it.
fn with<R>(look: impl FnOnce(&mut DropIn) -> R) -> Option<R> {
    STATE.try_borrow_mut().map(|mut state| look(&mut state))
}

/// Whether drop-in mode is on.
#[must_use]
pub fn is_on() -> bool {
    with(|state| state.on).unwrap_or(false)
}

/// Whether the command that runs stands in for one of the server's.
#[must_use]
pub fn is_standing_in() -> bool {
    with(|state| state.standing_in).unwrap_or(false)
}

/// From the end of the load on, follows the setting.
pub fn start(ctx: Ctx) -> Result<()> {
    let exists = served::Served::ALL.map(|command| ctx.has_command(command.name().as_bytes()));
    with(|state| state.exists = exists);
    follow_setting(ctx)
}

/// Serves no command of the server any more, at unload.
pub fn stop() {
    with(|state| state.on = false);
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
    let was = with(|state| std::mem::replace(&mut state.on, on)).unwrap_or(on);
    // The context that comes with a setting cannot run commands.
    if let Some(ctx) = command_filter::context().filter(|_| on && !was) {
        transactions::begin(ctx);
        rename::warn(ctx);
    }
    Ok(())
}

/// What the filter shows us: the commands that we serve, and those that change what we remember of clients.
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
    with(|state| {
        if command.is("ACL") {
            state.known_users.rights_change(number);
        } else if command.is("MULTI") {
            client.into_iter().for_each(|client| state.transactions.note(client));
        } else if command.is("AUTH") || command.is("HELLO") || command.is("RESET") {
            state.known_users.user_changes(client, false, number);
        } else if command.is("EXEC") {
            client.into_iter().for_each(|client| state.transactions.forget(client));
            state.known_users.user_changes(client, true, number);
        }
    });
    Ok(())
}
