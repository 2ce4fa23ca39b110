//! Creates a VM, runs scripts in it, and replaces it when it can no longer be trusted.
//!
//! A run is one protected call. Inside it `callbacks::run_task` sets the arguments, calls the script and writes its result. An
//! error jumps to the one `lua_pcall` in [`Vm::run`] and becomes an `Error` in `outcome`. Nothing that can
//! raise is called outside a protected call. After a run that hit a memory limit the VM proves that it works, or is replaced.
//!
//! A panic of a function that a script calls unwinds through Luau, which keeps no account of it: its protected calls still count
//! as running. So the panic is caught around the whole call of Luau, and the VM is replaced before anything else uses it.

pub mod allocator;
pub mod arguments;
mod callbacks;
mod compiler;
pub mod context;
pub mod error_text;
mod interrupt;
pub mod pinned;
pub mod random;
pub mod run_state;
pub mod stack;
pub mod task;
#[cfg(test)]
mod tests;
mod watchdog;

use std::cell::Cell;
use std::ffi::c_int;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ptr::NonNull;
use std::rc::Rc;

use mlua::ffi;

use self::allocator::allocate;
use self::callbacks::{Compilation, RunFunctions, compile, compile_natively, on_interrupt, prove, set_up, use_globals};
use self::compiler::CompilerOptions;
use self::context::Context;
use self::interrupt::Interrupt;
use self::pinned::Ref;
use self::stack::{Quiet, Stack, call_protected};
use self::task::{CompiledSource, EntryPoint, LoadedChunk, RunName, Source, Task};
use super::declaration::Declaration;
use super::limits::{Limits, Termination};
use super::numbers::text::{NumberText, use_format};
use super::port::{NativeCommand, Port, ReplySink};
use super::sandbox::{self, library_globals};
use super::source::refusal;
use super::version::ServerVersion;
use crate::error::{Error, MESSAGE_BYTES, Result, guarded};

/// The collector's step. Luau's own step of 1 KiB is outrun by strings of a few KiB.
const STEP_KIB: c_int = 64;

/// The source that may be compiled to machine code in one VM: machine code is a multiple of its source, and stays until the VM is
/// closed.
const NATIVE_SOURCE_BYTES: usize = 256 << 10;

/// Garbage below this is left to Luau's own collector.
const GARBAGE_BYTES: usize = 4 << 20;

/// Slots of the main stack that always exist: the error handler, the function that runs a task, and the three values that it
/// gets. These are the globals and the names KEYS and ARGV.
const HANDLER: c_int = 1;
const RUN_TASK: c_int = 2;
const LAST: c_int = 5;

/// See the module's documentation.
pub(super) struct Vm {
    context: Rc<Context>,
    state: Option<NonNull<ffi::lua_State>>,
    number: u64,
    baseline: usize,
    collect_above: usize,
    /// The last run was one of a registered function, and changed the globals of a function.
    rebound: bool,
    /// Bytes of source that may still be compiled to machine code; 0 if the machine or the settings exclude that.
    native_bytes: usize,
    /// A panic has unwound through Luau.
    broken: Cell<bool>,
}

impl Vm {
    /// A VM that is ready to run scripts.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Result<Self> {
        let compiler = CompilerOptions::new(sandbox::MUTABLE_GLOBALS, sandbox::NO_FAST_CALL);
        let context = Rc::new(Context::new(limits, version, natives, compiler));
        let mut vm = Self {
            context,
            state: None,
            number: 0,
            baseline: 0,
            collect_above: 0,
            rebound: false,
            native_bytes: 0,
            broken: Cell::new(false),
        };
        vm.set_limits(limits)?;
        vm.replace()?;
        Ok(vm)
    }

    /// The number of the current VM. Functions of a VM with another number are gone.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.context.allocator.used()
    }

    /// Bytes of all values, garbage included. Finer than [`Vm::used`]: Luau takes memory for small values by the page.
    pub fn value_bytes(&self) -> usize {
        let Some(state) = self.state.map(NonNull::as_ptr) else { return 0 };
        // SAFETY: the state is alive; asking for these two numbers neither collects nor raises.
        let (kilobytes, rest) = unsafe { (ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0), ffi::lua_gc(state, ffi::LUA_GCCOUNTB, 0)) };
        let count = |number: c_int| usize::try_from(number).unwrap_or(0);
        count(kilobytes).saturating_mul(1024).saturating_add(count(rest))
    }

    /// Sets the limits of the next runs.
    pub fn set_limits(&mut self, limits: Limits) -> Result<()> {
        let started = self.context.watchdog.set_limits(&limits);
        started.map_err(|e| Error::Internal(format!("the watchdog thread cannot be started: {e}")))?;
        let before = self.context.limits.replace(limits);
        if self.state.is_some() && before.deprecated_api != limits.deprecated_api {
            return self.replace();
        }
        self.apply_memory_limit();
        Ok(())
    }

    /// The memory that the VM may have, its own included.
    fn memory_limit(&self) -> usize {
        self.baseline.saturating_add(self.context.limits.get().memory_bytes)
    }

    fn apply_memory_limit(&mut self) {
        let limit = self.context.limits.get().memory_bytes;
        self.context.allocator.set_limit(self.memory_limit());
        self.collect_above = self.used().saturating_add(GARBAGE_BYTES.min(limit / 2));
    }

    /// Lets the memory grow to the limit of the VM or of the run, whichever comes first.
    fn limit_memory_of_run(&self) {
        let limits = self.context.limits.get();
        if limits.run_memory_bytes > 0 {
            self.context.allocator.set_limit(self.memory_limit().min(self.used().saturating_add(limits.run_memory_bytes)));
        }
    }

    /// Replaces the VM by a new one. All functions are gone.
    pub fn replace(&mut self) -> Result<()> {
        self.close();
        // A VM that could not be set up is not used. The next compilation tries again.
        self.open().inspect_err(|_| self.close())
    }

    fn open(&mut self) -> Result<()> {
        let context = Rc::as_ptr(&self.context);
        self.broken.set(false);
        self.context.allocator.set_limit(usize::MAX);
        // SAFETY: the allocator is part of the context, which outlives the VM: `close` runs before the context is dropped.
        let state = unsafe { ffi::lua_newstate(allocate, (&raw const (*context).allocator).cast_mut().cast()) };
        let state = NonNull::new(state).ok_or_else(|| Error::Internal("no memory for a Lua VM".to_owned()))?;
        self.state = Some(state);
        self.number += 1;
        // SAFETY: the state was just made. Its callbacks live as long as it does, and `close` takes the interrupt away before.
        let interrupt = unsafe {
            let callbacks = ffi::lua_callbacks(state.as_ptr());
            (*callbacks).userdata = context.cast_mut().cast();
            // `tostring` of a table must not show its address.
            ffi::lua_setpointerencodekey(state.as_ptr(), secret(), secret(), secret(), secret());
            Interrupt::new(callbacks, on_interrupt)
        };
        // SAFETY: the state was just made, and no function was compiled in it.
        self.native_bytes = unsafe {
            if self.context.limits.get().native_code && ffi::luau_codegen_supported() != 0 {
                ffi::luau_codegen_create(state.as_ptr());
                NATIVE_SOURCE_BYTES
            } else {
                0
            }
        };
        let functions = RunFunctions::default();
        self.protected(set_up, &functions).map_err(|text| Error::Internal(text.unwrap_or_default()))?;
        // SAFETY: the state is alive and idle; setting a number neither collects nor raises.
        unsafe { ffi::lua_gc(state.as_ptr(), ffi::LUA_GCSETSTEPSIZE, STEP_KIB) };
        // SAFETY: the state is alive, idle, and one of this VM.
        let s = unsafe { Quiet::new(state.as_ptr()) };
        s.set_top(0);
        let names = self.context.names.get();
        for pinned in [functions.handler.get(), functions.run.get(), names.globals, names.keys, names.argv] {
            s.push_ref(pinned);
        }
        self.context.interrupt.set(Some(interrupt));
        self.context.allocator.set_interrupt(Some(interrupt));
        self.context.watchdog.watch(Some(interrupt));
        self.baseline = self.used();
        self.apply_memory_limit();
        Ok(())
    }

    fn close(&mut self) {
        self.context.watchdog.watch(None);
        self.context.allocator.set_interrupt(None);
        self.context.interrupt.set(None);
        if let Some(state) = self.state.take() {
            // SAFETY: nothing refers to the state any more: watchdog and allocator have just lost its interrupt.
            unsafe { ffi::lua_close(state.as_ptr()) };
        }
    }

    fn state(&self) -> Result<*mut ffi::lua_State> {
        self.state.map(NonNull::as_ptr).ok_or_else(|| Error::Internal("there is no Lua VM".to_owned()))
    }

    /// Calls Luau. A panic becomes an error, and the VM must be replaced.
    fn contain(&self, call: impl FnOnce() -> c_int) -> Result<c_int> {
        guarded(|| Ok(call())).inspect_err(|_| self.broken.set(true))
    }

    /// Calls `act` with `job` in protected mode. The error is its text, if it is a string.
    fn protected<J, F>(&self, act: F, job: &J) -> std::result::Result<(), Option<String>>
    where
        F: Fn(Stack<'_>, &J) + Copy + 'static,
    {
        let state = self.state.ok_or(None)?;
        // SAFETY: the state is alive, idle, and one of this VM.
        match self.contain(|| unsafe { call_protected(state, act, job) }) {
            Ok(ffi::LUA_OK) => return Ok(()),
            Ok(_) => {}
            Err(panic) => return Err(Some(panic.to_string())),
        }
        // SAFETY: the state is alive, idle, and one of this VM.
        let s = unsafe { Quiet::new(state.as_ptr()) };
        let text = s.bytes(-1).map(|text| String::from_utf8_lossy(text).into_owned());
        s.pop(1);
        Err(text)
    }

    /// Compiles a script, or the code of a library. The error says why that failed, and where.
    pub fn compile(&mut self, source: Source<'_>) -> Result<CompiledSource> {
        let refusal = |why: Vec<u8>| Error::Script([b"ERR Error compiling ", source.what(), b": ", why.as_slice()].concat());
        self.try_compile(source).map_err(refusal)
    }

    /// Compiles a source. The error is the reason alone.
    fn try_compile(&mut self, source: Source<'_>) -> std::result::Result<CompiledSource, Vec<u8>> {
        if let Some(why) = refusal(source.code) {
            return Err(why.to_vec());
        }
        self.context.allocator.forget_refusal();
        self.context.set_ended(None);
        let compilation = Compilation::new(source);
        let done = self.protected(compile, &compilation);
        if self.context.allocator.exceeded() || done.is_err() {
            // The next compilation makes a VM if there is none.
            let _ = self.recover();
            self.context.set_ended(Some(Termination::Memory));
            return Err(b"not enough memory".to_vec());
        }
        let Some((function, differs)) = compilation.function.get() else {
            let mut message = compilation.message.take();
            message.truncate(MESSAGE_BYTES);
            return Err(message);
        };
        Ok(CompiledSource { function, differs })
    }

    /// Compiles the code of a library and runs it, so that it registers its functions.
    pub fn load(&mut self, source: Source<'_>, port: &mut dyn Port) -> Result<LoadedChunk> {
        let code = self.compile(source)?.function;
        let redis = self.context.libraries.get().loading_functions;
        let (loaded, _, result) = self.run_library(code, redis, RunName::Library, port);
        let refusal = match result {
            Ok(()) if !loaded.functions.is_empty() => return Ok(loaded),
            Ok(()) => Error::Text("ERR No functions registered"),
            Err(Error::Script(text)) => Error::Script([b"ERR Error registering functions: ", text.as_slice()].concat()),
            Err(error) => error,
        };
        self.unload(&loaded);
        Err(refusal)
    }

    /// Compiles the code of a command file and runs it, so that it declares its commands. The error is the reason alone, with its
    /// line if it has one.
    pub fn load_commands(
        &mut self,
        source: Source<'_>,
        port: &mut dyn Port,
    ) -> std::result::Result<(LoadedChunk, Vec<Declaration>), Vec<u8>> {
        let without_name = |why: &[u8]| {
            let why = why.strip_prefix(b"ERR ").unwrap_or(why);
            let file = source.name.to_bytes().strip_prefix(b"@").unwrap_or_default();
            why.strip_prefix(file).and_then(|rest| rest.strip_prefix(b":")).unwrap_or(why).to_vec()
        };
        let code = self.try_compile(source).map_err(|why| without_name(&why))?.function;
        let redis = self.context.libraries.get().loading_commands;
        let (loaded, declared, result) = self.run_library(code, redis, RunName::CommandFile, port);
        let why = match result {
            Ok(()) if !declared.is_empty() => return Ok((loaded, declared)),
            Ok(()) => b"declares no command with redis.register_command".to_vec(),
            Err(error) => without_name(error.wire().as_bytes()),
        };
        self.unload(&loaded);
        Err(why)
    }

    /// Runs compiled code that sees this table as `redis`. Returns what it registered and declared, also if it failed.
    fn run_library(
        &mut self,
        code: Ref,
        redis: Ref,
        name: RunName<'_>,
        port: &mut dyn Port,
    ) -> (LoadedChunk, Vec<Declaration>, Result<()>) {
        let nothing: &[&[u8]] = &[];
        let entry = EntryPoint::Library(code, redis);
        let task = Task { entry, keys: &nothing, args: &nothing, numbers: NumberText::default() };
        let vm = self.number;
        let result = self.run(task, name, port, None);
        let (functions, declared) = self.context.run.take_loaded();
        (LoadedChunk { vm, code, functions }, declared, result)
    }

    /// Releases code and the functions that it registered.
    pub fn unload(&mut self, loaded: &LoadedChunk) {
        if loaded.vm == self.number {
            self.release(loaded.code);
            loaded.functions.iter().for_each(|function| self.release(function.callback));
        }
    }

    /// Compiles a function of this VM, and the functions in it, to machine code, which obeys the interrupt too. Answers false if
    /// that was not attempted: Luau keeps machine code outside the memory limit as long as the VM lives, so its source is
    /// bounded.
    pub fn compile_natively(&mut self, function: Ref, source_bytes: usize) -> bool {
        let Some(left) = self.native_bytes.checked_sub(source_bytes) else { return false };
        self.native_bytes = left;
        self.protected(compile_natively, &function).is_ok()
    }

    /// Whether the last run, or compilation, was terminated.
    pub fn was_terminated(&self) -> bool {
        self.context.has_ended()
    }

    /// Whether the last run was one of a registered function and changed the globals of a function. The answer is given once.
    pub fn take_rebound(&mut self) -> bool {
        std::mem::take(&mut self.rebound)
    }

    /// Releases a function of this VM.
    pub fn release(&mut self, function: Ref) {
        if let Some(state) = self.state {
            // SAFETY: the state is alive, idle, and one of this VM.
            unsafe { Quiet::new(state.as_ptr()) }.unpin(function);
        }
    }

    /// Runs compiled code.
    pub fn run(
        &mut self,
        task: Task<'_>,
        name: RunName<'_>,
        port: &mut dyn Port,
        sink: Option<&mut dyn ReplySink>,
    ) -> Result<()> {
        let state = self.state()?;
        self.limit_memory_of_run();
        use_format(task.numbers);
        let result = self.context.with_run(&task, port, sink, || {
            // SAFETY: the state is alive and idle. These slots have their values since `open`, there is room for as many more,
            // and copying never raises.
            let status = self.contain(|| unsafe {
                for value in RUN_TASK..=LAST {
                    ffi::lua_pushvalue(state, value);
                }
                ffi::lua_pcall(state, LAST - RUN_TASK, 0, HANDLER)
            });
            self.outcome(status?, name)
        });
        if self.broken.get() {
            // The next compilation makes a VM if there is none.
            let _ = self.replace();
            return result;
        }
        let rebound = self.context.run.rebound.take();
        self.rebound = rebound && matches!(task.entry, EntryPoint::Function(_));
        // SAFETY: the state is alive, idle, and one of this VM.
        self.restore_globals(unsafe { Quiet::new(state) }, task.entry, rebound);
        self.tidy(result)
    }

    /// Gives the thread its usual globals again, and the script too if it was given others.
    fn restore_globals(&self, s: Quiet<'_>, entry: EntryPoint, rebound: bool) {
        s.set_top(LAST);
        let globals = self.context.names.get().globals;
        match entry {
            EntryPoint::Script(_) if !rebound => {}
            EntryPoint::Script(script) => {
                use_globals(s, globals);
                s.push_ref(script);
                s.push_copy(Quiet::GLOBALS);
                s.set_globals_of(-2);
            }
            EntryPoint::Function(_) => use_globals(s, globals),
            EntryPoint::Library(..) => {
                library_globals::end(s);
                use_globals(s, globals);
            }
        }
        s.set_top(LAST);
    }

    /// The result of a run that ended with `status`. The port can still be asked.
    fn outcome(&self, status: c_int, name: RunName<'_>) -> Result<()> {
        if let Some(panic) = self.context.take_panic() {
            return Err(panic);
        }
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let mut failure = self.context.run.failure.take();
        let limits = self.context.limits.get();
        if let Some(termination) = self.context.termination() {
            failure.message = match (termination, name) {
                (Termination::Load, RunName::CommandFile) => b"ERR loading took more than 500 ms".to_vec(),
                _ => termination.text(&limits, self.context.writes()).into_bytes(),
            };
        } else if failure.message.is_empty() {
            failure.message = b"ERR error in error handling".to_vec();
        } else if failure.message.len() > limits.reply_bytes {
            failure.message = Termination::Reply.text(&limits, self.context.writes()).into_bytes();
        }
        Err(Error::Script(error_text::with_place(&failure, name)))
    }

    /// Cleans up after a run, so that its garbage does not limit the next one.
    fn tidy(&mut self, result: Result<()>) -> Result<()> {
        if self.context.allocator.exceeded() || self.used() > self.collect_above {
            // The reply may be written already. The next compilation makes a VM if there is none.
            let _ = self.recover();
        }
        self.context.allocator.set_limit(self.memory_limit());
        result
    }

    /// Collects all garbage and makes the VM prove that it works. Replaces it if it does not, or if too little memory is free.
    fn recover(&mut self) -> Result<()> {
        self.context.allocator.set_limit(usize::MAX);
        let healthy = !self.broken.get() && self.protected(prove, &()).is_ok();
        let limit = self.context.limits.get().memory_bytes;
        if !healthy || self.used() > self.baseline.saturating_add(limit / 2) {
            return self.replace();
        }
        self.apply_memory_limit();
        self.collect_above = self.collect_above.max(self.used().saturating_mul(2)).min(self.baseline.saturating_add(limit / 2));
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.close();
    }
}

/// Random bits. The standard library's hash maps take their keys from the same source.
fn secret() -> u64 {
    RandomState::new().build_hasher().finish()
}
