//! The functions that Luau calls for the engine itself, each inside a protected call.
//!
//! Those that take a `Stack` may raise anywhere, so they hold nothing with a destructor at that time.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr;

use mlua::ffi;

use super::error_text;
use super::pinned::Ref;
use super::run_state::KNOWN_KEYS;
use super::stack::{CompileOutcome, Quiet, Stack, native};
use super::task::{EntryPoint, Failure, Source, Task};
use crate::lua::convert;
use crate::lua::limits::Termination;
use crate::lua::port::Strings;
use crate::lua::sandbox::{self, library_globals};

/// The two functions of every run.
#[derive(Default)]
pub(super) struct RunFunctions {
    pub handler: Cell<Ref>,
    pub run: Cell<Ref>,
}

/// Builds the sandbox and pins the two functions.
pub(super) fn set_up(s: Stack<'_>, functions: &RunFunctions) {
    s.push_native(native(on_error), c"on_error");
    functions.handler.set(s.pin());
    s.push_native(native(run_task), c"run");
    functions.run.set(s.pin());
    sandbox::install(s);
}

pub(super) fn compile_natively(s: Stack<'_>, function: &Ref) {
    s.push_ref(*function);
    s.compile_natively();
}

/// A compilation and its result.
pub(super) struct Compilation<'a> {
    source: Source<'a>,
    /// The function, and whether the source means something else in Lua 5.1.
    pub function: Cell<Option<(Ref, bool)>>,
    /// The error.
    pub message: Cell<Vec<u8>>,
}

impl<'a> Compilation<'a> {
    pub fn new(source: Source<'a>) -> Self {
        Self { source, function: Cell::new(None), message: Cell::default() }
    }
}

pub(super) fn compile(s: Stack<'_>, compilation: &Compilation<'_>) {
    let (context, source) = (s.context(), compilation.source);
    if source.library {
        use_globals(s.quiet(), context.libraries.get().globals);
    } else {
        hide_arguments(s);
    }
    let outcome = s.push_compiled(source.code, source.name);
    use_globals(s.quiet(), context.names.get().globals);
    match outcome {
        CompileOutcome::Function { differs } => compilation.function.set(Some((s.pin(), differs))),
        CompileOutcome::Error => compilation.message.set(s.bytes(-1).unwrap_or_default().to_vec()),
    }
}

/// Makes a pinned table the globals of the thread.
pub(super) fn use_globals(s: Quiet<'_>, globals: Ref) {
    s.push_ref(globals);
    s.replace(Quiet::GLOBALS);
}

/// The whole of a run. It finds the globals and the names KEYS and ARGV on its stack.
fn run_task(s: Stack<'_>) -> c_int {
    // SAFETY: `Vm::run` calls this function as a run, which ends after it.
    if let Some(task) = unsafe { s.context().task() } {
        run(s, task);
    }
    0
}

fn run(s: Stack<'_>, task: &Task<'_>) {
    let context = s.context();
    let (names, limits) = (context.names.get(), context.limits.get());
    match task.entry {
        EntryPoint::Script(script) => {
            set_arguments(s, task);
            s.push_ref(script);
            s.call(0, 1);
        }
        EntryPoint::Function(function) => {
            use_globals(s.quiet(), context.libraries.get().globals);
            let known = push_known_keys(s, task.keys);
            s.push_ref(function);
            push_list(s, task.keys, known);
            push_list(s, task.args, 0);
            s.call(2, 1);
        }
        EntryPoint::Library(code, redis) => {
            use_globals(s.quiet(), context.libraries.get().globals);
            library_globals::begin(s.quiet(), redis);
            s.push_ref(code);
            s.call(0, 0);
            raise_if_terminated(s);
            return;
        }
    }
    raise_if_terminated(s);
    if convert::measure(s, &names, &limits).is_err() {
        if context.termination().is_none() {
            context.end_with(Termination::Reply);
        }
        raise_if_terminated(s);
    }
    // `Vm` reports a panic of the sink.
    let _ = context.with_sink(|sink| convert::write(s.quiet(), &names, &limits, sink));
}

/// Raises if the run must end. The interrupt stays armed then, in case something catches the error.
fn raise_if_terminated(s: Stack<'_>) {
    let context = s.context();
    if context.termination().is_some() {
        if let Some(interrupt) = context.interrupt.get() {
            interrupt.arm();
        }
        s.push_nil();
        s.raise();
    }
}

/// The slots of a run: the globals, and the names of the two that it sets.
const RUN_GLOBALS: c_int = 1;
const RUN_KEYS: c_int = 2;
const RUN_ARGV: c_int = 3;

/// Sets KEYS and ARGV. If this fails halfway, the globals stay writable, but only until the next run sets them.
fn set_arguments(s: Stack<'_>, task: &Task<'_>) {
    let known = push_known_keys(s, task.keys);
    s.set_readonly(RUN_GLOBALS, false);
    s.push_copy(RUN_KEYS);
    push_list(s, task.keys, known);
    s.raw_set(RUN_GLOBALS);
    s.push_copy(RUN_ARGV);
    push_list(s, task.args, 0);
    s.raw_set(RUN_GLOBALS);
    s.set_readonly(RUN_GLOBALS, true);
}

/// Sets KEYS and ARGV to nil. A function resolves globals when it is loaded, and looks up again only those that were nil then, so
/// it must not see the tables of the run before.
fn hide_arguments(s: Stack<'_>) {
    let names = s.context().names.get();
    s.set_readonly(Stack::GLOBALS, false);
    for name in [names.keys, names.argv] {
        s.push_ref(name);
        s.push_nil();
        s.raw_set(Stack::GLOBALS);
    }
    s.set_readonly(Stack::GLOBALS, true);
}

/// Pushes the first keys and notes their addresses. They stay on the stack, in the slots after `RUN_ARGV`, so that none is freed,
/// and no other string gets its address, while the script runs.
fn push_known_keys(s: Stack<'_>, keys: &dyn Strings) -> usize {
    let mut places = [ptr::null(); KNOWN_KEYS];
    let known = keys.count().min(KNOWN_KEYS);
    for (place, index) in places.iter_mut().zip(0..known) {
        s.push_bytes(keys.string(index));
        *place = s.bytes(-1).map_or(ptr::null(), <[u8]>::as_ptr);
    }
    s.context().run.keys.set(places);
    known
}

/// Pushes a list of strings. [`push_known_keys`] has pushed the first `pushed` of them.
fn push_list(s: Stack<'_>, values: &dyn Strings, pushed: usize) {
    let count = values.count();
    s.push_table(count, 0);
    for (index, place) in (0..count).zip(1..) {
        if index < pushed {
            s.push_copy(RUN_ARGV + place);
        } else {
            s.push_bytes(values.string(index));
        }
        s.raw_set_element(-2, place);
    }
}

/// The error handler of a run: notes the error and its place while the stack of the failure is still there. There may be no
/// memory left in the VM.
fn on_error(s: Stack<'_>) -> c_int {
    note_failure(s.quiet());
    1
}

fn note_failure(s: Quiet<'_>) {
    let context = s.context();
    let mut failure = Failure::default();
    error_text::describe(s, 1, &context.names.get(), &mut failure.message);
    // As in Redis: the function that raised, or its caller if that is a C function such as `error` or `redis.call`. A function of
    // the prelude counts as a C function.
    let frame = (1..=3).filter_map(|level| s.frame(level)).find(|frame| !frame.native && frame.source != sandbox::PRELUDE_NAME);
    if let Some(frame) = frame.filter(|frame| frame.line >= 0) {
        failure.place = [frame.source, format!(":{}", frame.line).as_bytes()].concat();
    }
    context.run.failure.set(failure);
}

/// The handler of the interrupt. Luau calls it at every safepoint while it is armed. It ends a run that must end, in each of its
/// coroutines and after each `pcall`; otherwise it disarms the interrupt.
pub(super) unsafe extern "C-unwind" fn on_interrupt(state: *mut ffi::lua_State, collecting: c_int) {
    if collecting >= 0 {
        return;
    }
    // SAFETY: Luau calls this from a running function, and each of its runs is a protected call.
    let s = unsafe { Stack::new(state) };
    let context = s.context();
    if let Some(interrupt) = context.interrupt.get() {
        interrupt.disarm();
    }
    if context.allocator.is_pressed() {
        s.collect_garbage();
        context.allocator.watch_pressure();
    }
    context.pause_if_long();
    raise_if_terminated(s);
}

/// Fails if the VM does not work.
pub(super) fn prove(s: Stack<'_>, (): &()) {
    s.collect_garbage();
    let proof = b"local t = {} for i = 1, 10 do t[i] = ('x'):rep(i) end return #table.concat(t) == 55 and pcall(error) == false";
    if s.push_compiled(proof, c"=proof") == CompileOutcome::Error {
        s.raise();
    }
    s.call(0, 1);
    if !s.truth(-1) {
        s.raise_text(c"the VM is broken");
    }
    s.collect_garbage();
}
