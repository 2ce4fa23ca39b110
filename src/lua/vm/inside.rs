//! What happens inside the VM: functions that Luau calls, each in a protected call. Any of them may raise; nothing here has a destructor
//! that is alive when it does.

use std::ffi::c_int;
use std::ptr;

use mlua::ffi;

use super::context::{Entry, Failure, KNOWN_KEYS, Task};
use super::fault;
use super::stack::{Ref, Stack, native};
use crate::lua::convert;
use crate::lua::limits::Verdict;
use crate::lua::port::Strings;
use crate::lua::sandbox::{self, library_globals};

/// Builds the sandbox and pins the two functions of every run.
pub(super) fn set_up(s: Stack) -> c_int {
    s.push_native(native(on_error), c"on_error");
    s.raw_set_field(Stack::REGISTRY, c"atomic.handler");
    s.push_native(native(run_task), c"run");
    s.raw_set_field(Stack::REGISTRY, c"atomic.run");
    s.set_top(0);
    sandbox::install(s)
}

pub(super) fn compile_natively(s: Stack) -> c_int {
    if let Some(function) = s.context().compiled.get() {
        s.push_ref(function);
        s.compile_natively();
    }
    0
}

pub(super) fn compile_source(s: Stack) -> c_int {
    let context = s.context();
    let Some(source) = context.source.get() else { return 0 };
    if source.library {
        use_globals(s, context.libraries.get().globals);
    } else {
        hide_arguments(s);
    }
    let compiled = s.push_compiled(source.code, source.name);
    use_globals(s, context.names.get().globals);
    if compiled {
        context.compiled.set(Some(s.pin()));
        return 0;
    }
    let message = s.bytes(-1).unwrap_or_default().to_vec();
    context.failure.set(Failure { message, place: Vec::new() });
    0
}

/// Makes a pinned table the thread's globals. Never raises when there is room.
pub(super) fn use_globals(s: Stack, globals: Ref) {
    s.push_ref(globals);
    s.replace(Stack::GLOBALS);
}

/// The whole of a run. It may raise anywhere; nothing here has a destructor.
fn run_task(s: Stack) -> c_int {
    let context = s.context();
    let Some(task) = context.task.get() else {
        return 0;
    };
    let (names, limits) = (context.names.get(), context.limits.get());
    match task.entry {
        Entry::Script(script) => {
            set_arguments(s, &task);
            s.push_ref(script);
            s.call(0, 1);
        }
        Entry::Function(function) => {
            use_globals(s, context.libraries.get().globals);
            let known = push_known_keys(s, task.keys);
            s.push_ref(function);
            push_list(s, task.keys, known);
            push_list(s, task.args, 0);
            s.call(2, 1);
        }
        Entry::Library(code, redis) => {
            use_globals(s, context.libraries.get().globals);
            library_globals::begin(s, redis);
            s.push_ref(code);
            s.call(0, 0);
            end_if_over(s);
            return 0;
        }
    }
    end_if_over(s);
    if convert::measure(s, &names, &limits).is_err() {
        if context.verdict().is_none() {
            context.end_with(Verdict::Reply);
        }
        end_if_over(s);
    }
    // The engine reports a panic of the sink.
    let _ = context.with_sink(|sink| convert::write(s, &names, &limits, sink));
    0
}

/// Ends the run if it is over. The interrupt stays armed then, for whatever catches the error.
fn end_if_over(s: Stack) {
    let context = s.context();
    if context.verdict().is_some() {
        if let Some(slot) = context.slot.get() {
            slot.arm();
        }
        s.push_nil();
        s.raise();
    }
}

/// What a run begins with on its stack: the globals, and the names of the two that it sets.
const RUN_GLOBALS: c_int = 1;
const RUN_KEYS: c_int = 2;
const RUN_ARGV: c_int = 3;

/// Sets KEYS and ARGV. Should this fail halfway, the globals stay writable, but only until the next run comes here.
fn set_arguments(s: Stack, task: &Task<'_>) {
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

/// Makes KEYS and ARGV nil. A function resolves globals when it is loaded and looks up again only what was nil then: it must
/// not see the tables of the run before.
fn hide_arguments(s: Stack) {
    let names = s.context().names.get();
    s.set_readonly(Stack::GLOBALS, false);
    for name in [names.keys, names.argv] {
        s.push_ref(name);
        s.push_nil();
        s.raw_set(Stack::GLOBALS);
    }
    s.set_readonly(Stack::GLOBALS, true);
}

/// Pushes the first keys and notes where they are. They stay on the stack, behind what a run begins with, so that none is freed, and its place taken by
/// another string, while the script runs.
fn push_known_keys(s: Stack, keys: &dyn Strings) -> usize {
    let mut places = [ptr::null(); KNOWN_KEYS];
    let known = keys.count().min(KNOWN_KEYS);
    for (place, index) in places.iter_mut().zip(0..known) {
        s.push_bytes(keys.string(index));
        *place = s.bytes(-1).map_or(ptr::null(), <[u8]>::as_ptr);
    }
    s.context().keys.set(places);
    known
}

/// Pushes a list of strings, of which [`push_known_keys`] has pushed the first.
fn push_list(s: Stack, values: &dyn Strings, pushed: usize) {
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

/// The error handler of a run: notes what failed and where, while the stack of the failure is still there. Never raises, for
/// it may run when there is no memory left.
fn on_error(s: Stack) -> c_int {
    let context = s.context();
    let mut failure = Failure::default();
    fault::describe(s, 1, &context.names.get(), &mut failure.message);
    // As Redis does: the function that raised, or its caller if that is a C function such as `error` or `redis.call`. A
    // function of the prelude counts as one.
    let frame = (1..=3).filter_map(|level| s.frame(level)).find(|frame| !frame.native && frame.source() != sandbox::PRELUDE_NAME);
    if let Some(frame) = frame.filter(|frame| frame.line >= 0) {
        failure.place = [frame.source(), format!(":{}", frame.line).as_bytes()].concat();
    }
    context.failure.set(failure);
    1
}

/// Luau calls it at every safepoint while it is armed: ends the run that is over, in every one of its coroutines and behind
/// every `pcall`, or disarms itself.
pub(super) unsafe extern "C-unwind" fn interrupt(state: *mut ffi::lua_State, collecting: c_int) {
    if collecting >= 0 {
        return;
    }
    // SAFETY: Luau calls this from a running function.
    let s = unsafe { Stack::of_running(state) };
    let context = s.context();
    if let Some(slot) = context.slot.get() {
        slot.disarm();
    }
    if context.heap.is_pressed() {
        s.collect_garbage();
        context.heap.watch_pressure();
    }
    context.pause_if_long();
    end_if_over(s);
}

/// Fails if the VM does not work.
pub(super) fn prove(s: Stack) -> c_int {
    s.collect_garbage();
    let proof = b"local t = {} for i = 1, 10 do t[i] = ('x'):rep(i) end return #table.concat(t) == 55 and pcall(error) == false";
    if !s.push_compiled(proof, c"=proof") {
        s.raise();
    }
    s.call(0, 1);
    if !s.truth(-1) {
        s.raise_text(c"the VM is broken");
    }
    s.collect_garbage();
    0
}
