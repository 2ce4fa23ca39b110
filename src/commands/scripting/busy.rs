//! A script that takes long: other clients get `BUSY`, and one of them may end it.
//!
//! While a run lets the server see to other clients, ATOMIC.SCRIPT KILL reaches it through one atomic value: everything else of the
//! engine is borrowed by the run.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::filter;
use crate::error::{Error, Result};
use crate::keyspace::module_api::Ctx;
use crate::script::Digest;
use crate::script::port::Pause;

/// No run lets other clients in.
const NONE: u8 = 0;
/// The run has written nothing.
const KILLABLE: u8 = 1;
/// The run has written.
const DIRTY: u8 = 2;
/// Somebody asked to end the run.
const KILLED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(NONE);

/// Asks to end the run that lets this command in.
pub fn kill() -> Result<()> {
    match STATE.load(Ordering::Relaxed) {
        KILLABLE | KILLED => {
            STATE.store(KILLED, Ordering::Relaxed);
            Ok(())
        }
        DIRTY => Err(Error::Text(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
             termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        )),
        _ => Err(Error::Text("NOTBUSY No scripts in execution right now.")),
    }
}

/// Whether a run lets other clients in.
#[must_use]
pub fn lets_others_in() -> bool {
    STATE.load(Ordering::Relaxed) != NONE
}

/// What one run does about other clients.
pub struct Busy {
    ctx: Ctx,
    script: Option<Digest>,
    slow: Option<Slow>,
}

/// A run that takes long, until the log says so.
struct Slow {
    since: Instant,
    threshold: Duration,
    said: bool,
}

impl Busy {
    /// Nothing yet.
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx, script: None, slow: None }
    }

    /// The script that runs.
    pub fn watch(&mut self, script: Digest) {
        self.script = Some(script);
    }

    /// Lets the server see to other clients.
    pub fn pause(&mut self, wrote: bool) -> Pause {
        self.say_when_slow();
        // Asked each time: the server may have become a replica meanwhile.
        if !may_yield(self.ctx) {
            return Pause::Unreachable;
        }
        STATE.store(if wrote { DIRTY } else { KILLABLE }, Ordering::Relaxed);
        self.ctx.yield_to_clients(why());
        match STATE.swap(NONE, Ordering::Relaxed) {
            KILLED => Pause::Killed,
            _ => Pause::Done,
        }
    }

    /// Logs a run as the server logs its own, once it has taken as long as others then get `BUSY`, counted from its first pause.
    fn say_when_slow(&mut self) {
        let slow = self.slow.get_or_insert_with(|| {
            let threshold = self.ctx.config(b"busy-reply-threshold").and_then(|value| value.parse().ok()).unwrap_or(5000);
            Slow { since: Instant::now(), threshold: Duration::from_millis(threshold), said: false }
        });
        let elapsed = slow.since.elapsed();
        if slow.said || elapsed < slow.threshold {
            return;
        }
        slow.said = true;
        let sha = self.script.map(|script| String::from_utf8_lossy(&script.hex()).into_owned()).unwrap_or_default();
        let text = format!(
            "slow script: still in execution after {} ms. ATOMIC.SCRIPT KILL can end it unless it has written, or runs in MULTI or on a replica. Its SHA1 is {sha}",
            elapsed.as_millis()
        );
        self.ctx.log(c"warning", &text);
    }
}

/// What others are told. In drop-in mode their clients may know the server's own words.
fn why() -> &'static CStr {
    if filter::is_intercepting() {
        c"Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
    } else {
        c"Redis is busy running a script. You can only call ATOMIC.SCRIPT KILL or SHUTDOWN NOSAVE."
    }
}

/// The server aborts when other clients are let in during MULTI, its own scripts and the calls of other modules. On a replica it may
/// drop the data under the run when its master sends all of it anew.
fn may_yield(ctx: Ctx) -> bool {
    let flags = ctx.flags();
    !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading() && ctx.has_connection()
}
