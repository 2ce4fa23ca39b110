//! What has to be true before the server may unload the module.
//!
//! The server frees a module's commands, and keeps what points to them: a transaction its queue, a connection that is held its command,
//! every connection the last command that it sent. The first two run it later, so the unload is refused; and the last one is read by
//! `CLIENT LIST`, by the log, and (Redis 8) by the next command of that name, so that those connections are closed. Some servers parse
//! what a client has sent behind a command that blocks it, and some do so in threads: there other connections are closed, too, since
//! nothing tells what they have sent.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::commands::registered;
use crate::dropin;
use crate::scripting::scripted;
use crate::server::call::Connection;
use crate::server::module_api::Ctx;

/// As many connections are named in the log.
const NAMED: usize = 10;

/// How many commands the server had run when the load was over.
static RUN_AT_LOAD: AtomicU64 = AtomicU64::new(0);

/// The load is over, for us; the server may still take it back.
pub fn note_load(ctx: Ctx) {
    RUN_AT_LOAD.store(commands_run(ctx), Ordering::Relaxed);
}

fn commands_run(ctx: Ctx) -> u64 {
    ctx.info_field(c"stats", c"total_commands_processed").and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// The connections to close at the unload, or why there is none now.
pub fn prepare(ctx: Ctx) -> Result<Vec<u64>, String> {
    if crashes(ctx) {
        return Err("Valkey before 8.1.5 crashes on it, for a command with more than seven subcommands".to_owned());
    }
    // Counted before we ask for the connections, which counts.
    let nothing_ran = commands_run(ctx) == RUN_AT_LOAD.load(Ordering::Relaxed);
    let connections = ctx.connections();
    // A load that the server takes back (MODULE LOADEX with a wrong setting) must not be refused: the module would stay, half loaded, or the
    // server ends. No client has sent anything yet. Of a transaction only EXEC shows.
    let loads = |command: &str| command.starts_with("module|load") || (command == "exec" && nothing_ran);
    if connections.iter().any(|connection| connection.runs && loads(&connection.command)) {
        return Ok(Vec::new());
    }
    if dropin::is_on() {
        return Err("drop-in mode is on; CONFIG SET atomic.intercept no, then try again".to_owned());
    }
    Plan::of(&connections, is_ours, Reading::of(ctx)).decide()
}

/// Closes connections that point to what is freed now. Nothing of ours acts on their end any more.
pub fn finish(ctx: Ctx, connections: &[u64]) {
    if !connections.is_empty() {
        let count = connections.len();
        ctx.log(c"notice", &format!("unloading: {count} connections are closed, since the server would keep their last command"));
    }
    connections.iter().for_each(|id| ctx.kill_connection(*id));
}

/// Whether this server is Valkey 8.1.0 to 8.1.4. It frees the subcommands of a command while it walks through their table, and a table of
/// more than one bucket, which is seven of them, is shrunk under the walk (valkey-io/valkey#2753).
fn crashes(ctx: Ctx) -> bool {
    let version = ctx.info_field(c"server", c"valkey_version").unwrap_or_default();
    version.strip_prefix("8.1.").and_then(|patch| patch.parse().ok()).is_some_and(|patch: u32| patch < 5)
}

/// Whether `CLIENT LIST` names a command of this load.
fn is_ours(command: &str) -> bool {
    registered().any(|entry| entry.spec.name.to_bytes() == command.as_bytes()) || scripted::declares(command.as_bytes())
}

/// How far the server reads ahead of the command that a client is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// One command at a time.
    InTurn,
    /// What a client has sent is parsed and looked up at once; it runs later if the client is blocked before.
    Ahead,
    /// Threads parse and look up.
    InThreads,
}

impl Reading {
    fn of(ctx: Ctx) -> Self {
        let more_than_one = |name: &[u8]| ctx.config(name).and_then(|value| value.parse::<u32>().ok()).is_some_and(|it| it > 1);
        let major = |field| ctx.info_field(c"server", field).and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        // Valkey names a version of Redis, too.
        let (valkey, redis) = (major(c"valkey_version"), major(c"redis_version"));
        if more_than_one(b"io-threads") && valkey.or(redis).is_some_and(|major| major >= 8) {
            Self::InThreads
        } else if valkey.is_some_and(|major| major >= 9) || more_than_one(b"lookahead") {
            Self::Ahead
        } else {
            Self::InTurn
        }
    }
}

/// What the unload means to the connections.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// In a transaction with commands in its queue.
    queued: Vec<u64>,
    /// Held with a command of ours, by CLIENT PAUSE.
    held: Vec<u64>,
    /// To be closed.
    closed: Vec<u64>,
}

impl Plan {
    fn of(connections: &[Connection], is_ours: impl Fn(&str) -> bool, reading: Reading) -> Self {
        let mut plan = Self::default();
        // No command of ours comes over a link.
        for connection in connections.iter().filter(|connection| !connection.is_link) {
            let ours = is_ours(&connection.command);
            // It is what runs now.
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
                "clients are in MULTI, and EXEC would run freed commands: {named}; wait for them, or CLIENT KILL ID"
            ));
        }
        if !self.held.is_empty() {
            let named = named(&self.held);
            return Err(format!("clients are held with commands of this module: {named}; CLIENT UNPAUSE, then try again"));
        }
        Ok(self.closed)
    }
}

/// The ids of some clients, and how many more there are.
fn named(ids: &[u64]) -> String {
    let some: Vec<String> = ids.iter().take(NAMED).map(|id| format!("id={id}")).collect();
    let more = ids.len().saturating_sub(some.len());
    if more > 0 { format!("{} and {more} more", some.join(" ")) } else { some.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: u64, command: &str, queued: i64, is_held: bool) -> Connection {
        Connection { id, command: command.to_owned(), queued, is_held, is_link: false, runs: is_held }
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
        assert!(refused(connection(5, "get", 1, false)).contains("MULTI, and EXEC would run freed commands: id=5;"));
        assert!(refused(connection(6, "atomic.cas", 0, true)).contains("held with commands of this module: id=6;"));
    }

    #[test]
    fn the_log_names_some_and_counts_the_others() {
        let ids: Vec<u64> = (1..=12).collect();
        assert_eq!(named(&[1, 2]), "id=1 id=2");
        assert!(named(&ids).ends_with("id=10 and 2 more"));
    }
}
