//! One run of a script, a registered function or a scripted command: the same steps for all three.

use std::time::{Duration, Instant};

use super::numbers::text::NumberText;
use super::port::{Port, ReplySink, Rules, ScriptFlags, Strings};
use super::stats::RunCounters;
use super::vm::Vm;
use super::vm::task::{EntryPoint, RunName, Task};
use crate::error::Result;

/// The arguments of a run, and the conditions that hold for it.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// The global `KEYS`.
    pub keys: &'a dyn Strings,
    /// The global `ARGV`.
    pub args: &'a dyn Strings,
    /// Writes are refused.
    pub read_only: bool,
    /// How numbers become text.
    pub numbers: NumberText,
    /// The server's engine can run a script that does not compile here, or that is Lua 5.1 and means something else here. Such a
    /// script is [`Error::LeftToServer`](crate::error::Error::LeftToServer).
    pub leaves: bool,
}

/// The code that a run calls.
pub(super) struct Callee<'a> {
    pub entry: EntryPoint,
    pub name: RunName<'a>,
    pub flags: Option<ScriptFlags>,
}

impl Run<'_> {
    /// Asks the port to admit the run, runs the code, and counts the run. Writes one complete reply, or nothing if the result is
    /// an error.
    // A call of this function, with all of its parameters, costs one hundredth of an empty run.
    #[inline(always)]
    pub(super) fn execute(
        &self,
        vm: &mut Vm,
        callee: &Callee<'_>,
        counters: &mut RunCounters,
        port: &mut dyn Port,
        reply: &mut dyn ReplySink,
    ) -> Result<()> {
        let started = Instant::now();
        let digest = match callee.name {
            RunName::Script(digest) => Some(digest),
            _ => None,
        };
        let task = Task { entry: callee.entry, keys: self.keys, args: self.args, numbers: self.numbers };
        let admitted = port.begin(Rules { flags: callee.flags, read_only: self.read_only, digest });
        let result = admitted.and_then(|()| vm.run(task, callee.name, port, Some(reply)));
        counters.add(started.elapsed(), result.is_err());
        counters.add_undeclared(port.undeclared());
        result
    }
}

/// Whether code is worth machine code: it computes. A run that mostly waits for commands is short and gains nothing.
pub(super) fn is_worth_native_code(counters: &RunCounters, source_bytes: usize) -> bool {
    const ENOUGH: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_micros(20);
    /// Compiling a source of this length takes some milliseconds and cannot be interrupted.
    const MOST_BYTES: usize = 64 << 10;
    source_bytes <= MOST_BYTES && counters.total() >= ENOUGH && counters.mean() >= LONG
}
