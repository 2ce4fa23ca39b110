//! Keeps loaded scripts in the server's function store, as libraries that carry their source, so that they outlive the process.
//!
//! Other clients also change the store, and it may hold 50,000 scripts, so two rules hold. Only LIST, STATS and FLUSH take time
//! in the number of libraries: the other commands look a name up, and read the whole store ([`reconcile`]) only when it holds a
//! script that the engine lacks. And the text of a library, not its name, shows that it is ours: LOAD never replaces a foreign
//! library, and FLUSH reads the libraries before it deletes them.

use std::collections::HashSet;

use redis_module::raw;

use super::Scripting;
use super::library_store::server_list;
use super::library_store::watch::{self, Follower};
use crate::error::Result;
use crate::lua::library;
use crate::lua::{Digest, EVICTABLE_SCRIPTS, Engine, stored_memory};
use crate::scripting;
use crate::server::events;
use crate::server::module_api::Ctx;
use crate::server::state::Moment;
use crate::settings;

/// State about scripts that are loaded but not stored.
#[derive(Default)]
pub struct Store {
    refused: u64,
    logged: [bool; 4],
    /// Scripts loaded while writes were paused, to be stored after the pause.
    waiting: Vec<Digest>,
    /// Whether [`store_waiting`] is subscribed.
    follows: bool,
}

/// Why a script was not stored.
enum Refusal {
    /// Stored scripts use all the memory that they may.
    Full,
    /// Another library has the name.
    NameTaken,
    /// Writes are paused, and too many scripts already wait to be stored.
    Paused,
    /// The server refused it.
    ByServer(String),
}

/// Scripts beyond this number do not wait: keeping them would evict others anyway.
const MAX_WAITING: usize = EVICTABLE_SCRIPTS;

impl Store {
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    pub fn reset_stats(&mut self) {
        self.refused = 0;
    }

    /// Counts a script that is not stored. Only the first refusal of each kind is logged, so that clients cannot flood the log.
    fn refuse(&mut self, ctx: Ctx, digest: Digest, refusal: &Refusal) {
        let [full, taken, paused, by_server] = &mut self.logged;
        let name = String::from_utf8_lossy(&library::name(digest)).into_owned();
        let (logged, why) = match refusal {
            Refusal::Full => (full, "script-store-max-bytes is reached".to_owned()),
            Refusal::NameTaken => (taken, format!("library {name} does not belong to this module and is kept")),
            Refusal::Paused => (paused, "writes are paused".to_owned()),
            Refusal::ByServer(why) => (by_server, why.clone()),
        };
        if !std::mem::replace(logged, true) {
            ctx.log(c"warning", &format!("a script was loaded but not stored, so it can be evicted (logged once): {why}"));
        }
        self.refused = self.refused.saturating_add(1);
    }
}

/// The digest of a script that the engine has, reading the store if necessary. Writes nothing.
pub fn find(ctx: Ctx, engine: &mut Engine, sha: &[u8]) -> Option<Digest> {
    let digest = Digest::parse(sha)?;
    if !engine.contains(digest) && may_be_stored(ctx, engine, digest) {
        follow(ctx, engine);
    }
    engine.contains(digest).then_some(digest)
}

/// Whether the store may hold a script that the engine lacks. O(1).
fn may_be_stored(ctx: Ctx, engine: &mut Engine, digest: Digest) -> bool {
    if settings::INTERCEPT.get() == 1 && !watch::is_watching() {
        // The command filter runs anyway. From now on a miss costs nothing until the store changes.
        follow(ctx, engine);
    }
    !is_up_to_date(ctx) && server_list::has(ctx, &library::name(digest))
}

/// Whether the engine is certain to have all scripts of the store.
fn is_up_to_date(ctx: Ctx) -> bool {
    watch::is_watching() && !watch::may_have_changed(ctx, Follower::Scripts)
}

/// Calls [`reconcile`] if others may have changed the store.
pub fn follow(ctx: Ctx, engine: &mut Engine) {
    watch::start(ctx);
    if !is_up_to_date(ctx) {
        reconcile(ctx, engine);
    }
}

/// Reads the store into the engine. O(N) in the number of libraries, and reads the code of all libraries with our names: a name alone
/// proves nothing about the content.
pub fn reconcile(ctx: Ctx, engine: &mut Engine) {
    watch::take_changed(ctx, Follower::Scripts);
    let codes = server_list::codes(ctx, library::PATTERN.as_bytes());
    let libraries = codes.libraries();
    let scripts = libraries.iter().filter_map(|library| library::script(library.code));
    let stored: HashSet<Digest> =
        scripts.filter(|&(digest, source)| engine.adopt(digest, source)).map(|(digest, _)| digest).collect();
    engine.set_stored(&stored);
}

/// Compiles a script, and stores it unless it is already stored or this is a replica, whose store belongs to its primary.
pub fn load(ctx: Ctx, scripting: &mut Scripting, source: &[u8]) -> Result<Digest> {
    let digest = scripting.engine.load(source)?;
    keep(ctx, scripting, digest, source);
    Ok(digest)
}

/// As [`load`], for a script that the server's engine has compiled: it is compiled here when it is used. `None` if it can never
/// compile.
pub fn take(ctx: Ctx, scripting: &mut Scripting, source: &[u8]) -> Option<Digest> {
    let digest = scripting.engine.take(source)?;
    keep(ctx, scripting, digest, source);
    Some(digest)
}

fn keep(ctx: Ctx, scripting: &mut Scripting, digest: Digest, source: &[u8]) {
    let Scripting { engine, store, .. } = scripting;
    match ctx.moment() {
        Moment::Now => store_or_refuse(ctx, engine, store, digest, source),
        Moment::Later if engine.is_stored(digest) && is_up_to_date(ctx) => {}
        Moment::Later => store_later(ctx, store, digest),
        Moment::Never => {}
    }
}

/// Stores a script after the current pause of writes.
fn store_later(ctx: Ctx, store: &mut Store, digest: Digest) {
    if store.waiting.contains(&digest) {
        return;
    }
    if !store.follows {
        let followed = events::subscribe(ctx, raw::REDISMODULE_EVENT_CRON_LOOP, |ctx, _, _| {
            store_waiting(ctx);
            Ok(())
        });
        store.follows = followed.is_ok();
    }
    if store.follows && store.waiting.len() < MAX_WAITING {
        store.waiting.push(digest);
    } else {
        store.refuse(ctx, digest, &Refusal::Paused);
    }
}

/// Called periodically, never while a script runs.
fn store_waiting(ctx: Ctx) {
    let Ok(mut scripting) = scripting::engine() else { return };
    let Scripting { engine, store, .. } = &mut *scripting;
    if store.waiting.is_empty() || ctx.moment() == Moment::Later {
        return;
    }
    for digest in std::mem::take(&mut store.waiting) {
        // Skips scripts that were evicted meanwhile, and all of them if this server is a replica now.
        let source = engine.source(digest).filter(|_| ctx.moment() == Moment::Now).map(<[u8]>::to_vec);
        if let Some(source) = source {
            store_or_refuse(ctx, engine, store, digest, &source);
        }
    }
}

fn store_or_refuse(ctx: Ctx, engine: &mut Engine, store: &mut Store, digest: Digest, source: &[u8]) {
    if let Err(refusal) = store_script(ctx, engine, digest, source) {
        store.refuse(ctx, digest, &refusal);
    }
}

/// Stores a script of the engine unless it is already stored. The engine's view of the store may be stale; that is safe, because the
/// server refuses a library that exists.
fn store_script(ctx: Ctx, engine: &mut Engine, digest: Digest, source: &[u8]) -> std::result::Result<(), Refusal> {
    if engine.is_stored(digest) && is_up_to_date(ctx) {
        return Ok(());
    }
    if !has_room(ctx, engine, digest, source) {
        return Err(Refusal::Full);
    }
    match server_list::load(ctx, &library::text(digest, source)) {
        Ok(()) => {
            engine.adopt(digest, source);
            Ok(())
        }
        Err(_) if server_list::has(ctx, &library::name(digest)) => {
            if !engine.is_stored(digest) || watch::is_watching() {
                follow(ctx, engine);
            }
            if engine.is_stored(digest) { Ok(()) } else { Err(Refusal::NameTaken) }
        }
        Err(error) => Err(Refusal::ByServer(error.wire())),
    }
}

/// Whether the memory of stored scripts stays within its limit. A script that is already stored needs no more.
fn has_room(ctx: Ctx, engine: &mut Engine, digest: Digest, source: &[u8]) -> bool {
    let limit = usize::try_from(settings::SCRIPT_STORE_MAX_BYTES.get()).unwrap_or(usize::MAX);
    let needed = stored_memory(source.len());
    let fits = |engine: &Engine| engine.is_stored(digest) || engine.stats().cache.stored_memory.saturating_add(needed) <= limit;
    fits(engine) || {
        // Others may have made room.
        follow(ctx, engine);
        fits(engine)
    }
}

/// Deletes every library that stores a script, unless this is a replica, and empties the cache.
pub fn flush(ctx: Ctx, engine: &mut Engine) -> Result<()> {
    let is_replica = ctx.flags().is_replica();
    let deleted = if is_replica { Ok(()) } else { delete_all(ctx, engine) };
    engine.flush()?;
    if is_replica || deleted.is_err() {
        // A script that is still stored is found again on its next use.
        Follower::Scripts.note_change();
    }
    deleted
}

fn delete_all(ctx: Ctx, engine: &mut Engine) -> Result<()> {
    reconcile(ctx, engine);
    let mut stored = engine.stored();
    stored.sort_unstable();
    stored.into_iter().map(|digest| server_list::delete(ctx, &library::name(digest))).fold(Ok(()), Result::and)
}

/// [`reconcile`], after an event. Skipped while a script runs, which loses nothing.
pub fn refresh(ctx: Ctx) {
    if let Ok(mut scripting) = scripting::engine() {
        reconcile(ctx, &mut scripting.engine);
    }
}
