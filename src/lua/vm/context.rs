//! What C functions need besides their Lua stack: the run under way, its port and its sink, and buffers that outlive calls.
//!
//! One `Context` serves all VMs of an engine, one after the other. Everything in it is a cell, because Luau holds a plain
//! pointer to it: it is shared and never borrowed mutably. Code from outside the engine (port and sink) is only ever entered
//! through `with_port` and `with_sink`, which turn a panic into a value, so that none unwinds into Luau.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

use mlua::ffi;

use super::heap::Heap;
use super::random::Lrand48;
use super::stack::Ref;
use crate::lua::convert::Names;
use crate::lua::limits::{Limits, Slot, Verdict, Watchdog};
use crate::lua::loaded::declaration::Declaration;
use crate::lua::numbers::json::Settings;
use crate::lua::numbers::text::NumberText;
use crate::lua::port::{Flags, NativeCommand, Pause, Port, Protocol, Replication, ReplySink, Strings};
use crate::lua::sandbox::library_globals::Tables;
use crate::lua::sandbox::{self, Original};

/// A version as scripts see it: `7.0.15` and `0x0007000f`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `redis.REDIS_VERSION`
    pub text: String,
    /// `redis.REDIS_VERSION_NUM`
    pub number: u32,
}

/// What a script may know of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerVersion {
    /// The version of Redis, or the one that Valkey is compatible with.
    pub redis: Version,
    /// `redis.VALKEY_VERSION` and its number, on a Valkey.
    pub valkey: Option<Version>,
}

/// One run: what runs, and its arguments.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Task<'a> {
    /// What runs.
    pub entry: Entry,
    /// The keys.
    pub keys: &'a dyn Strings,
    /// The other arguments.
    pub args: &'a dyn Strings,
    /// How numbers become text.
    pub numbers: NumberText,
}

/// A compiled function of the VM, by how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Entry {
    /// A script: its arguments are the globals `KEYS` and `ARGV`.
    Script(Ref),
    /// A function of a library: called with the two lists.
    Function(Ref),
    /// The code of a library, which may only register functions. Its argument is the table `redis` that it sees.
    Library(Ref, Ref),
}

/// Text for the compiler.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Source<'a> {
    /// The code.
    pub code: &'a [u8],
    /// Its name in messages, behind an `@`.
    pub name: &'a CStr,
    /// It gets the globals of libraries.
    pub library: bool,
}

impl Source<'_> {
    /// What it is, in the words of Redis.
    pub fn what(&self) -> &'static [u8] {
        if self.library { b"function" } else { b"script (new function)" }
    }
}

/// A function that a library has registered.
#[derive(Debug)]
pub(in crate::lua) struct Registered {
    /// Its name.
    pub name: Box<[u8]>,
    /// The function.
    pub callback: Ref,
    /// What it may do.
    pub flags: Flags,
}

/// So long the code of a library may take to register its functions, as in Redis.
pub(in crate::lua) const LOAD_TIME: Duration = Duration::from_millis(500);

/// So many of the first keys are known again when they are arguments.
pub(in crate::lua) const KNOWN_KEYS: usize = 8;

/// What the error handler saw of the error that ended a run.
#[derive(Default)]
pub(in crate::lua) struct Failure {
    /// The error's text, with its code; empty if no handler ran.
    pub message: Vec<u8>,
    /// `source:line` of the Lua function that failed, or empty.
    pub place: Vec<u8>,
}

/// Options of the Luau compiler. Luau reads the lists through the pointers.
pub(in crate::lua) struct Compiler {
    mutable: Vec<*const c_char>,
    disabled: Vec<*const c_char>,
}

impl Compiler {
    fn new() -> Self {
        let list = |names: &[&'static std::ffi::CStr]| names.iter().map(|n| n.as_ptr()).chain([ptr::null()]).collect();
        Self { mutable: list(sandbox::MUTABLE_GLOBALS), disabled: list(sandbox::NO_FAST_CALL) }
    }

    /// Level 1 optimizes without changing what a script can observe (level 2 inlines). The pointers live as long as `self`.
    pub fn options(&self) -> ffi::lua_CompileOptions {
        let mut options = ffi::lua_CompileOptions::default();
        options.mutableGlobals = self.mutable.as_ptr();
        options.disabledBuiltins = self.disabled.as_ptr();
        options
    }
}

/// The arguments of one `redis.call`, kept so that the usual call allocates nothing.
#[derive(Default)]
pub(in crate::lua) struct Arguments {
    values: Vec<&'static [u8]>,
    digits: Vec<u8>,
    numbers: Vec<(usize, usize)>,
}

impl Arguments {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Adds an argument that outlives this use of the buffer.
    pub fn push(&mut self, value: &'static [u8]) {
        self.values.push(value);
    }

    /// Adds an argument that `write` appends to a buffer.
    pub fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.numbers.push((self.values.len(), self.digits.len()));
        self.values.push(&[]);
        write(&mut self.digits);
    }

    /// Bytes of all arguments.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|value| value.len()).fold(self.digits.len(), usize::saturating_add)
    }

    /// All arguments.
    pub fn values(&mut self) -> &[&[u8]] {
        let mut end = self.digits.len();
        for (index, start) in self.numbers.drain(..).rev() {
            let text: *const [u8] = self.digits.get(start..end).unwrap_or_default();
            if let Some(value) = self.values.get_mut(index) {
                // SAFETY: `digits` does not change before `clear`, which forgets the slices too.
                *value = unsafe { &*text };
            }
            end = start;
        }
        &self.values
    }

    /// Empties the buffers and keeps their memory, unless there is a lot of it.
    pub fn clear(&mut self) {
        const KEPT: usize = 1024;
        self.values.clear();
        self.numbers.clear();
        self.digits.clear();
        if self.values.capacity() > KEPT {
            *self = Self::default();
        }
    }
}

/// See the module's documentation.
pub(in crate::lua) struct Context {
    /// The allocator's account.
    pub heap: Heap,
    /// The compiler's options.
    pub compiler: Compiler,
    /// Enforces the time limits.
    pub watchdog: Watchdog,
    /// The settings.
    pub limits: Cell<Limits>,
    /// What scripts see as `redis.REDIS_VERSION`.
    pub version: ServerVersion,
    /// The functions of `atomic`.
    pub natives: Vec<NativeCommand>,
    /// Pinned strings and tables of the VM.
    pub names: Cell<Names>,
    /// Pinned tables for the code of libraries.
    pub libraries: Cell<Tables>,
    /// The interrupt of the VM.
    pub slot: Cell<Option<Slot>>,
    /// The run under way.
    pub task: Cell<Option<Task<'static>>>,
    /// The source to compile.
    pub source: Cell<Option<Source<'static>>>,
    /// What was compiled last means something else in Lua 5.1.
    pub differs: Cell<bool>,
    /// The function that was compiled.
    pub compiled: Cell<Option<Ref>>,
    /// What the library that is loaded has registered.
    pub registered: Cell<Vec<Registered>>,
    /// What the file that is loaded has declared: as many as it has registered, in that order.
    pub declared: Cell<Vec<Declaration>>,
    /// When the run under way started, if that is the load of a library.
    load_started: Cell<Option<Instant>>,
    /// The error that ended the run.
    pub failure: Cell<Failure>,
    /// Buffers of `redis.call`.
    pub arguments: Cell<Arguments>,
    /// The generator behind `math.random`; `None` until a run uses it.
    pub random: Cell<Option<Lrand48>>,
    /// The protocol that the run under way speaks.
    pub protocol: Cell<Protocol>,
    /// Where the writes of the run under way go.
    pub replication: Cell<Replication>,
    /// Where the first strings of the global `KEYS` are, by which they are known again.
    pub keys: Cell<[*const u8; KNOWN_KEYS]>,
    /// A function of the run under way, or its thread, was given other globals.
    pub rebound: Cell<bool>,
    /// The settings of `cjson` in the run under way.
    pub json: Cell<Settings>,
    /// Functions of Luau's libraries behind ours.
    pub originals: Cell<[Option<ffi::lua_CFunction>; Original::COUNT]>,
    /// Steps of a comparison that calls no Lua.
    pub pace: Cell<u8>,
    /// The metatable of arrays that `cjson` has read.
    pub json_array: Cell<Ref>,
    ended: Cell<Option<Verdict>>,
    unreachable: Cell<bool>,
    panic: Cell<Option<String>>,
    port: Cell<Option<NonNull<dyn Port>>>,
    sink: Cell<Option<NonNull<dyn ReplySink>>>,
}

impl Context {
    /// A context without a VM.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Self {
        Self {
            heap: Heap::new(),
            compiler: Compiler::new(),
            watchdog: Watchdog::new(),
            limits: Cell::new(limits),
            version,
            natives,
            names: Cell::default(),
            libraries: Cell::default(),
            slot: Cell::new(None),
            task: Cell::new(None),
            source: Cell::new(None),
            differs: Cell::new(false),
            compiled: Cell::new(None),
            registered: Cell::default(),
            declared: Cell::default(),
            load_started: Cell::new(None),
            failure: Cell::default(),
            arguments: Cell::default(),
            random: Cell::new(None),
            protocol: Cell::default(),
            replication: Cell::new(Replication::ALL),
            keys: Cell::new([ptr::null(); KNOWN_KEYS]),
            rebound: Cell::new(false),
            json: Cell::default(),
            originals: Cell::default(),
            pace: Cell::new(0),
            json_array: Cell::new(Ref::NIL),
            ended: Cell::new(None),
            unreachable: Cell::new(false),
            panic: Cell::new(None),
            port: Cell::new(None),
            sink: Cell::new(None),
        }
    }

    /// Starts a run. Port, sink and task must stay valid until [`Context::leave`].
    pub fn enter(&self, task: Task<'_>, port: &mut dyn Port, sink: Option<&mut dyn ReplySink>) {
        // SAFETY: only lifetimes change. The references are used during this run only: `Vm::run` holds them, and calls `leave`
        // before it returns.
        unsafe {
            self.task.set(Some(std::mem::transmute::<Task<'_>, Task<'static>>(task)));
            self.port.set(Some(std::mem::transmute::<NonNull<dyn Port + '_>, NonNull<dyn Port>>(NonNull::from(port))));
            self.sink.set(
                sink.map(|sink| std::mem::transmute::<NonNull<dyn ReplySink + '_>, NonNull<dyn ReplySink>>(NonNull::from(sink))),
            );
        }
        self.load_started.set(matches!(task.entry, Entry::Library(..)).then(Instant::now));
        self.ended.set(None);
        self.unreachable.set(false);
        self.protocol.set(Protocol::Resp2);
        self.replication.set(Replication::ALL);
        self.random.set(None);
        self.json.set(Settings::default());
        self.heap.forget_refusal();
        self.heap.watch_pressure();
        self.watchdog.start();
    }

    /// Ends the run.
    pub fn leave(&self) {
        self.watchdog.end();
        self.task.set(None);
        self.port.set(None);
        self.sink.set(None);
        if let Some(slot) = self.slot.get() {
            slot.disarm();
        }
    }

    /// The limit that ended this run, if one did. Asking decides.
    pub fn verdict(&self) -> Option<Verdict> {
        if self.ended.get().is_none() {
            self.ended.set(if self.heap.exceeded() { Some(Verdict::Memory) } else { self.late() });
        }
        self.ended.get()
    }

    /// What ended the run that was the last, for who asks now.
    pub fn set_ended(&self, verdict: Option<Verdict>) {
        self.ended.set(verdict);
    }

    /// Whether a limit ended the run that was the last.
    pub fn has_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Ends the run, at the next safepoint if nothing ends it before.
    pub fn end_with(&self, verdict: Verdict) {
        self.ended.set(Some(verdict));
        if let Some(slot) = self.slot.get() {
            slot.arm();
        }
    }

    fn late(&self) -> Option<Verdict> {
        let passed = self.watchdog.passed();
        if passed.budget {
            Some(Verdict::Budget)
        } else if passed.pause && self.load_started.get().is_some_and(|started| started.elapsed() >= LOAD_TIME) {
            Some(Verdict::Load)
        } else if passed.unreachable_budget && self.unreachable.get() {
            Some(Verdict::UnreachableBudget)
        } else if passed.timeout && self.writes() == 0 {
            Some(Verdict::Timeout)
        } else {
            None
        }
    }

    /// Lets the server see to its other clients, if the run has taken so long that it should; that may end the run. Tells whether it has.
    pub fn pause_if_long(&self) -> bool {
        if !self.watchdog.passed().pause || self.load_started.get().is_some() {
            return false;
        }
        match self.with_port(|port| port.pause()) {
            Some(Pause::Killed(command)) => self.end_with(Verdict::Killed(command)),
            Some(Pause::Unreachable) => self.unreachable.set(true),
            Some(Pause::Done) | None => {}
        }
        true
    }

    /// How many writes the run has applied.
    pub fn writes(&self) -> u64 {
        self.with_port(|port| port.writes()).unwrap_or_default()
    }

    /// Uses the port. `None` if that panicked, or outside a run. `act` must not touch Lua.
    pub fn with_port<R>(&self, act: impl FnOnce(&mut dyn Port) -> R) -> Option<R> {
        let mut port = self.port.get()?;
        // SAFETY: `enter` stored an exclusive reference that is valid until `leave`; ports do not call back into the engine, so
        // that this is the only one made of it.
        self.contain(|| act(unsafe { port.as_mut() }))
    }

    /// Uses the sink. `None` if that panicked, or outside a run. `act` may use those parts of Lua that never raise.
    pub fn with_sink<R>(&self, act: impl FnOnce(&mut dyn ReplySink) -> R) -> Option<R> {
        let mut sink = self.sink.get()?;
        // SAFETY: as in `with_port`.
        self.contain(|| act(unsafe { sink.as_mut() }))
    }

    fn contain<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(result) => Some(result),
            Err(payload) => {
                self.panic.set(Some(message(payload.as_ref())));
                self.end_with(Verdict::Panic);
                None
            }
        }
    }

    /// The panic of port or sink since the last call.
    pub fn take_panic(&self) -> Option<String> {
        self.panic.take()
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "panic".to_owned()
    }
}
