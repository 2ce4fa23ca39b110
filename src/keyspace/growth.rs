//! Whether a write may take memory while the server uses more than it may (`maxmemory`).
//!
//! The server refuses a command with the flag `deny-oom` whole. A command that frees or finishes something in one form and grows in
//! another has no such flag, and asks here for the forms that grow. The answer is the server's own: it is that of the start of the command,
//! of the transaction or of the script, after eviction. Whoever has no limit pays one load of a number.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::Keyspace;
use crate::error::{Error, Result};
use crate::server::call::CallReply;
use crate::server::events;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use redis_module::raw;

/// The refusal, in the server's words.
pub const OUT_OF_MEMORY: Error = Error::Text("OOM command not allowed when used memory > 'maxmemory'.");

const UNKNOWN: u8 = 0;
const UNLIMITED: u8 = 1;
const LIMITED: u8 = 2;

/// Whether the server has a limit, as far as that is known.
static LIMIT: AtomicU8 = AtomicU8::new(UNKNOWN);
/// Whether the server tells when its settings change.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// A script of ours runs a command that may grow whatever the server says: it has written before, or declares `allow-oom`.
static EXEMPT: AtomicBool = AtomicBool::new(false);

/// Follows the server's settings from now on.
pub fn watch(ctx: Ctx) {
    LIMIT.store(UNKNOWN, Ordering::Relaxed);
    let watched = events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |_, _, _| {
        LIMIT.store(UNKNOWN, Ordering::Relaxed);
        Ok(())
    });
    WATCHED.store(watched.is_ok(), Ordering::Relaxed);
}

/// Runs a command of a script, with leave to grow or without: as in the server's own scripts, that is for one that has written, or says so.
pub fn exempt<R>(exempt: bool, run: impl FnOnce() -> R) -> R {
    /// Ends the exemption, also by a panic.
    struct End(bool);
    impl Drop for End {
        fn drop(&mut self) {
            EXEMPT.store(self.0, Ordering::Relaxed);
        }
    }
    let _end = End(EXEMPT.swap(exempt, Ordering::Relaxed));
    run()
}

/// What a form of a command can add to the keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It may add a key, or make one larger.
    Any,
    /// It may add a key; one that is there stays about as large as it is.
    NewKey,
}

impl Keyspace {
    /// Refuses what grows while the server is out of memory. To be asked before the key is opened.
    pub fn admit(&self, growth: Growth, key: Str<'_>) -> Result<()> {
        let ctx = self.ctx();
        if !is_limited(ctx) || EXEMPT.load(Ordering::Relaxed) || !ctx.flags().is_out_of_memory() {
            return Ok(());
        }
        if growth == Growth::NewKey && self.exists(key) {
            return Ok(());
        }
        if refuses_growth(ctx, key) { Err(OUT_OF_MEMORY) } else { Ok(()) }
    }
}

fn is_limited(ctx: Ctx) -> bool {
    match LIMIT.load(Ordering::Relaxed) {
        UNKNOWN => {
            let limited = ctx.info_field(c"memory", c"maxmemory").is_none_or(|limit| limit != "0");
            if WATCHED.load(Ordering::Relaxed) {
                LIMIT.store(if limited { LIMITED } else { UNLIMITED }, Ordering::Relaxed);
            }
            limited
        }
        known => known == LIMITED,
    }
}

/// Whether the server would refuse a command that can grow. Asked with one that changes nothing: an empty write at any place. Where that
/// was renamed, the memory in use decides alone, and that is too much.
fn refuses_growth(ctx: Ctx, key: Str<'_>) -> bool {
    let (zero, empty) = (OwnedStr::new(b"0"), OwnedStr::new(b""));
    let reply = CallReply::with(ctx, c"SETRANGE", c"vME", &[key, zero.as_str(), empty.as_str()]);
    [b"-OOM".as_slice(), b"-ERR"].iter().any(|refusal| reply.text().starts_with(refusal))
}
