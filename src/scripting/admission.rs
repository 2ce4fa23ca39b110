//! Whether a script may start: the checks that the server makes before its own scripts, in the same order and with the same errors.
//!
//! A script's flags become those of the command that runs it, so the server treats a script that may write as a write command. Two
//! checks come with the first write instead, where the server makes them for this module: a failing disk and too few replicas. The
//! module API does not report them.

use std::sync::atomic::{AtomicBool, Ordering};

use redis_module::raw;

use crate::error::{Error, Result};
use crate::lua::port::ScriptFlags;
use crate::server::events;
use crate::server::module_api::Ctx;
use crate::server::state::ContextFlags;

const STALE: Error = Error::Text("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");

/// Whether this server may be a replica without a link to its primary. Cached: asking the server before each run would cost too much.
static MAYBE_STALE: AtomicBool = AtomicBool::new(false);

/// Tracks the link to the primary.
pub fn watch(ctx: Ctx) -> Result<()> {
    MAYBE_STALE.store(ctx.flags().is_stale(), Ordering::Relaxed);
    events::subscribe(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, |_, sub, _| {
        MAYBE_STALE.store(sub == raw::REDISMODULE_EVENT_REPLROLECHANGED_NOW_REPLICA, Ordering::Relaxed);
        Ok(())
    })?;
    events::subscribe(ctx, raw::REDISMODULE_EVENT_MASTER_LINK_CHANGE, |_, sub, _| {
        MAYBE_STALE.store(sub == raw::REDISMODULE_SUBEVENT_MASTER_LINK_DOWN, Ordering::Relaxed);
        Ok(())
    })
}

/// Whether this may be a replica that has lost its primary.
#[must_use]
pub fn may_be_stale() -> bool {
    MAYBE_STALE.load(Ordering::Relaxed)
}

/// Whether this is a replica that has lost its primary and may not serve its data.
fn is_stale(ctx: Ctx, server: ContextFlags) -> bool {
    server.is_stale() && ctx.config("replica-serve-stale-data").is_some_and(|serve| serve == "no")
}

/// Admits a script that declares no flags.
pub fn admit_undeclared(ctx: Ctx) -> Result<()> {
    if may_be_stale() && is_stale(ctx, ctx.flags()) { Err(STALE) } else { Ok(()) }
}

/// Admits a script by the flags that it declares.
pub fn admit(ctx: Ctx, server: ContextFlags, flags: ScriptFlags, read_only: bool) -> Result<()> {
    let refuse = |text| Err(Error::Text(text));
    if !flags.no_writes && !flags.allow_oom && server.is_out_of_memory() {
        return refuse("OOM command not allowed when used memory > 'maxmemory'.");
    }
    if !flags.no_writes && server.is_read_only_replica() {
        return refuse("READONLY You can't write against a read only replica.");
    }
    if !flags.allow_stale && is_stale(ctx, server) {
        return Err(STALE);
    }
    if flags.no_cluster && server.is_cluster() {
        return refuse("ERR Can not run script on cluster, 'no-cluster' flag is set.");
    }
    if !flags.no_writes && read_only {
        return refuse("ERR Can not execute a script with write flag using *_ro command.");
    }
    Ok(())
}
