//! Clients that see the reads of others one by one: those that cache what they read (CLIENT TRACKING), and MONITOR.
//!
//! A read without a dispatch is seen by neither: the server would not tell a caching client that the key has changed. So such reads are
//! made only while there is no such client. The server has no event for that, so the command filter watches for the two commands. Once
//! one was seen, the list of clients decides, at most once in [`AGAIN`].
//!
//! The filter knows the two commands by their names, so nobody is absent on a server that has renamed one. It
//! sees a command before it runs. It may run later: in a transaction, or when the server no longer holds it. A transaction is
//! remembered until it has ended; a command that is held shows in the list.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::call::Connection;
use super::command_filter::{self, Filtered, Look, Role};
use super::module_api::Ctx;
use super::thread::ServerThread;
use crate::error::Result;

/// How soon the list of clients is asked for again. It costs a microsecond for each client.
const AGAIN: Duration = Duration::from_secs(1);

/// More transactions are not remembered one by one: then any EXEC is suspect until the next look.
const MAX_PENDING: usize = 64;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// The filter does not watch yet.
const UNKNOWN: u8 = 0;
/// There is no such client.
const NOBODY: u8 = 1;
/// There may be one.
const MAYBE: u8 = 2;

static WATCH: ServerThread<Watch> = ServerThread::new(Watch { looked: None, pending: Vec::new(), suspect: false });

struct Watch {
    /// When the list of clients was last asked for.
    looked: Option<Instant>,
    /// The clients whose transaction may have one of the commands.
    pending: Vec<u64>,
    /// Transactions that are open at the next look may have one of the commands.
    suspect: bool,
}

static LOOK: Look = Look { role: Role::WatchesReaders, names: &["CLIENT", "MONITOR", "EXEC"], at };

fn at(command: &mut Filtered) -> Result<()> {
    let Some(mut watch) = WATCH.try_borrow_mut() else {
        STATE.store(MAYBE, Ordering::Relaxed);
        return Ok(());
    };
    if command.is("EXEC") {
        if watch.suspect || !watch.pending.is_empty() {
            STATE.store(MAYBE, Ordering::Relaxed);
        }
    } else if command.is("MONITOR") || command.arg(1).is_some_and(|word| word.bytes().eq_ignore_ascii_case(b"TRACKING")) {
        watch.suspect = true;
        STATE.store(MAYBE, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether no client sees the reads of others. Nearly free while that stays so.
#[must_use]
pub fn are_absent(ctx: Ctx) -> bool {
    STATE.load(Ordering::Relaxed) == NOBODY || look(ctx)
}

/// Asks for the list of clients, if that is due.
#[cold]
fn look(ctx: Ctx) -> bool {
    // A transaction that runs may have executed one of the commands, and the list shows only what it was before.
    if ctx.flags().is_in_exec() {
        return false;
    }
    let Some(mut watch) = WATCH.try_borrow_mut() else { return false };
    if watch.looked.is_some_and(|looked| looked.elapsed() < AGAIN) {
        return false;
    }
    if STATE.load(Ordering::Relaxed) == UNKNOWN {
        // What was queued before the filter watched was not seen.
        watch.suspect = true;
        watch.looked = Some(Instant::now());
        if !ctx.has_commands(LOOK.names) || command_filter::join(ctx, &LOOK).is_err() {
            return false;
        }
    }
    let connections = ctx.connections();
    watch.looked = Some(Instant::now());
    let nobody = watch.learn(&connections) && connections.iter().all(|connection| !sees_reads(connection));
    STATE.store(if nobody { NOBODY } else { MAYBE }, Ordering::Relaxed);
    nobody
}

impl Watch {
    /// Updates what is known of transactions; false if there are too many to remember.
    fn learn(&mut self, connections: &[Connection]) -> bool {
        let open = || connections.iter().filter(|connection| connection.queued >= 0).map(|connection| connection.id);
        if std::mem::take(&mut self.suspect) {
            self.pending = open().take(MAX_PENDING).collect();
            self.suspect = self.pending.len() == MAX_PENDING;
        } else {
            self.pending.retain(|client| open().any(|open| open == *client));
        }
        !self.suspect
    }
}

fn sees_reads(connection: &Connection) -> bool {
    let will = ["client|tracking", "monitor"].contains(&connection.command.as_str()) && (connection.is_held || connection.runs);
    connection.caches || connection.monitors || will
}

/// Stops watching, when the module ends.
pub fn stop() {
    STATE.store(UNKNOWN, Ordering::Relaxed);
    if let Some(mut watch) = WATCH.try_borrow_mut() {
        *watch = Watch { looked: None, pending: Vec::new(), suspect: false };
    }
}

#[allow(clippy::expect_used)]
#[cfg(test)]
mod tests {
    use super::*;

    fn connection(line: &str) -> Connection {
        Connection::parse(line).expect("a line of CLIENT LIST")
    }

    #[test]
    fn who_sees_the_reads_of_others() {
        for (flags, command, memory, sees) in [
            ("N", "get", "0", false),
            ("t", "get", "0", true),
            // With BCAST the server does not remember keys.
            ("tB", "get", "0", false),
            ("O", "monitor", "0", true),
            ("b", "client|tracking", "0", true),
            ("N", "client|tracking", "0", false),
            ("N", "monitor", "10", true),
        ] {
            let line = format!("id=7 flags={flags} multi=-1 argv-mem={memory} cmd={command}");
            assert_eq!(sees_reads(&connection(&line)), sees, "{line}");
        }
    }

    #[test]
    fn a_transaction_is_remembered_until_it_has_ended() {
        let list = |lines: &[&str]| lines.iter().map(|line| connection(line)).collect::<Vec<_>>();
        let open = list(&["id=7 flags=x multi=1 argv-mem=0 cmd=set", "id=8 flags=N multi=-1 argv-mem=0 cmd=set"]);
        let closed = list(&["id=7 flags=N multi=-1 argv-mem=0 cmd=exec", "id=9 flags=x multi=1 argv-mem=0 cmd=set"]);
        let mut watch = Watch { looked: None, pending: Vec::new(), suspect: true };
        assert!(watch.learn(&open) && watch.pending == [7] && !watch.suspect);
        assert!(watch.learn(&open) && watch.pending == [7]);
        assert!(watch.learn(&closed) && watch.pending.is_empty());
        let many: Vec<_> = (0..100).map(|id| connection(&format!("id={id} flags=x multi=0 argv-mem=0 cmd=set"))).collect();
        watch.suspect = true;
        assert!(!watch.learn(&many) && watch.suspect);
    }
}
