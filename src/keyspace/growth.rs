//! Refuses writes that add memory while the server uses more than `maxmemory`.
//!
//! The server refuses a command with the flag `deny-oom` in all its forms. A command that frees memory in one form and adds some in
//! another has no such flag, and asks here in the forms that add. The answer is the server's own, as of the start of the command, the
//! transaction or the script, after eviction. Without a memory limit the check costs one load of a number.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use redis_module::raw;

use super::Keyspace;
use crate::error::{Error, Result};
use crate::server::call::CallReply;
use crate::server::events;
use crate::server::module_api::{Ctx, OwnedStr, Str};

/// The server's own error.
pub const OUT_OF_MEMORY: Error = Error::Text("OOM command not allowed when used memory > 'maxmemory'.");

const UNKNOWN: u8 = 0;
const UNLIMITED: u8 = 1;
const LIMITED: u8 = 2;

/// Whether the server has a memory limit.
static LIMIT: AtomicU8 = AtomicU8::new(UNKNOWN);
/// Whether the server reports changes of its settings.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// The [`Limit`] in force, as a number.
static IN_FORCE: AtomicU8 = AtomicU8::new(AT_START);
const AT_START: u8 = 0;
const EXEMPT: u8 = 1;
const NOW: u8 = 2;

/// How a command that may add memory is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// By the server's memory at the start of the command, the transaction or the script.
    AtStart,
    /// Not at all.
    Exempt,
    /// By the server's memory at this moment.
    Now,
}

/// Subscribes to changes of the server's settings.
pub fn watch(ctx: Ctx) {
    LIMIT.store(UNKNOWN, Ordering::Relaxed);
    let watched = events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |_, _, _| {
        LIMIT.store(UNKNOWN, Ordering::Relaxed);
        Ok(())
    });
    WATCHED.store(watched.is_ok(), Ordering::Relaxed);
}

/// Runs a command of a script under this limit. As in the server's own engine, a script is exempt once it has written, or if it declares
/// so; a setting limits each of its writes instead.
pub fn within<R>(limit: Limit, run: impl FnOnce() -> R) -> R {
    /// Ends the limit, also on a panic.
    struct End(u8);
    impl Drop for End {
        fn drop(&mut self) {
            IN_FORCE.store(self.0, Ordering::Relaxed);
        }
    }
    let number = match limit {
        Limit::AtStart => AT_START,
        Limit::Exempt => EXEMPT,
        Limit::Now => NOW,
    };
    let _end = End(IN_FORCE.swap(number, Ordering::Relaxed));
    run()
}

/// Whether a script runs a command that may always add memory.
#[must_use]
pub fn is_exempt() -> bool {
    IN_FORCE.load(Ordering::Relaxed) == EXEMPT
}

/// The ways in which a form of a command can add memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    /// It may add a key, or enlarge an existing one.
    Any,
    /// It may add a key, but keeps the size of an existing one about the same.
    NewKey,
}

impl Keyspace {
    /// Refuses growth while the server is out of memory. Must be called before the key is opened.
    pub fn admit(&self, growth: Growth, key: Str<'_>) -> Result<()> {
        let ctx = self.ctx();
        if !is_limited(ctx) || is_exempt() || !ctx.flags().is_out_of_memory() {
            return Ok(());
        }
        if growth == Growth::NewKey && self.exists(key) {
            return Ok(());
        }
        if IN_FORCE.load(Ordering::Relaxed) == NOW {
            return Err(OUT_OF_MEMORY);
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

/// Whether the server would refuse a command that adds memory. Asks with a command that changes nothing: an empty SETRANGE. If SETRANGE
/// was renamed, the answer is yes, since memory use is known to exceed the limit.
fn refuses_growth(ctx: Ctx, key: Str<'_>) -> bool {
    let (zero, empty) = (OwnedStr::new(b"0"), OwnedStr::new(b""));
    let reply = CallReply::with(ctx, c"SETRANGE", c"vME", &[key, zero.as_str(), empty.as_str()]);
    [b"-OOM".as_slice(), b"-ERR"].iter().any(|refusal| reply.text().starts_with(refusal))
}
