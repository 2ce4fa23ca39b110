//! A short-lived cache of what clients may run: asking the ACL costs as much as a short script.
//!
//! An entry says which of the served commands the client's user has permission for, whatever the keys. The server itself checks the keys, as
//! keys of the stand-in, which declares the same ones.
//!
//! A command that changes permissions or users removes the affected clients at once. Other changes, and those by a command that was
//! held while clients were paused, take effect after [`LIFETIME_US`]. A client gains nothing from a stale entry: the server itself
//! checks each stand-in.

use super::served::{FirstArgument, Served};
use super::with_state;
use crate::server::acl::{Rights, User};
use crate::server::{clock, command_filter};

const LIFETIME_US: u64 = 100_000;

const SLOTS: usize = 64;

/// A client, the commands that it may run, and since when that is known.
#[derive(Clone, Copy)]
struct KnownClient {
    client: u64,
    since: u64,
    commands: u16,
}

const NONE: KnownClient = KnownClient { client: 0, since: 0, commands: 0 };

const ALL: u16 = u16::MAX;

impl KnownClient {
    fn may(&self, client: u64, commands: u16) -> bool {
        let is_fresh = || clock::now().0.checked_sub(self.since).is_some_and(|since| since < LIFETIME_US);
        self.client == client && self.commands & commands == commands && is_fresh()
    }
}

/// The bit of a command.
fn bit(command: Served) -> u16 {
    1 << command as u16
}

/// The cached clients, each in the slot of its id.
pub struct KnownUsers {
    slots: [KnownClient; SLOTS],
    /// The number of a command that may change permissions: while it runs nothing is cached, and the next command clears the cache.
    changing: Option<u64>,
    /// A command has changed permissions since the load, so a transaction may do so, too.
    suspect: bool,
}

/// Whether the client was recently found to have permission for the command.
pub fn has(client: u64, command: Served) -> bool {
    with_state(|state| state.known_users.has(client, bit(command), command_filter::seen())).unwrap_or(false)
}

/// Caches that the client may run the command and its stand-in, if its user may then do so with other keys, too.
pub fn learn(client: u64, user: &User, command: Served) {
    let commands = match user.rights() {
        Rights::All => ALL,
        // The rights to subcommands differ.
        Rights::Separate if command.first_argument() != FirstArgument::Subcommand => bit(command),
        Rights::Separate | Rights::Unknown => return,
    };
    with_state(|state| state.known_users.add(client, commands, command_filter::seen()));
}

impl KnownUsers {
    pub const fn new() -> Self {
        Self { slots: [NONE; SLOTS], changing: None, suspect: false }
    }

    /// Whether permissions may be changing at this command.
    fn is_changing(&mut self, command: u64) -> bool {
        if self.changing.is_some_and(|changing| changing != command) {
            self.changing = None;
            self.slots = [NONE; SLOTS];
        }
        self.changing.is_some()
    }

    fn has(&mut self, client: u64, commands: u16, number: u64) -> bool {
        !self.is_changing(number) && self.slots.get(slot(client)).is_some_and(|known| known.may(client, commands))
    }

    fn add(&mut self, client: u64, commands: u16, number: u64) {
        if self.is_changing(number) {
            return;
        }
        if let Some(known) = self.slots.get_mut(slot(client)) {
            // What was learned before keeps its age.
            *known = if known.may(client, 0) {
                KnownClient { commands: known.commands | commands, ..*known }
            } else {
                KnownClient { client, since: clock::now().0, commands }
            };
        }
    }

    /// Called before an ACL command.
    pub fn on_acl(&mut self, command: u64) {
        self.suspect = true;
        self.change(command);
    }

    /// Called before a command that changes its client's user, or that may run one that does: AUTH, HELLO, RESET, EXEC. Some servers
    /// do not report the client.
    pub fn on_user_change(&mut self, client: Option<u64>, is_exec: bool, command: u64) {
        match client.filter(|_| !(is_exec && self.suspect)) {
            Some(client) => {
                if let Some(known) = self.slots.get_mut(slot(client)) {
                    *known = NONE;
                }
            }
            None => self.change(command),
        }
    }

    /// Clears the cache once the command has run.
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
            known.add(7, ALL, command);
            assert!(known.has(7, 1, command) && !known.has(7 + 64, 1, command) && !known.has(0, 1, command));
        };
        learned(&mut known, 1);
        known.on_user_change(Some(7), false, 2);
        assert!(!known.has(7, ALL, 3));
        learned(&mut known, 4);
        known.on_user_change(Some(8), true, 5);
        assert!(known.has(7, ALL, 6));
        // While ACL runs, nothing is cached, and the cache is empty afterwards.
        known.on_acl(7);
        assert!(!known.has(7, ALL, 7));
        known.add(7, ALL, 7);
        assert!(!known.has(7, ALL, 8));
        // Permissions that change twice in a row are two changes.
        known.on_acl(9);
        known.on_acl(10);
        assert!(!known.has(7, ALL, 10));
        // A transaction may hold an ACL command now.
        learned(&mut known, 11);
        known.on_user_change(Some(8), true, 12);
        assert!(!known.has(7, ALL, 12) && !known.has(7, ALL, 13));
        // Commands are learned one by one.
        known.add(9, 1, 14);
        assert!(known.has(9, 1, 14) && !known.has(9, 2, 14));
        known.add(9, 2, 15);
        assert!(known.has(9, 1, 15) && known.has(9, 2, 15) && !known.has(9, 4, 15));
    }
}
