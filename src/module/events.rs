//! Events after which the server's function store may hold scripts that the engine does not know: a load of data, and a change of role.

use redis_module::raw;

use crate::error::{Result, guarded};
use crate::scripting::library_store::watch;
use crate::scripting::script_store;
use crate::server::events;
use crate::server::module_api::Ctx;

/// Subscribes to the events and reads the store once, since the module may be loaded into a running server.
pub fn start(ctx: Ctx) {
    // Every server since 6.0 has these events. Without them the engine would learn of a script at its first miss.
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_LOADING, |ctx, sub, _| on_loading(ctx, sub));
    // The scripts of the former primary came one by one, without an event.
    let _ = events::subscribe(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, |ctx, _, _| refresh(ctx));
    let _ = guarded(|| refresh(ctx));
}

/// The server has loaded an RDB file, an AOF or its primary's data, which includes scripts.
fn on_loading(ctx: Ctx, sub: u64) -> Result<()> {
    let ended = [raw::REDISMODULE_SUBEVENT_LOADING_ENDED, raw::REDISMODULE_SUBEVENT_LOADING_FAILED].contains(&sub);
    if ended { refresh(ctx) } else { Ok(()) }
}

fn refresh(ctx: Ctx) -> Result<()> {
    watch::note_change();
    script_store::refresh(ctx);
    Ok(())
}
