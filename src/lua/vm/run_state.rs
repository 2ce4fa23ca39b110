//! The state of one run. [`Context::with_run`](super::context::Context::with_run) resets it at the start.
//!
//! C functions reach it through the `Context`, by a shared reference, so every field is a cell.

use std::cell::Cell;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use super::random::Lrand48;
use super::task::{EntryPoint, Failure, Registered, Task};
use crate::error::Error;
use crate::lua::api::cjson::Settings;
use crate::lua::declaration::Declaration;
use crate::lua::limits::Termination;
use crate::lua::port::{Port, Protocol, Replication, ReplySink};

/// The time in which the code of a library must register its functions, as in Redis.
pub(in crate::lua) const LOAD_TIME: Duration = Duration::from_millis(500);

/// The engine recognizes the first keys of a run when they are arguments of a command. This is how many.
pub(in crate::lua) const KNOWN_KEYS: usize = 8;

/// See the module's documentation.
pub(in crate::lua) struct RunState {
    /// The protocol that the script speaks.
    pub protocol: Cell<Protocol>,
    /// Where its writes go.
    pub replication: Cell<Replication>,
    /// The generator of `math.random`; `None` until the run uses it.
    pub random: Cell<Option<Lrand48>>,
    /// The settings of the table `cjson`.
    pub json: Cell<Settings>,
    /// Calls carry the line of the script.
    pub lines: Cell<bool>,
    /// The addresses of the first strings of `KEYS`.
    pub keys: Cell<[*const u8; KNOWN_KEYS]>,
    /// `setfenv` changed the globals of a function, or of the thread.
    pub rebound: Cell<bool>,
    /// The functions that the code under load has registered.
    pub registered: Cell<Vec<Registered>>,
    /// The commands that the file under load has declared: one for each registered function, in that order.
    pub declared: Cell<Vec<Declaration>>,
    /// The error that ended the run.
    pub failure: Cell<Failure>,
    /// Counts comparisons of a sort, which calls no Lua.
    pub pace: Cell<u8>,
    /// When the load started, if the run loads code.
    pub(super) load_started: Cell<Option<Instant>>,
    /// Why the run was terminated, if it was. Stays until the next run or compilation.
    pub(super) ended: Cell<Option<Termination>>,
    /// No client can kill this run.
    pub(super) unreachable: Cell<bool>,
    /// The panic of port or sink.
    pub(super) panic: Cell<Option<Error>>,
    /// Absent outside a run, and while it is in use.
    pub(super) port: Cell<Option<NonNull<dyn Port>>>,
    pub(super) sink: Cell<Option<NonNull<dyn ReplySink>>>,
    /// Absent outside a run.
    pub(super) task: Cell<Option<NonNull<Task<'static>>>>,
}

impl RunState {
    pub fn new() -> Self {
        Self {
            protocol: Cell::default(),
            replication: Cell::new(Replication::ALL),
            random: Cell::new(None),
            json: Cell::default(),
            lines: Cell::new(false),
            keys: Cell::new([ptr::null(); KNOWN_KEYS]),
            rebound: Cell::new(false),
            registered: Cell::default(),
            declared: Cell::default(),
            failure: Cell::default(),
            pace: Cell::new(0),
            load_started: Cell::new(None),
            ended: Cell::new(None),
            unreachable: Cell::new(false),
            panic: Cell::new(None),
            port: Cell::new(None),
            sink: Cell::new(None),
            task: Cell::new(None),
        }
    }

    /// Whether a run is under way.
    pub fn is_running(&self) -> bool {
        self.task.get().is_some()
    }

    /// Whether the run loads code.
    pub fn is_loading(&self) -> bool {
        self.is_running() && self.load_started.get().is_some()
    }

    /// Sets what a run starts with.
    pub(super) fn reset(&self, entry: EntryPoint) {
        self.panic.set(None);
        self.failure.take();
        self.rebound.set(false);
        self.keys.set([ptr::null(); KNOWN_KEYS]);
        self.take_loaded();
        self.load_started.set(matches!(entry, EntryPoint::Library(..)).then(Instant::now));
        self.ended.set(None);
        self.unreachable.set(false);
        self.protocol.set(Protocol::Resp2);
        self.replication.set(Replication::ALL);
        self.random.set(None);
        self.json.set(Settings::default());
    }

    /// Takes the functions and the commands that the code under load has registered.
    pub(super) fn take_loaded(&self) -> (Vec<Registered>, Vec<Declaration>) {
        (self.registered.take(), self.declared.take())
    }
}
