//! Clients whose user may run everything with every key, remembered for a moment: asking the ACL costs as much as a short script.
//!
//! They are forgotten at once when a command changes rights or users. Changes that come by no command, or by one that was held while
//! clients were paused, are seen after [`MOMENT`]. A client that is remembered wrongly gains nothing: the server itself checks each
//! command that stands in.

use crate::server::clock;

/// How long a client is remembered, in microseconds.
const MOMENT: u64 = 100_000;

const SLOTS: usize = 64;

/// A client and when it was found to be unrestricted.
#[derive(Clone, Copy)]
struct Known {
    client: u64,
    since: u64,
}

const NONE: Known = Known { client: 0, since: 0 };

/// The clients that are remembered, each in the slot of its number.
pub struct KnownUsers {
    slots: [Known; SLOTS],
    /// The command that may change rights, by its number: while it runs no client is remembered, and the next command forgets all.
    changing: Option<u64>,
    /// A command has changed rights since the load: then a transaction may do so, too.
    suspect: bool,
}

impl KnownUsers {
    pub const fn new() -> Self {
        Self { slots: [NONE; SLOTS], changing: None, suspect: false }
    }

    /// Whether rights may be changing now, at this command.
    fn is_changing(&mut self, command: u64) -> bool {
        if self.changing.is_some_and(|changing| changing != command) {
            self.changing = None;
            self.slots = [NONE; SLOTS];
        }
        self.changing.is_some()
    }

    /// Whether the client was found to be unrestricted a moment ago.
    pub fn has(&mut self, client: u64, command: u64) -> bool {
        if self.is_changing(command) {
            return false;
        }
        let known = self.slots.get(slot(client)).filter(|known| known.client == client);
        known.is_some_and(|known| clock::now().0.checked_sub(known.since).is_some_and(|since| since < MOMENT))
    }

    /// The client's user is unrestricted.
    pub fn learn(&mut self, client: u64, command: u64) {
        if self.is_changing(command) {
            return;
        }
        if let Some(known) = self.slots.get_mut(slot(client)) {
            *known = Known { client, since: clock::now().0 };
        }
    }

    /// ACL is on its way.
    pub fn rights_change(&mut self, command: u64) {
        self.suspect = true;
        self.change(command);
    }

    /// A command is on its way that makes its client another user, or may run one that does: AUTH, HELLO, RESET, EXEC. Some servers do not
    /// tell whose it is.
    pub fn user_changes(&mut self, client: Option<u64>, is_exec: bool, command: u64) {
        match client.filter(|_| !(is_exec && self.suspect)) {
            Some(client) => {
                if let Some(known) = self.slots.get_mut(slot(client)) {
                    *known = NONE;
                }
            }
            None => self.change(command),
        }
    }

    /// Forgets all clients, once the command has run.
    fn change(&mut self, command: u64) {
        self.is_changing(command);
        self.changing = Some(command);
    }
}

fn slot(client: u64) -> usize {
    usize::try_from(client).unwrap_or(0) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_forgotten_when_rights_or_its_user_may_have_changed() {
        let mut known = KnownUsers::new();
        let learned = |known: &mut KnownUsers, command: u64| {
            known.learn(7, command);
            assert!(known.has(7, command) && !known.has(7 + 64, command) && !known.has(0, command));
        };
        learned(&mut known, 1);
        known.user_changes(Some(7), false, 2);
        assert!(!known.has(7, 3));
        learned(&mut known, 4);
        known.user_changes(Some(8), true, 5);
        assert!(known.has(7, 6));
        // While ACL runs no client is remembered, and none is afterwards.
        known.rights_change(7);
        assert!(!known.has(7, 7));
        known.learn(7, 7);
        assert!(!known.has(7, 8));
        // Rights that change twice in a row are two changes.
        known.rights_change(9);
        known.rights_change(10);
        assert!(!known.has(7, 10));
        // A transaction may hold an ACL command now.
        learned(&mut known, 11);
        known.user_changes(Some(8), true, 12);
        assert!(!known.has(7, 12) && !known.has(7, 13));
    }
}
