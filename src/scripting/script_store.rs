//! Where the engine and the server's function store meet: loaded scripts outlive the process as libraries that carry their text.
//!
//! Others change the store, too, and it may hold 50,000 scripts, so two rules hold. No command but LIST, STATS and FLUSH takes time in the
//! number of libraries: a name is looked up, and the store is only gone through ([`reconcile`]) when it holds a script that the engine
//! lacks. And a library that is not one of ours by its text is never replaced and never deleted, whatever it is called: LOAD loads over
//! nothing, and FLUSH reads the libraries before it deletes them.

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

/// What was not stored.
#[derive(Default)]
pub struct Store {
    refused: u64,
    said: [bool; 4],
    /// Scripts that were loaded while writes were paused, to be stored afterwards.
    waiting: Vec<Digest>,
    /// Whether the end of a pause is waited for.
    follows: bool,
}

/// Why a script was not stored.
enum Refusal {
    /// Scripts take as much as they may.
    Full,
    /// Another library has the name.
    NameTaken,
    /// Writes are paused, and enough scripts wait for the end of it.
    Paused,
    /// The server refused it.
    ByServer(String),
}

/// More scripts than that are not kept for later: others are evicted for them anyway.
const MOST_WAITING: usize = EVICTABLE_SCRIPTS;

impl Store {
    /// How many scripts were loaded and not stored.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Starts to count anew.
    pub fn reset_stats(&mut self) {
        self.refused = 0;
    }

    /// Counts a script that is not stored. Only the first of a kind is logged: LOAD is a client's to call, the log is the operator's.
    fn refuse(&mut self, ctx: Ctx, digest: Digest, refusal: &Refusal) {
        let [full, taken, paused, by_server] = &mut self.said;
        let name = String::from_utf8_lossy(&library::name(digest)).into_owned();
        let (said, why) = match refusal {
            Refusal::Full => (full, "script-store-max-bytes is reached".to_owned()),
            Refusal::NameTaken => (taken, format!("the library {name} is not one of this module, and stays as it is")),
            Refusal::Paused => (paused, "writes are paused".to_owned()),
            Refusal::ByServer(why) => (by_server, why.clone()),
        };
        if !std::mem::replace(said, true) {
            ctx.log(c"warning", &format!("a script was loaded but not stored, so it can be evicted (logged once): {why}"));
        }
        self.refused = self.refused.saturating_add(1);
    }
}

/// The digest of a script that the engine knows, or has just read from its library. Writes nothing.
pub fn find(ctx: Ctx, engine: &mut Engine, sha: &[u8]) -> Option<Digest> {
    let digest = Digest::parse(sha)?;
    if !engine.contains(digest) && may_be_stored(ctx, engine, digest) {
        follow(ctx, engine);
    }
    engine.contains(digest).then_some(digest)
}

/// Whether the store may hold a script that the engine lacks. In constant time.
fn may_be_stored(ctx: Ctx, engine: &mut Engine, digest: Digest) -> bool {
    if settings::INTERCEPT.get() == 1 && !watch::is_watching() {
        // The filter looks at commands anyway. From now on a miss costs nothing until the store changes.
        follow(ctx, engine);
    }
    !is_up_to_date(ctx) && server_list::has(ctx, &library::name(digest))
}

/// Whether the engine is known to know what the store holds.
fn is_up_to_date(ctx: Ctx) -> bool {
    watch::is_watching() && !watch::may_have_changed(ctx, Follower::Scripts)
}

/// Makes the engine know what the store holds, if others may have changed it since.
pub fn follow(ctx: Ctx, engine: &mut Engine) {
    watch::start(ctx);
    if !is_up_to_date(ctx) {
        reconcile(ctx, engine);
    }
}

/// A FUNCTION command of the master is on its way, and runs at once. Whether it changes one of our libraries, and nothing else: then the
/// engine knows it now. Thousands of scripts come so, and the store is not gone through for each.
pub fn arrives(words: &[&[u8]]) -> bool {
    let Ok(mut scripting) = scripting::engine() else { return false };
    match words {
        [_, verb, .., code] if verb.eq_ignore_ascii_case(b"LOAD") => {
            library::script(code).is_some_and(|(digest, source)| scripting.engine.adopt(digest, source))
        }
        [_, verb, name] if verb.eq_ignore_ascii_case(b"DELETE") => {
            library::digest(name).inspect(|digest| scripting.engine.set_evictable(*digest)).is_some()
        }
        _ => false,
    }
}

/// Makes the engine know what the store holds, whether it changed or not. Takes time in the number of libraries, and reads all of ours: a name says nothing about what
/// is in a library.
pub fn reconcile(ctx: Ctx, engine: &mut Engine) {
    watch::take_changed(ctx, Follower::Scripts);
    let codes = server_list::codes(ctx, library::PATTERN.as_bytes());
    let libraries = codes.libraries();
    let scripts = libraries.iter().filter_map(|library| library::script(library.code));
    let stored: HashSet<Digest> =
        scripts.filter(|&(digest, source)| engine.adopt(digest, source)).map(|(digest, _)| digest).collect();
    engine.set_stored(&stored);
}

/// Compiles a script, and stores it unless it is stored or this is a replica, whose store is its master's.
pub fn load(ctx: Ctx, scripting: &mut Scripting, source: &[u8]) -> Result<Digest> {
    let Scripting { engine, store, .. } = scripting;
    let digest = engine.load(source)?;
    match ctx.moment() {
        Moment::Now => keep_or_say(ctx, engine, store, digest, source),
        Moment::Later if engine.is_stored(digest) && is_up_to_date(ctx) => {}
        Moment::Later => store_later(ctx, store, digest),
        Moment::Never => {}
    }
    Ok(digest)
}

/// Stores a script that was loaded while writes were paused, at the end of the pause.
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
    if store.follows && store.waiting.len() < MOST_WAITING {
        store.waiting.push(digest);
    } else {
        store.refuse(ctx, digest, &Refusal::Paused);
    }
}

/// Called from time to time, while no script runs.
fn store_waiting(ctx: Ctx) {
    let Ok(mut scripting) = scripting::engine() else { return };
    let Scripting { engine, store, .. } = &mut *scripting;
    if store.waiting.is_empty() || ctx.moment() == Moment::Later {
        return;
    }
    for digest in std::mem::take(&mut store.waiting) {
        // What was forgotten meanwhile, or is a replica's now, is not stored.
        let source = engine.source(digest).filter(|_| ctx.moment() == Moment::Now).map(<[u8]>::to_vec);
        if let Some(source) = source {
            keep_or_say(ctx, engine, store, digest, &source);
        }
    }
}

fn keep_or_say(ctx: Ctx, engine: &mut Engine, store: &mut Store, digest: Digest, source: &[u8]) {
    if let Err(refusal) = keep(ctx, engine, digest, source) {
        store.refuse(ctx, digest, &refusal);
    }
}

/// Stores a script that the engine knows, unless it is stored. Does not rely on what the engine knows of the store, which may be old: the
/// server refuses what is there.
fn keep(ctx: Ctx, engine: &mut Engine, digest: Digest, source: &[u8]) -> std::result::Result<(), Refusal> {
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

/// Whether the memory of the stored scripts stays within its limit. What is stored already needs no room.
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

/// Deletes every library that carries a script, unless this is a replica, and forgets all scripts.
pub fn flush(ctx: Ctx, engine: &mut Engine) -> Result<()> {
    let is_replica = ctx.flags().is_replica();
    let deleted = if is_replica { Ok(()) } else { delete_all(ctx, engine) };
    engine.flush()?;
    if is_replica || deleted.is_err() {
        // What is still stored is found again when it is used.
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

/// [`reconcile`], after an event. While a script runs the engine is not to be had, and nothing is lost.
pub fn refresh(ctx: Ctx) {
    if let Ok(mut scripting) = scripting::engine() {
        reconcile(ctx, &mut scripting.engine);
    }
}
