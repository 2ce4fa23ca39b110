//! The state that C functions reach besides their Lua stack: that of the VM, and that of the run with its port and its sink.
//!
//! One `Context` serves all VMs of an engine, one after the other. Luau holds a plain pointer to it, so it is only ever shared,
//! and every field that changes is a cell. Code from outside the engine (port and sink) is entered through `with_port` and
//! `with_sink` only, which turn a panic into a value, so no panic unwinds into Luau.

use std::cell::Cell;
use std::ptr::NonNull;

use mlua::ffi;

use super::allocator::Allocator;
use super::arguments::Arguments;
use super::compiler::CompilerOptions;
use super::interrupt::Interrupt;
use super::pinned::{LibraryTables, Names, Original, Ref};
use super::run_state::{LOAD_TIME, RunState};
use super::task::Task;
use super::watchdog::Watchdog;
use crate::error::{Error, guarded};
use crate::lua::limits::{Limits, Termination};
use crate::lua::port::{NativeCommand, Pause, Port, ReplySink};
use crate::lua::version::ServerVersion;

/// See the module's documentation.
pub(in crate::lua) struct Context {
    pub allocator: Allocator,
    pub compiler: CompilerOptions,
    pub watchdog: Watchdog,
    pub limits: Cell<Limits>,
    pub version: ServerVersion,
    /// The functions of `atomic`.
    pub natives: Vec<NativeCommand>,
    pub names: Cell<Names>,
    pub libraries: Cell<LibraryTables>,
    /// `None` without a VM.
    pub interrupt: Cell<Option<Interrupt>>,
    /// Functions of Luau's libraries that functions of this engine wrap.
    pub originals: Cell<[Option<ffi::lua_CFunction>; Original::COUNT]>,
    /// The metatable of arrays that `cjson` has read.
    pub json_array: Cell<Ref>,
    /// The buffers of `redis.call`.
    pub arguments: Cell<Arguments<'static>>,
    pub run: RunState,
}

/// A run under way. Dropping it takes task, port and sink out of the context.
struct Running<'r>(&'r Context);

impl<'r> Running<'r> {
    /// # Safety
    /// Task, port and sink must be valid, and port and sink used in no other way, until the `Running` is dropped.
    unsafe fn start(
        context: &'r Context,
        task: &Task<'_>,
        port: NonNull<dyn Port + '_>,
        sink: Option<NonNull<dyn ReplySink + '_>>,
    ) -> Self {
        context.run.task.set(Some(NonNull::from(task).cast()));
        // SAFETY: the port is valid and not in use yet, as the caller promises.
        context.run.lines.set(unsafe { port.as_ref() }.wants_lines());
        // SAFETY: only the lifetimes of trait objects change. The pointers leave the context when this `Running` is dropped, and
        // until then they are valid, as the caller promises.
        unsafe {
            context.run.port.set(Some(std::mem::transmute::<NonNull<dyn Port + '_>, NonNull<dyn Port>>(port)));
            context
                .run
                .sink
                .set(sink.map(|sink| std::mem::transmute::<NonNull<dyn ReplySink + '_>, NonNull<dyn ReplySink>>(sink)));
        }
        context.run.reset(task.entry);
        context.allocator.forget_refusal();
        context.allocator.watch_pressure();
        context.watchdog.start();
        Self(context)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.watchdog.end();
        self.0.run.task.set(None);
        self.0.run.port.set(None);
        self.0.run.sink.set(None);
        if let Some(interrupt) = self.0.interrupt.get() {
            interrupt.disarm();
        }
    }
}

impl Context {
    /// A context without a VM.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>, compiler: CompilerOptions) -> Self {
        Self {
            allocator: Allocator::new(),
            compiler,
            watchdog: Watchdog::new(),
            limits: Cell::new(limits),
            version,
            natives,
            names: Cell::default(),
            libraries: Cell::default(),
            interrupt: Cell::new(None),
            originals: Cell::default(),
            json_array: Cell::default(),
            arguments: Cell::default(),
            run: RunState::new(),
        }
    }

    /// Makes `act` a run: port and sink can be used, and the limits hold, until it returns.
    pub fn with_run<R>(
        &self,
        task: &Task<'_>,
        port: &mut dyn Port,
        sink: Option<&mut dyn ReplySink>,
        act: impl FnOnce() -> R,
    ) -> R {
        // SAFETY: the references are borrowed, and not used here, until this function returns, and `_running` is dropped before
        // that.
        let _running = unsafe { Running::start(self, task, NonNull::from(port), sink.map(NonNull::from)) };
        act()
    }

    /// The task of the run.
    ///
    /// # Safety
    /// The run must last longer than `'r`.
    pub unsafe fn task<'r>(&self) -> Option<&'r Task<'r>> {
        // SAFETY: the pointer is in the cell only while the task is valid, which is as long as the run, as the caller promises.
        self.run.task.get().map(|task| unsafe { task.cast().as_ref() })
    }

    /// Why this run must end, if it must. The first answer other than `None` stays.
    #[inline]
    pub fn termination(&self) -> Option<Termination> {
        let goes_on = self.run.ended.get().is_none() && !self.allocator.exceeded() && !self.watchdog.has_passed();
        if goes_on { None } else { self.why_ended() }
    }

    #[cold]
    fn why_ended(&self) -> Option<Termination> {
        if self.run.ended.get().is_none() {
            self.run.ended.set(if self.allocator.exceeded() { Some(Termination::Memory) } else { self.late() });
        }
        self.run.ended.get()
    }

    /// Sets why the last run, or compilation, was terminated.
    pub fn set_ended(&self, termination: Option<Termination>) {
        self.run.ended.set(termination);
    }

    /// Whether the last run, or compilation, was terminated.
    pub fn has_ended(&self) -> bool {
        self.run.ended.get().is_some()
    }

    /// Terminates the run at the next safepoint, unless it ends before.
    pub fn end_with(&self, termination: Termination) {
        self.run.ended.set(Some(termination));
        if let Some(interrupt) = self.interrupt.get() {
            interrupt.arm();
        }
    }

    fn late(&self) -> Option<Termination> {
        let passed = self.watchdog.passed();
        if passed.budget {
            Some(Termination::Budget)
        } else if passed.pause && self.run.load_started.get().is_some_and(|started| started.elapsed() >= LOAD_TIME) {
            Some(Termination::Load)
        } else if passed.unreachable_budget && self.run.unreachable.get() {
            Some(Termination::UnreachableBudget)
        } else if passed.timeout && self.writes() == 0 {
            Some(Termination::Timeout)
        } else {
            None
        }
    }

    /// Lets the server serve other clients if the run is long. That may terminate the run. Answers whether the run is long.
    pub fn pause_if_long(&self) -> bool {
        if !self.watchdog.passed().pause || self.run.load_started.get().is_some() {
            return false;
        }
        match self.with_port(|port| port.pause()) {
            Some(Pause::Killed(command)) => self.end_with(Termination::Killed(command)),
            Some(Pause::Unreachable) => self.run.unreachable.set(true),
            Some(Pause::Done) | None => {}
        }
        true
    }

    /// How many writes the run has applied.
    pub fn writes(&self) -> u64 {
        self.with_port(|port| port.writes()).unwrap_or_default()
    }

    /// Calls `act` with the port. `None` if that panicked, outside a run, or inside another `with_port`.
    pub fn with_port<R>(&self, act: impl FnOnce(&mut dyn Port) -> R) -> Option<R> {
        let mut port = self.run.port.take()?;
        // SAFETY: `Running::start` stored an exclusive reference, and its end takes it out of the cell. It is out of the cell
        // here too, so no other reference is made of it meanwhile.
        let result = self.contain(|| act(unsafe { port.as_mut() }));
        self.run.port.set(Some(port));
        result
    }

    /// Calls `act` with the sink. `None` if that panicked, outside a run, or inside another `with_sink`.
    pub fn with_sink<R>(&self, act: impl FnOnce(&mut dyn ReplySink) -> R) -> Option<R> {
        let mut sink = self.run.sink.take()?;
        // SAFETY: `Running::start` stored an exclusive reference, and its end takes it out of the cell. It is out of the cell
        // here too, so no other reference is made of it meanwhile.
        let result = self.contain(|| act(unsafe { sink.as_mut() }));
        self.run.sink.set(Some(sink));
        result
    }

    fn contain<R>(&self, act: impl FnOnce() -> R) -> Option<R> {
        guarded(|| Ok(act())).map_err(|panic| self.note_panic(panic)).ok()
    }

    #[cold]
    fn note_panic(&self, panic: Error) {
        self.run.panic.set(Some(panic));
        self.end_with(Termination::Panic);
    }

    /// The panic of port or sink since the last call.
    pub fn take_panic(&self) -> Option<Error> {
        self.run.panic.take()
    }
}
