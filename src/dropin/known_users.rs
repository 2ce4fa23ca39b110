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
    /// A command runs that may change rights: no client is remembered, and the next command forgets all.
    changing: bool,
    /// A command has changed rights since the load: then a transaction may do so, too.
    suspect: bool,
}

impl KnownUsers {
    pub const fn new() -> Self {
        Self { slots: [NONE; SLOTS], changing: false, suspect: false }
    }

    /// Whether the client was found to be unrestricted a moment ago.
    pub fn has(&self, client: u64) -> bool {
        let known = self.slots.get(slot(client)).filter(|known| !self.changing && known.client == client);
        known.is_some_and(|known| clock::now().0.checked_sub(known.since).is_some_and(|since| since < MOMENT))
    }

    /// The client's user is unrestricted.
    pub fn learn(&mut self, client: u64) {
        if let Some(known) = self.slots.get_mut(slot(client)).filter(|_| !self.changing) {
            *known = Known { client, since: clock::now().0 };
        }
    }

    /// Another command is on its way.
    pub fn next_command(&mut self) {
        if self.changing {
            self.changing = false;
            self.slots = [NONE; SLOTS];
        }
    }

    /// ACL is on its way.
    pub fn rights_change(&mut self) {
        (self.suspect, self.changing) = (true, true);
    }

    /// A command is on its way that makes its client another user, or may run one that does: AUTH, HELLO, RESET, EXEC. Some servers do not
    /// tell whose it is.
    pub fn user_changes(&mut self, client: Option<u64>, is_exec: bool) {
        match client.filter(|_| !(is_exec && self.suspect)) {
            Some(client) => {
                if let Some(known) = self.slots.get_mut(slot(client)) {
                    *known = NONE;
                }
            }
            None => self.changing = true,
        }
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
        let learned = |known: &mut KnownUsers| {
            known.next_command();
            known.learn(7);
            assert!(known.has(7) && !known.has(7 + 64) && !known.has(0));
        };
        learned(&mut known);
        known.user_changes(Some(7), false);
        assert!(!known.has(7));
        learned(&mut known);
        known.user_changes(Some(8), true);
        assert!(known.has(7));
        known.rights_change();
        assert!(!known.has(7));
        known.learn(7);
        known.next_command();
        assert!(!known.has(7));
        // A transaction may hold an ACL command now.
        learned(&mut known);
        known.user_changes(Some(8), true);
        assert!(!known.has(7));
    }
}
