//! A short-lived cache of clients whose user has all permissions: asking the ACL costs as much as a short script.
//!
//! A command that changes permissions or users removes the affected clients at once. Other changes, and those by a command that was
//! held while clients were paused, take effect after [`LIFETIME_US`]. A client gains nothing from a stale entry: the server itself
//! checks each stand-in.

use crate::server::clock;

const LIFETIME_US: u64 = 100_000;

const SLOTS: usize = 64;

/// A client and when it was found to be unrestricted.
#[derive(Clone, Copy)]
struct KnownClient {
    client: u64,
    since: u64,
}

const NONE: KnownClient = KnownClient { client: 0, since: 0 };

/// The cached clients, each in the slot of its id.
pub struct KnownUsers {
    slots: [KnownClient; SLOTS],
    /// A running command may change permissions: no client is cached, and the next command clears the cache.
    changing: bool,
    /// A command has changed permissions since the load, so a transaction may do so, too.
    suspect: bool,
}

impl KnownUsers {
    pub const fn new() -> Self {
        Self { slots: [NONE; SLOTS], changing: false, suspect: false }
    }

    /// Whether the client was recently found to be unrestricted.
    pub fn has(&self, client: u64) -> bool {
        let known = self.slots.get(slot(client)).filter(|known| !self.changing && known.client == client);
        known.is_some_and(|known| clock::now().0.checked_sub(known.since).is_some_and(|since| since < LIFETIME_US))
    }

    /// Caches a client whose user is unrestricted.
    pub fn add(&mut self, client: u64) {
        if let Some(known) = self.slots.get_mut(slot(client)).filter(|_| !self.changing) {
            *known = KnownClient { client, since: clock::now().0 };
        }
    }

    /// Called before every command.
    pub fn next_command(&mut self) {
        if self.changing {
            self.changing = false;
            self.slots = [NONE; SLOTS];
        }
    }

    /// Called before an ACL command.
    pub fn on_acl(&mut self) {
        (self.suspect, self.changing) = (true, true);
    }

    /// Called before a command that changes its client's user, or that may run one that does: AUTH, HELLO, RESET, EXEC. Some servers
    /// do not report the client.
    pub fn on_user_change(&mut self, client: Option<u64>, is_exec: bool) {
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
            known.add(7);
            assert!(known.has(7) && !known.has(7 + 64) && !known.has(0));
        };
        learned(&mut known);
        known.on_user_change(Some(7), false);
        assert!(!known.has(7));
        learned(&mut known);
        known.on_user_change(Some(8), true);
        assert!(known.has(7));
        known.on_acl();
        assert!(!known.has(7));
        known.add(7);
        known.next_command();
        assert!(!known.has(7));
        // A transaction may hold an ACL command now.
        learned(&mut known);
        known.on_user_change(Some(8), true);
        assert!(!known.has(7));
    }
}
