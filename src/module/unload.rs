//! The conditions under which the server may unload the module.
//!
//! The server frees a module's commands but keeps pointers to them: in the queue of a transaction, in a paused connection, and as the
//! last command of every connection. The first two run the command later, so the unload is refused. `CLIENT LIST`, the log and (on
//! Redis 8) the next command of that name read the last one, so those connections are closed. Some servers parse the commands that
//! follow a blocking command, and some parse in threads. There other connections are closed, too, because the module cannot find out what
//! they have sent.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::commands::registered;
use crate::dropin;
use crate::scripting::scripted;
use crate::server::call::Connection;
use crate::server::module_api::Ctx;

/// The number of connections that a log line names.
const NAMED: usize = 10;

/// The number of commands that the server had run when the module's part of the load ended.
static RUN_AT_LOAD: AtomicU64 = AtomicU64::new(0);

/// Records the end of the module's part of the load. The server may still undo the load.
pub fn note_load(ctx: Ctx) {
    RUN_AT_LOAD.store(commands_run(ctx), Ordering::Relaxed);
}

fn commands_run(ctx: Ctx) -> u64 {
    ctx.info_field(c"stats", c"total_commands_processed").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The connections that the unload must close, or why the unload is refused.
pub fn prepare(ctx: Ctx) -> Result<Vec<u64>, String> {
    if crashes(ctx) {
        return Err("Valkey before 8.1.5 crashes when it unloads a command with more than seven subcommands".to_owned());
    }
    // Before the list of connections is requested, because that request counts as a command.
    let nothing_ran = commands_run(ctx) == RUN_AT_LOAD.load(Ordering::Relaxed);
    let connections = ctx.connections();
    // If the server undoes a load (MODULE LOADEX with a wrong setting), the unload must not be refused: the module would stay half loaded, or
    // the server would exit. No client has sent a command yet. Of a transaction only EXEC is visible.
    let loads = |command: &str| command.starts_with("module|load") || (command == "exec" && nothing_ran);
    if connections.iter().any(|connection| connection.runs && loads(&connection.command)) {
        return Ok(Vec::new());
    }
    if dropin::is_on() {
        return Err("drop-in mode is on; run CONFIG SET atomic.intercept no, then try again".to_owned());
    }
    Plan::of(&connections, is_ours, Reading::of(ctx)).decide()
}

/// Closes connections that point to freed commands. No code of the module reacts to their end any more.
pub fn finish(ctx: Ctx, connections: &[u64]) {
    if !connections.is_empty() {
        let count = connections.len();
        ctx.log(c"notice", &format!("unloading: closing {count} connections whose last command the server would keep"));
    }
    connections.iter().for_each(|id| ctx.kill_connection(*id));
}

/// Whether this server is Valkey 8.1.0 to 8.1.4. It frees the subcommands of a command while it iterates over their table, and a table with
/// more than one bucket, of seven entries each, shrinks during the iteration (valkey-io/valkey#2753).
fn crashes(ctx: Ctx) -> bool {
    let version = ctx.info_field(c"server", c"valkey_version").unwrap_or_default();
    version.strip_prefix("8.1.").and_then(|patch| patch.parse().ok()).is_some_and(|patch: u32| patch < 5)
}

/// Whether `CLIENT LIST` names a command of this load.
fn is_ours(command: &str) -> bool {
    registered().any(|entry| entry.spec.name.to_bytes() == command.as_bytes()) || scripted::declares(command.as_bytes())
}

/// How far the server reads ahead of a client's current command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// One command at a time.
    InTurn,
    /// All commands that have arrived are parsed and looked up at once; they run later if an earlier one blocks the client.
    Ahead,
    /// Threads parse and look up commands.
    InThreads,
}

impl Reading {
    fn of(ctx: Ctx) -> Self {
        let more_than_one = |name: &str| ctx.config(name).and_then(|value| value.parse::<u32>().ok()).is_some_and(|it| it > 1);
        let major = |field| ctx.info_field(c"server", field).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        // Valkey reports a Redis version, too.
        let (valkey, redis) = (major(c"valkey_version"), major(c"redis_version"));
        if more_than_one("io-threads") && valkey.or(redis).is_some_and(|major| major >= 8) {
            Self::InThreads
        } else if valkey.is_some_and(|major| major >= 9) || more_than_one("lookahead") {
            Self::Ahead
        } else {
            Self::InTurn
        }
    }
}

/// What the unload does to the connections.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Connections in a transaction with queued commands.
    queued: Vec<u64>,
    /// Connections that CLIENT PAUSE holds with a command of the module.
    held: Vec<u64>,
    /// Connections to close.
    closed: Vec<u64>,
}

impl Plan {
    fn of(connections: &[Connection], is_ours: impl Fn(&str) -> bool, reading: Reading) -> Self {
        let mut plan = Self::default();
        // A replication link carries no command of the module.
        for connection in connections.iter().filter(|connection| !connection.is_link) {
            let ours = is_ours(&connection.command);
            // This is the command that runs now.
            let unloads = connection.command == "module|unload";
            if connection.queued > 0 {
                plan.queued.push(connection.id);
            } else if ours && connection.is_held {
                plan.held.push(connection.id);
            } else if ours || (reading == Reading::Ahead && connection.is_held) || (reading == Reading::InThreads && !unloads) {
                plan.closed.push(connection.id);
            }
        }
        plan
    }

    fn decide(self) -> Result<Vec<u64>, String> {
        if !self.queued.is_empty() {
            let named = named(&self.queued);
            return Err(format!(
                "clients have commands queued in MULTI, and EXEC would run freed commands: {named}; wait for them, or run CLIENT KILL ID"
            ));
        }
        if !self.held.is_empty() {
            let named = named(&self.held);
            return Err(format!("paused clients hold commands of this module: {named}; run CLIENT UNPAUSE, then try again"));
        }
        Ok(self.closed)
    }
}

/// The ids of the first clients, and the number of the others.
fn named(ids: &[u64]) -> String {
    let some: Vec<String> = ids.iter().take(NAMED).map(|id| format!("id={id}")).collect();
    let more = ids.len().saturating_sub(some.len());
    if more > 0 { format!("{} and {more} more", some.join(" ")) } else { some.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: u64, command: &str, queued: i64, is_held: bool) -> Connection {
        Connection {
            id,
            command: command.to_owned(),
            queued,
            is_held,
            is_link: false,
            runs: is_held,
            caches: false,
            monitors: false,
        }
    }

    #[test]
    fn what_would_run_a_freed_command_refuses_and_what_would_read_one_is_closed() {
        let all = [
            connection(1, "get", 0, false),
            connection(2, "atomic.cas", 0, false),
            connection(3, "blpop", 0, true),
            connection(4, "module|unload", 0, false),
            Connection { is_link: true, ..connection(5, "replconf", 1, false) },
        ];
        let ours = |name: &str| name.starts_with("atomic.");
        let closed = |reading| Plan::of(&all, ours, reading).decide();
        assert_eq!(closed(Reading::InTurn), Ok(vec![2]));
        assert_eq!(closed(Reading::Ahead), Ok(vec![2, 3]));
        assert_eq!(closed(Reading::InThreads), Ok(vec![1, 2, 3]));
        let refused = |last| Plan::of(&[&all[..], &[last]].concat(), ours, Reading::InTurn).decide().err().unwrap_or_default();
        assert!(refused(connection(5, "get", 1, false)).contains("queued in MULTI, and EXEC would run freed commands: id=5;"));
        assert!(refused(connection(6, "atomic.cas", 0, true)).contains("paused clients hold commands of this module: id=6;"));
    }

    #[test]
    fn the_log_names_some_and_counts_the_others() {
        let ids: Vec<u64> = (1..=12).collect();
        assert_eq!(named(&[1, 2]), "id=1 id=2");
        assert!(named(&ids).ends_with("id=10 and 2 more"));
    }
}
