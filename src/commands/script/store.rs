//! Where the engine and the server's function store meet: loaded scripts outlive the process as libraries that carry their text.
//!
//! What the engine knows of the store may be old: others change it, with FUNCTION FLUSH or over a replication link, and nobody says so. So
//! nothing relies on it. A script that the engine lacks is looked up before it counts as unknown; one that the store lacks is stored
//! again when it is loaded again; [`reconcile`] makes both agree where it matters what there is.

use std::collections::HashSet;

use redis_module::raw;

use crate::commands::scripting::{self, Scripting};
use crate::error::Result;
use crate::keyspace::module_api::Ctx;
use crate::keyspace::server::Moment;
use crate::keyspace::{libraries, server_events};
use crate::script::{Digest, EVICTABLE_SCRIPTS, Engine, library};
use crate::settings;

/// What was not stored.
#[derive(Default)]
pub struct Store {
    refused: u64,
    said: bool,
    /// Scripts that were loaded while writes were paused, to be stored afterwards.
    waiting: Vec<Digest>,
    /// Whether the end of a pause is waited for.
    follows: bool,
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

    /// Counts a script that is not stored. Only the first is logged: LOAD is a client's to call, the log is the operator's.
    fn refuse(&mut self, ctx: Ctx, why: &str) {
        if !self.said {
            self.said = true;
            ctx.log(c"warning", &format!("a script was loaded but not stored, and so can be evicted (said once): {why}"));
        }
        self.refused = self.refused.saturating_add(1);
    }
}

/// The digest of a script that the engine knows, or has just read from its library. Writes nothing.
pub fn find(ctx: Ctx, engine: &mut Engine, sha: &[u8]) -> Option<Digest> {
    let digest = Digest::parse(sha)?;
    (engine.contains(digest) || adopt(ctx, engine, digest)).then_some(digest)
}

/// Which of the scripts the engine knows, or has just read from their libraries. Asks the server once, however many are unknown.
pub fn find_all<'a>(ctx: Ctx, engine: &mut Engine, shas: impl Iterator<Item = &'a [u8]>) -> Vec<bool> {
    let digests: Vec<Option<Digest>> = shas.map(Digest::parse).collect();
    let mut unknown = digests.iter().flatten().filter(|digest| !engine.contains(**digest));
    match (unknown.next().copied(), unknown.next()) {
        (None, _) => {}
        (Some(digest), None) => drop(adopt(ctx, engine, digest)),
        (Some(_), Some(_)) => reconcile(ctx, engine),
    }
    digests.into_iter().map(|digest| digest.is_some_and(|digest| engine.contains(digest))).collect()
}

/// Reads one script from its library; false when there is none.
fn adopt(ctx: Ctx, engine: &mut Engine, digest: Digest) -> bool {
    let listing = libraries::codes(ctx, &library::name(digest));
    let found =
        listing.libraries().iter().find_map(|library| library::script(library.code).filter(|(found, _)| *found == digest));
    found.is_some_and(|(_, source)| engine.adopt(digest, source))
}

/// Makes the engine know what the store holds. The libraries' code is only asked for when there is one that the engine has not seen.
pub fn reconcile(ctx: Ctx, engine: &mut Engine) {
    let names = libraries::names(ctx, library::PATTERN.as_bytes());
    let mut stored: HashSet<Digest> = names.libraries().iter().filter_map(|library| library::digest(library.name)).collect();
    // A name says nothing about what is in a library, unless we have seen that.
    if !stored.iter().all(|digest| engine.is_stored(*digest)) {
        let codes = libraries::codes(ctx, library::PATTERN.as_bytes());
        let libraries = codes.libraries();
        let scripts = libraries.iter().filter_map(|library| library::script(library.code));
        stored = scripts.filter(|&(digest, source)| engine.adopt(digest, source)).map(|(digest, _)| digest).collect();
    }
    engine.set_stored(&stored);
}

/// Compiles a script, and stores it unless it is stored or this is a replica, whose store is its master's.
pub fn load(ctx: Ctx, scripting: &mut Scripting, source: &[u8]) -> Result<Digest> {
    let Scripting { engine, store, .. } = scripting;
    let digest = engine.load(source)?;
    if adopt(ctx, engine, digest) {
        return Ok(digest);
    }
    match ctx.moment() {
        Moment::Now => store_now(ctx, engine, store, digest, source),
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
        let followed = server_events::subscribe(ctx, raw::REDISMODULE_EVENT_CRON_LOOP, |ctx, _, _| {
            store_waiting(ctx);
            Ok(())
        });
        store.follows = followed.is_ok();
    }
    if store.follows && store.waiting.len() < MOST_WAITING {
        store.waiting.push(digest);
    } else {
        store.refuse(ctx, "writes are paused");
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
        if let Some(source) = source
            && !adopt(ctx, engine, digest)
        {
            store_now(ctx, engine, store, digest, &source);
        }
    }
}

fn store_now(ctx: Ctx, engine: &mut Engine, store: &mut Store, digest: Digest, source: &[u8]) {
    let stored = if has_room(ctx, engine, source) {
        libraries::load(ctx, &library::text(digest, source)).map_err(|error| error.wire())
    } else {
        Err("script-store-max-bytes is reached".to_owned())
    };
    match stored {
        Ok(()) => {
            engine.adopt(digest, source);
        }
        Err(why) => store.refuse(ctx, &why),
    }
}

fn has_room(ctx: Ctx, engine: &mut Engine, source: &[u8]) -> bool {
    let limit = usize::try_from(settings::SCRIPT_STORE_MAX_BYTES.get()).unwrap_or(usize::MAX);
    let fits = |engine: &Engine| engine.stats().cache.stored_bytes.saturating_add(source.len()) <= limit;
    fits(engine) || {
        reconcile(ctx, engine);
        fits(engine)
    }
}

/// Deletes every library that carries a script, unless this is a replica, and forgets all scripts.
pub fn flush(ctx: Ctx, engine: &mut Engine) -> Result<()> {
    let deleted = if ctx.flags().is_replica() { Ok(()) } else { delete_all(ctx, engine) };
    engine.flush()?;
    deleted
}

fn delete_all(ctx: Ctx, engine: &mut Engine) -> Result<()> {
    reconcile(ctx, engine);
    let stored = engine.list().into_iter().filter(|script| script.stored);
    stored.map(|script| libraries::delete(ctx, &library::name(script.digest))).fold(Ok(()), Result::and)
}

/// [`reconcile`], after an event. While a script runs the engine is not to be had, and nothing is lost.
pub fn refresh(ctx: Ctx) {
    if let Ok(mut scripting) = scripting::engine() {
        reconcile(ctx, &mut scripting.engine);
    }
}
