//! All or nothing: the old states of the keys that a run writes, and the undo of the whole run (docs/adr/010-rollback.md).
//!
//! A state is saved before the first call that may write its key. An undo restores the keys that differ from it, newest first, as part
//! of the same command: the writes and their undo are one transaction in the stream.

use std::collections::HashSet;
use std::ffi::{CString, c_int};
use std::sync::atomic::{AtomicU64, Ordering};

use super::saved::{Place, Replicates, State};
use crate::error::{Error, Result, quoted};
use crate::scripting::calls::{Facts, Undoable};
use crate::server::call::CallReply;
use crate::server::expirations;
use crate::server::module_api::{Ctx, OwnedStr};
use crate::settings;

/// What a saved key costs besides its name and its value.
const OVERHEAD: usize = 128;

/// The runs that were undone, since the start of the server.
static ROLLBACKS: AtomicU64 = AtomicU64::new(0);

/// The keys that could not be restored.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// The figures for INFO.
pub fn figures() -> [(&'static str, u64); 2] {
    [("rollbacks", ROLLBACKS.load(Ordering::Relaxed)), ("rollback_failures", FAILURES.load(Ordering::Relaxed))]
}

/// A message that is published if the run succeeds.
struct Held {
    command: CString,
    words: Vec<Vec<u8>>,
}

pub struct Rollback {
    saved: Vec<(Place, State)>,
    known: HashSet<Place>,
    /// Bytes that may still be kept.
    room: usize,
    held: Vec<Held>,
    replicates: Replicates,
    /// The database of the script. Valkey 9 does not tell it within MULTI once the script has selected another one.
    selected: c_int,
}

impl Rollback {
    /// For a run whose writes go to the replicas and the AOF, or for a dry run, whose writes go nowhere.
    pub fn new(ctx: Ctx, replicates: Replicates) -> Result<Self> {
        if replicates == Replicates::Nowhere {
            expirations::begin(ctx)?;
        }
        let room = usize::try_from(settings::SCRIPT_ROLLBACK_MAX_BYTES.get()).unwrap_or(usize::MAX);
        Ok(Self { saved: Vec::new(), known: HashSet::new(), room, held: Vec::new(), replicates, selected: ctx.db() })
    }

    /// Notes that the script has selected a database.
    pub fn selected(&mut self, db: c_int) {
        self.selected = db;
    }

    /// Saves the keys that a call may write. An error is the reason why the call must not run.
    pub fn prepare(&mut self, ctx: Ctx, name: &[u8], facts: &Facts<'_>) -> Result<()> {
        if facts.undoable == Undoable::No {
            let text = format!("ERR rollback: '{}' cannot be undone", quoted(name).to_ascii_lowercase());
            return Err(Error::Script(text.into_bytes()));
        }
        if facts.is_loud && self.replicates == Replicates::Nowhere {
            let text = format!("ERR dry run: '{}' may change replicas", quoted(name).to_ascii_lowercase());
            return Err(Error::Script(text.into_bytes()));
        }
        let (selected, mut at) = (self.selected, self.selected);
        let outcome = facts.written.iter().try_for_each(|(db, key)| {
            let db = db.unwrap_or(selected);
            if std::mem::replace(&mut at, db) != db {
                ctx.select(db);
            }
            self.save(ctx, (db, (*key).into()))
        });
        if at != selected {
            ctx.select(selected);
        }
        outcome
    }

    fn save(&mut self, ctx: Ctx, place: Place) -> Result<()> {
        if self.known.contains(&place) {
            return Ok(());
        }
        let too_large = || {
            let text = format!(
                "ERR rollback: the old value of '{}' exceeds script-rollback-max-bytes, {} bytes in all",
                quoted(&place.1),
                settings::SCRIPT_ROLLBACK_MAX_BYTES.get()
            );
            Error::Script(text.into_bytes())
        };
        let room = self.room.checked_sub(place.1.len().saturating_add(OVERHEAD)).ok_or_else(too_large)?;
        let state = State::of(ctx, OwnedStr::new(&place.1).as_str(), room)?.ok_or_else(too_large)?;
        self.room = room.saturating_sub(state.bytes());
        self.known.insert(place.clone());
        self.saved.push((place, state));
        Ok(())
    }

    /// Keeps a message back until the run has succeeded.
    pub fn hold(&mut self, argv: &[&[u8]]) -> Option<()> {
        let (name, words) = argv.split_first()?;
        let command = CString::new(*name).ok()?;
        self.held.push(Held { command, words: words.iter().map(|word| word.to_vec()).collect() });
        Some(())
    }

    /// Publishes the messages of a run that succeeded. The user's permission was checked when each was kept back.
    pub fn commit(self, ctx: Ctx) {
        for Held { command, words } in self.held {
            let words: Vec<_> = words.iter().map(|word| OwnedStr::new(word)).collect();
            if let Err(error) = CallReply::of(ctx, &command, c"v!E", &words).done() {
                ctx.log(c"warning", &format!("a message of a script was not published: {error}"));
            }
        }
    }

    /// Restores the keys that have changed, the last one first.
    pub fn undo(self, ctx: Ctx) -> Undone {
        let mut at = self.selected;
        let mut undone = Undone::default();
        for ((db, key), state) in self.saved.iter().rev() {
            if std::mem::replace(&mut at, *db) != *db {
                ctx.select(*db);
            }
            undone.add(self.restore(ctx, (*db, key), state));
        }
        if self.replicates == Replicates::Nowhere {
            self.tell_expired(ctx);
        }
        ctx.select(self.selected);
        if undone.restored > 0 && self.replicates == Replicates::Everywhere {
            ROLLBACKS.fetch_add(1, Ordering::Relaxed);
        }
        FAILURES.fetch_add(undone.failed, Ordering::Relaxed);
        undone
    }

    /// The server always replicates the deletion of a key whose TTL has passed. If a dry run had set that TTL, the replicas have lost a key
    /// that was not theirs to lose: they get its old state.
    fn tell_expired(&self, ctx: Ctx) {
        for place in expirations::take() {
            let (db, key) = place;
            let Some((_, state)) = self.saved.iter().find(|((at, name), _)| *at == db && **name == *key) else { continue };
            ctx.select(db);
            let name = OwnedStr::new(&key);
            if *state != State::Missing
                && let Err(error) = state.restore(ctx, name.as_str(), Replicates::Everywhere)
            {
                ctx.log(c"warning", &format!("dry run: '{}' in database {db} was not restored: {error}", quoted(&key)));
            }
        }
    }

    fn restore(&self, ctx: Ctx, (db, key): (c_int, &[u8]), state: &State) -> Outcome {
        let name = OwnedStr::new(key);
        let room = usize::try_from(settings::SCRIPT_ROLLBACK_MAX_BYTES.get()).unwrap_or(usize::MAX);
        if state.is_current(ctx, name.as_str(), room) {
            return Outcome::Unchanged;
        }
        match state.restore(ctx, name.as_str(), self.replicates) {
            Ok(()) => Outcome::Restored,
            Err(error) => {
                ctx.log(c"warning", &format!("rollback: '{}' in database {db} was not restored: {error}", quoted(key)));
                Outcome::Failed
            }
        }
    }
}

enum Outcome {
    Unchanged,
    Restored,
    Failed,
}

/// How many keys an undo restored, and how many it could not restore.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undone {
    restored: u64,
    failed: u64,
}

impl Undone {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Unchanged => {}
            Outcome::Restored => self.restored = self.restored.saturating_add(1),
            Outcome::Failed => self.failed = self.failed.saturating_add(1),
        }
    }

    /// Adds to an error what was undone.
    pub fn tell(self, error: Error) -> Error {
        let keys = |count| format!("{count} {}", if count == 1 { "key" } else { "keys" });
        let text = match (self.restored, self.failed) {
            (0, 0) => return error,
            (restored, 0) => format!("rolled back {}", keys(restored)),
            (restored, failed) => format!("rolled back {}, could not restore {}", keys(restored), keys(failed)),
        };
        Error::Script(format!("{} ({text})", error.wire()).into_bytes())
    }
}
