//! Moments at which the server's function store may hold other scripts than the engine knows: data was loaded, or the role changed.

use redis_module::raw;

use crate::error::{Result, guarded};
use crate::scripting::library_store::watch;
use crate::scripting::script_store;
use crate::server::events;
use crate::server::module_api::Ctx;

/// Subscribes to them, and looks for the first time: the module may have been loaded into a server that runs.
pub fn start(ctx: Ctx) {
    // Every server since 6.0 has these events; without them the engine would only learn later what is stored.
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_LOADING, |ctx, sub, _| on_loading(ctx, sub));
    // A master's scripts came one by one, unnoticed.
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, |ctx, _, _| refresh(ctx));
    let _ = guarded(|| refresh(ctx));
}

/// The server loads an RDB file, an AOF or its master's data; with the latter, the master's scripts.
fn on_loading(ctx: Ctx, sub: u64) -> Result<()> {
    let ended = [raw::REDISMODULE_SUBEVENT_LOADING_ENDED, raw::REDISMODULE_SUBEVENT_LOADING_FAILED].contains(&sub);
    if ended { refresh(ctx) } else { Ok(()) }
}

fn refresh(ctx: Ctx) -> Result<()> {
    watch::note_change();
    script_store::refresh(ctx);
    Ok(())
}
