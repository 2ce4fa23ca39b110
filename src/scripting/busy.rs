//! A script that takes long: other clients get `BUSY`, and one of them may end it.
//!
//! While a run lets the server see to other clients, ATOMIC.SCRIPT KILL reaches it through one atomic value: everything else of the
//! engine is borrowed by the run.

use std::ffi::CString;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::Request;
use crate::error::{Error, Result, quoted};
use crate::lua::Digest;
use crate::lua::port::Pause;
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;
use crate::settings;

/// No run lets other clients in.
const NONE: u8 = 0;
/// The run has written nothing.
const KILLABLE: u8 = 1;
/// The run has written.
const DIRTY: u8 = 2;
/// Somebody asked to end the run.
const KILLED: u8 = 3;

static STATE: AtomicU8 = AtomicU8::new(NONE);

/// The function whose run lets other clients in.
static RUNNING: ServerThread<Option<Running>> = ServerThread::new(None);

/// A function that runs.
#[derive(Debug, Clone)]
pub struct Running {
    /// Its name.
    pub name: Vec<u8>,
    /// The command that runs it.
    pub command: Vec<Vec<u8>>,
    /// When it began, about.
    pub since: Instant,
}

/// The function whose run lets this command in.
#[must_use]
pub fn running_function() -> Option<Running> {
    RUNNING.try_borrow_mut()?.clone()
}

/// What runs.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A script.
    Script,
    /// A function of a library, and the command that calls it.
    Function(&'a Request<'a>, &'static str),
    /// A command of a file, by its name.
    Command(&'a [u8]),
}

impl Subject<'_> {
    /// The command that ends it, without its prefix.
    fn killer(self) -> &'static str {
        match self {
            Self::Script | Self::Command(_) => SCRIPT_KILL,
            Self::Function(..) => FUNCTION_KILL,
        }
    }

    fn running(self, since: Instant) -> Option<Running> {
        let Self::Function(request, command) = self else { return None };
        Some(Running { name: request.script.to_vec(), command: request.command(command), since })
    }
}

/// What clients are told while a run lets them in, behind the code. In drop-in mode they may know the server's own words.
fn busy_text(ctx: Ctx, killer: &str) -> String {
    // A Valkey calls itself Redis when it is told to; a Redis has no such setting.
    let valkey = ctx.config("extended-redis-compatibility").is_some_and(|compatible| compatible == "no");
    let (server, prefix) = (if valkey { "Valkey" } else { "Redis" }, if settings::INTERCEPT.get() == 1 { "" } else { "ATOMIC." });
    format!("{server} is busy running a script. You can only call {prefix}{killer} or SHUTDOWN NOSAVE.")
}

/// The refusal of what cannot be done while a script runs.
fn busy_error(ctx: Ctx, killer: &str) -> Error {
    Error::Script(format!("BUSY {}", busy_text(ctx, killer)).into_bytes())
}

/// Refuses to tell of functions while a script runs, as the server does.
pub fn refuse_during_script(ctx: Ctx) -> Result<()> {
    let in_script = lets_others_in() && running_function().is_none();
    if in_script { Err(busy_error(ctx, SCRIPT_KILL)) } else { Ok(()) }
}

/// Ends a script.
pub const SCRIPT_KILL: &str = "SCRIPT KILL";
/// Ends a function.
pub const FUNCTION_KILL: &str = "FUNCTION KILL";

/// Asks to end the run that lets this command in, if it is one that `command` ends.
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

/// Whether a run lets other clients in.
#[must_use]
pub fn lets_others_in() -> bool {
    STATE.load(Ordering::Relaxed) != NONE
}

/// What one run does about other clients.
pub struct Busy<'a> {
    ctx: Ctx,
    subject: Subject<'a>,
    script: Option<Digest>,
    slow: Option<Slow>,
    /// What other clients are told, from the first pause on.
    busy: Option<CString>,
    /// [`RUNNING`] says what this runs.
    shown: bool,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.shown {
            set_running(None);
        }
    }
}

/// A run that takes long, until the log says so.
struct Slow {
    since: Instant,
    threshold: Duration,
    said: bool,
}

impl<'a> Busy<'a> {
    /// Nothing yet.
    pub fn new(ctx: Ctx, subject: Subject<'a>) -> Self {
        Self { ctx, subject, script: None, slow: None, busy: None, shown: false }
    }

    /// The script that runs.
    pub fn watch(&mut self, script: Option<Digest>) {
        self.script = script;
    }

    /// Whether it is a command of a file that runs. What its flags ask for, the server has checked.
    pub fn is_command(&self) -> bool {
        matches!(self.subject, Subject::Command(_))
    }

    /// Lets the server see to other clients.
    pub fn pause(&mut self, wrote: bool) -> Pause {
        self.say_when_slow();
        // Asked each time: the server may have become a replica meanwhile.
        if !may_yield(self.ctx) {
            return Pause::Unreachable;
        }
        STATE.store(if wrote { DIRTY } else { KILLABLE }, Ordering::Relaxed);
        if !self.shown {
            self.shown = true;
            set_running(self.subject.running(self.slow.as_ref().map_or_else(Instant::now, |slow| slow.since)));
        }
        let (ctx, killer) = (self.ctx, self.subject.killer());
        let busy = self.busy.get_or_insert_with(|| CString::new(busy_text(ctx, killer)).unwrap_or_default());
        ctx.yield_to_clients(busy);
        match STATE.swap(NONE, Ordering::Relaxed) {
            KILLED => Pause::Killed(self.subject.killer()),
            _ => Pause::Done,
        }
    }

    /// Logs a run as the server logs its own, once it has taken as long as others then get `BUSY`, counted from its first pause.
    fn say_when_slow(&mut self) {
        let slow = self.slow.get_or_insert_with(|| {
            let threshold = self.ctx.config("busy-reply-threshold").and_then(|value| value.parse().ok()).unwrap_or(5000);
            Slow { since: Instant::now(), threshold: Duration::from_millis(threshold), said: false }
        });
        let elapsed = slow.since.elapsed();
        if slow.said || elapsed < slow.threshold {
            return;
        }
        slow.said = true;
        let what = match self.subject {
            Subject::Function(request, _) => format!("The function is {}", quoted(request.script)),
            Subject::Command(name) => format!("The command is {}", quoted(name)),
            Subject::Script => {
                let sha = self.script.map(|script| String::from_utf8_lossy(&script.hex()).into_owned());
                format!("Its SHA1 is {}", sha.unwrap_or_default())
            }
        };
        let text = format!(
            "slow script: still in execution after {} ms. ATOMIC.{} can end it unless it has written, or runs in MULTI or on a \
             replica. {what}",
            elapsed.as_millis(),
            self.subject.killer()
        );
        self.ctx.log(c"warning", &text);
    }
}

fn set_running(function: Option<Running>) {
    if let Some(mut running) = RUNNING.try_borrow_mut() {
        *running = function;
    }
}

/// The server aborts when other clients are let in during MULTI, its own scripts and the calls of other modules. On a replica it may
/// drop the data under the run when its master sends all of it anew.
fn may_yield(ctx: Ctx) -> bool {
    let flags = ctx.flags();
    !flags.deny_blocking() && !flags.is_replica() && !flags.is_loading() && ctx.has_connection()
}
