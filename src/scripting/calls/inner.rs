//! A command that another command of this module runs for its client: what the server says about it.

use std::ffi::CString;
use std::sync::atomic::Ordering;

use super::KnownCommands;
use super::keys::Keys;
use crate::error::{Error, Result};
use crate::scripting::SERVER_CHANGES;
use crate::server::module_api::{Ctx, Str};
use crate::server::slots::{Allowed, Slots};
use crate::server::thread::ServerThread;

/// The commands seen so far, and the number of [`SERVER_CHANGES`] when the cache was empty. The engine has a cache of its own, which a running
/// script borrows.
static KNOWN: ServerThread<Option<(u64, KnownCommands)>> = ServerThread::new(None);

/// What is known about a command.
pub struct Inner {
    pub name: CString,
    /// The server refuses it in scripts.
    pub noscript: bool,
    /// It may block its client.
    pub blocking: bool,
    pub writes: bool,
    keys: Keys,
}

impl Inner {
    /// `None` if the server has no such command.
    #[must_use]
    pub fn of(ctx: Ctx, words: &[&[u8]]) -> Option<Self> {
        let mut known = KNOWN.try_borrow_mut()?;
        let now = SERVER_CHANGES.load(Ordering::Relaxed);
        let (_, commands) = match &mut *known {
            Some(known) if known.0 == now => known,
            stale => stale.insert((now, KnownCommands::default())),
        };
        let known = commands.get(ctx, words).ok()?;
        Some(Self {
            name: known.name.clone(),
            noscript: known.noscript,
            blocking: known.blocking,
            writes: known.write,
            keys: known.keys,
        })
    }

    /// The keys among the words of a call.
    #[must_use]
    pub fn keys<'w>(&self, ctx: Ctx, words: &[&'w [u8]]) -> Vec<&'w [u8]> {
        self.keys.find(ctx, words)
    }

    /// Whether it uses the keys of all slots of a cluster.
    #[must_use]
    pub fn uses_all_keys(&self) -> bool {
        self.keys == Keys::OverAll
    }

    /// Refuses a call that would use another slot than that of `key`, the first key of the command that the client sent.
    pub fn check_slot(&self, ctx: Ctx, key: Str<'_>, keys: &[&[u8]]) -> Result<()> {
        let mut slots = Slots::of_run(ctx, Some(key.bytes()), Allowed::One);
        if self.keys == Keys::OverAll {
            slots.check_all_keys().map_err(|_| Error::Text("ERR the command uses the keys of all slots of the cluster"))
        } else {
            slots.check(keys.iter().copied()).map_err(|_| Error::Text("CROSSSLOT Keys in request don't hash to the same slot"))
        }
    }
}

/// Forgets all commands, when the engine stops.
pub fn forget() {
    if let Some(mut known) = KNOWN.try_borrow_mut() {
        *known = None;
    }
}
