//! A slow script: other clients get `BUSY`, and one of them may kill it.
//!
//! While a run yields to other clients, ATOMIC.SCRIPT KILL reaches it through one atomic value, because the run has borrowed the rest
//! of the engine.

use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Request;
use crate::error::{Error, Result, quoted};
use crate::lua::Digest;
use crate::lua::port::Pause;
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;
use crate::settings;

/// No run yields to other clients.
const NONE: u8 = 0;
/// The run yields and has written nothing.
const KILLABLE: u8 = 1;
/// The run yields and has written.
const DIRTY: u8 = 2;
/// A client asked to kill the run.
const KILLED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(NONE);

/// The function whose run yields to other clients.
static RUNNING: ServerThread<Option<RunningFunction>> = ServerThread::new(None);

#[derive(Debug, Clone)]
pub struct RunningFunction {
    pub name: Vec<u8>,
    /// The command that called it, word by word.
    pub command: Vec<Vec<u8>>,
    /// When it first paused, roughly its start.
    pub since: Instant,
}

/// The function whose run yields to this command.
#[must_use]
pub fn running_function() -> Option<RunningFunction> {
    RUNNING.try_borrow_mut()?.clone()
}

/// The code that runs.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    Script,
    /// A library function, and the command that calls it.
    Function(&'a Request<'a>, &'static CStr),
    /// A scripted command, by its name.
    Command(&'a [u8]),
}

impl Subject<'_> {
    /// The command that kills it, without its prefix.
    fn kill_command(self) -> &'static str {
        match self {
            Self::Script | Self::Command(_) => SCRIPT_KILL,
            Self::Function(..) => FUNCTION_KILL,
        }
    }

    fn running(self, since: Instant) -> Option<RunningFunction> {
        let Self::Function(request, command) = self else { return None };
        Some(RunningFunction { name: request.script.to_vec(), command: request.command(command), since })
    }
}

/// The text of the BUSY error, after its code. In drop-in mode, clients may use the server's own command.
fn busy_text(ctx: Ctx, kill_command: &str) -> String {
    // A Valkey calls itself Redis when it is told to; a Redis has no such setting.
    let valkey = ctx.config("extended-redis-compatibility").is_some_and(|compatible| compatible == "no");
    let (server, prefix) = (if valkey { "Valkey" } else { "Redis" }, if settings::INTERCEPT.get() == 1 { "" } else { "ATOMIC." });
    format!("{server} is busy running a script. You can only call {prefix}{kill_command} or SHUTDOWN NOSAVE.")
}

/// The error for a command that cannot run while a script runs.
fn busy_error(ctx: Ctx, kill_command: &str) -> Error {
    Error::Script(format!("BUSY {}", busy_text(ctx, kill_command)).into_bytes())
}

/// Refuses to report on functions while a script runs, as the server does.
pub fn refuse_during_script(ctx: Ctx) -> Result<()> {
    let in_script = is_yielding() && running_function().is_none();
    if in_script { Err(busy_error(ctx, SCRIPT_KILL)) } else { Ok(()) }
}

pub const SCRIPT_KILL: &str = "SCRIPT KILL";
pub const FUNCTION_KILL: &str = "FUNCTION KILL";

/// Asks the run that yields to this command to end, if `command` is the right one for it.
pub fn kill(ctx: Ctx, command: &str) -> Result<()> {
    let subject = if running_function().is_some() { FUNCTION_KILL } else { SCRIPT_KILL };
    match STATE.load(Ordering::Relaxed) {
        KILLABLE | KILLED if subject == command => {
            STATE.store(KILLED, Ordering::Relaxed);
            Ok(())
        }
        KILLABLE | KILLED => Err(busy_error(ctx, subject)),
        DIRTY => Err(Error::Text(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script \
             termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        )),
        _ => Err(Error::Text("NOTBUSY No scripts in execution right now.")),
    }
}

/// Whether a run is yielding to other clients.
#[must_use]
pub fn is_yielding() -> bool {
    STATE.load(Ordering::Relaxed) != NONE
}

/// How one run yields to other clients.
pub struct Busy<'a> {
    ctx: Ctx,
    subject: Subject<'a>,
    script: Option<Digest>,
    slow: Option<SlowRun>,
    /// The text of `BUSY`, from the first pause on.
    busy: Option<CString>,
    /// Whether [`RUNNING`] shows this run.
    shown: bool,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.shown {
            set_running(None);
        }
    }
}

/// A run that has paused, and whether the log has reported it.
struct SlowRun {
    since: Instant,
    threshold: Duration,
    logged: bool,
}

impl<'a> Busy<'a> {
    pub fn new(ctx: Ctx, subject: Subject<'a>) -> Self {
        Self { ctx, subject, script: None, slow: None, busy: None, shown: false }
    }

    /// Sets the script that runs.
    pub fn set_script(&mut self, script: Option<Digest>) {
        self.script = script;
    }

    /// Whether a scripted command runs. The server has already checked its flags.
    pub fn is_scripted_command(&self) -> bool {
        matches!(self.subject, Subject::Command(_))
    }

    /// Lets the server serve other clients.
    pub fn pause(&mut self, wrote: bool) -> Pause {
        self.log_if_slow();
        // Checked at each pause: the server may have become a replica since the last one.
        if !can_yield(self.ctx) {
            return Pause::Unreachable;
        }
        STATE.store(if wrote { DIRTY } else { KILLABLE }, Ordering::Relaxed);
        if !self.shown {
            self.shown = true;
            set_running(self.subject.running(self.slow.as_ref().map_or_else(Instant::now, |slow| slow.since)));
        }
        let (ctx, kill_command) = (self.ctx, self.subject.kill_command());
        let busy = self.busy.get_or_insert_with(|| CString::new(busy_text(ctx, kill_command)).unwrap_or_default());
        ctx.yield_to_clients(busy);
        match STATE.swap(NONE, Ordering::Relaxed) {
            KILLED => Pause::Killed(self.subject.kill_command()),
            _ => Pause::Done,
        }
    }

    /// The code that runs, for a line in the log.
    pub fn describe(&self) -> String {
        match self.subject {
            Subject::Function(request, _) => format!("The function is {}", quoted(request.script)),
            Subject::Command(name) => format!("The command is {}", quoted(name)),
            Subject::Script => {
                let sha = self.script.map(|script| String::from_utf8_lossy(&script.hex()).into_owned());
                format!("Its SHA1 is {}", sha.unwrap_or_default())
            }
        }
    }

    /// Logs a slow run once, as the server logs its own: after `busy-reply-threshold` ms from its first pause.
    fn log_if_slow(&mut self) {
        let slow = self.slow.get_or_insert_with(|| {
            let threshold = self.ctx.config("busy-reply-threshold").and_then(|value| value.parse().ok()).unwrap_or(5000);
            SlowRun { since: Instant::now(), threshold: Duration::from_millis(threshold), logged: false }
        });
        let elapsed = slow.since.elapsed();
        if slow.logged || elapsed < slow.threshold {
            return;
        }
        slow.logged = true;
        let what = self.describe();
        let text = format!(
            "slow script: still in execution after {} ms. ATOMIC.{} can end it unless it has written, or runs in MULTI or on a \
             replica. {what}",
            elapsed.as_millis(),
            self.subject.kill_command()
        );
        self.ctx.log(c"warning", &text);
    }
}

fn set_running(function: Option<RunningFunction>) {
    if let Some(mut running) = RUNNING.try_borrow_mut() {
        *running = function;
    }
}

/// Yielding during MULTI, in one of the server's own scripts or in a call from another module aborts the server. On a replica, a full
/// resynchronization may replace the data under the run.
fn can_yield(ctx: Ctx) -> bool {
    let flags = ctx.flags();
    !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading() && ctx.has_connection()
}
