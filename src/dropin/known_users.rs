//! Clients whose user may run everything with every key, remembered for a moment: asking the ACL costs as much as a short script.
//!
//! They are forgotten at once when a command changes rights or users. Changes that come by no command, or by one that was held while clients
//! were paused, are seen after [`MOMENT`]. Who is remembered wrongly gains nothing: the server itself checks each command that stands in.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::server::acl::User;
use crate::server::clock;
use crate::server::command_filter::Filtered;
use crate::server::thread::ServerThread;

/// How long a client is remembered, in microseconds.
const MOMENT: u64 = 100_000;

const SLOTS: usize = 64;

/// What is known of a client; the place of others with the same remainder.
#[derive(Clone, Copy)]
struct Known {
    client: u64,
    age: u64,
    since: u64,
}

static KNOWN: ServerThread<[Known; SLOTS]> = ServerThread::new([Known { client: 0, age: 0, since: 0 }; SLOTS]);

/// Grows when all are forgotten.
static AGE: AtomicU64 = AtomicU64::new(1);

/// Set while a command runs that may change rights: nobody is remembered, and what follows forgets all.
static CHANGING: AtomicBool = AtomicBool::new(false);

/// Set when rights were ever changed by a command: then a transaction may do so, too.
static SUSPECT: AtomicBool = AtomicBool::new(false);

/// Whether the client was found to be unrestricted a moment ago.
pub fn is_known(client: u64) -> bool {
    if CHANGING.load(Ordering::Relaxed) {
        return false;
    }
    let known = KNOWN.try_borrow_mut().and_then(|known| known.get(slot(client)).copied());
    known.is_some_and(|known| {
        let since = || clock::now().0.checked_sub(known.since);
        known.client == client && known.age == AGE.load(Ordering::Relaxed) && since().is_some_and(|since| since < MOMENT)
    })
}

/// Remembers the client if its user is unrestricted.
pub fn learn(client: u64, user: &User) {
    if CHANGING.load(Ordering::Relaxed) || !user.is_unrestricted() {
        return;
    }
    if let Some(mut known) = KNOWN.try_borrow_mut()
        && let Some(known) = known.get_mut(slot(client))
    {
        *known = Known { client, age: AGE.load(Ordering::Relaxed), since: clock::now().0 };
    }
}

/// Another command is on its way.
pub fn next_command() {
    if CHANGING.load(Ordering::Relaxed) {
        CHANGING.store(false, Ordering::Relaxed);
        forget_all();
    }
}

/// ACL is on its way.
pub fn acl() {
    SUSPECT.store(true, Ordering::Relaxed);
    CHANGING.store(true, Ordering::Relaxed);
}

/// A command that makes its client another user, or may run one that does: AUTH, HELLO, RESET, EXEC.
pub fn user_changes(command: &Filtered, is_exec: bool) {
    match command.client() {
        Some(client) if !(is_exec && SUSPECT.load(Ordering::Relaxed)) => {
            if let Some(mut known) = KNOWN.try_borrow_mut()
                && let Some(known) = known.get_mut(slot(client))
            {
                known.client = 0;
            }
        }
        _ => CHANGING.store(true, Ordering::Relaxed),
    }
}

fn forget_all() {
    AGE.fetch_add(1, Ordering::Relaxed);
}

fn slot(client: u64) -> usize {
    usize::try_from(client).unwrap_or(0) % SLOTS
}
