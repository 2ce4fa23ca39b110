//! Creates a VM, runs scripts in it, and replaces it when it can no longer be trusted.
//!
//! A run is one protected call. Inside it `run_task` sets the arguments, calls the script and writes its result; whatever
//! goes wrong there unwinds to the one `lua_pcall` here, as a C++ exception, and becomes an `Error` in `outcome`. Nothing
//! that can raise is called outside of a protected call. After a limit was hit the VM proves that it works, or is replaced.

pub mod context;
pub mod fault;
pub mod heap;
mod inside;
pub mod random;
pub mod stack;

use std::ffi::c_int;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use mlua::ffi;

use self::context::{Context, Entry, Failure, Registered, ServerVersion, Source, Task};
use self::heap::allocate;
use self::inside::{compile_natively, compile_source, interrupt, prove, set_up, use_globals};
use self::stack::{Native, Ref, Stack, native};
use super::limits::{Limits, Slot, Verdict};
use super::loaded::declaration::Declaration;
use super::numbers::text::{NumberText, use_format};
use super::port::{NativeCommand, Port, ReplySink};
use super::sandbox;
use super::sandbox::library_globals;
use super::scripts::cache::Digest;
use crate::error::{Error, MESSAGE_BYTES, Result};

/// How much the collector does at a time. Luau's own 1 KiB is outrun by strings of a few of them.
const STEP_KIB: c_int = 64;

/// Machine code is a multiple of its source, and stays until the VM is closed.
const NATIVE_SOURCE_BYTES: usize = 256 << 10;

/// Garbage below this is left to Luau's own collector.
const GARBAGE_BYTES: usize = 4 << 20;

/// Slots of the main stack that are always there.
const HANDLER: c_int = 1;
const RUN_TASK: c_int = 2;
// Then what every run begins with on its stack: the globals, and the names KEYS and ARGV.
const LAST: c_int = 5;

/// What errors call a run.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    /// A script.
    Script(Digest),
    /// A function.
    Function(&'a [u8]),
    /// The code of a library, whose errors are told apart otherwise.
    Nothing,
    /// The code of a file, whose errors are told apart by their lines.
    File,
}

/// The code of a library, which has run in the VM of this number.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The VM.
    pub vm: u64,
    /// The code itself.
    pub code: Ref,
    /// What it registered.
    pub functions: Vec<Registered>,
}

impl Loaded {
    /// The number of no VM.
    pub const GONE: u64 = u64::MAX;
}

/// See the module's documentation.
pub(super) struct Vm {
    context: Rc<Context>,
    state: Option<NonNull<ffi::lua_State>>,
    number: u64,
    baseline: usize,
    collect_above: usize,
    /// The last run was a function's, and gave one other globals.
    rebound: bool,
    /// Machine code may be made of so many bytes of source; 0 where this machine, or the settings, have none.
    native_bytes: usize,
}

impl Vm {
    /// A VM that is ready to run scripts.
    pub fn new(limits: Limits, version: ServerVersion, natives: Vec<NativeCommand>) -> Result<Self> {
        let context = Rc::new(Context::new(limits, version, natives));
        let mut vm = Self { context, state: None, number: 0, baseline: 0, collect_above: 0, rebound: false, native_bytes: 0 };
        vm.set_limits(limits)?;
        vm.replace()?;
        Ok(vm)
    }

    /// The VM's number: functions of another number are gone.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.context.heap.used()
    }

    /// Bytes of all values, garbage included. Finer than [`Vm::used`]: Luau takes memory for small values by the page.
    pub fn value_bytes(&self) -> usize {
        let Some(state) = self.state.map(NonNull::as_ptr) else { return 0 };
        // SAFETY: the state is alive; asking for these two numbers neither collects nor raises.
        let (kilobytes, rest) = unsafe { (ffi::lua_gc(state, ffi::LUA_GCCOUNT, 0), ffi::lua_gc(state, ffi::LUA_GCCOUNTB, 0)) };
        let count = |number: c_int| usize::try_from(number).unwrap_or(0);
        count(kilobytes).saturating_mul(1024).saturating_add(count(rest))
    }

    /// Sets the limits for the runs to come.
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

    fn apply_memory_limit(&mut self) {
        let limit = self.context.limits.get().memory_bytes;
        self.context.heap.set_limit(self.baseline.saturating_add(limit));
        self.collect_above = self.used().saturating_add(GARBAGE_BYTES.min(limit / 2));
    }

    /// The heap may grow to the limit of the VM or of the run, whichever comes first.
    fn limit_memory_of_run(&self) {
        let limits = self.context.limits.get();
        if limits.run_memory_bytes > 0 {
            let of_vm = self.baseline.saturating_add(limits.memory_bytes);
            self.context.heap.set_limit(of_vm.min(self.used().saturating_add(limits.run_memory_bytes)));
        }
    }

    /// Replaces the VM by a new one. All functions are gone.
    pub fn replace(&mut self) -> Result<()> {
        self.close();
        // What could not be set up is not used; the next compilation tries again.
        self.open().inspect_err(|_| self.close())
    }

    fn open(&mut self) -> Result<()> {
        let context = Rc::as_ptr(&self.context);
        self.context.heap.set_limit(usize::MAX);
        // SAFETY: the heap is part of the context, which outlives the VM: `close` runs before it is dropped.
        let state = unsafe { ffi::lua_newstate(allocate, (&raw const (*context).heap).cast_mut().cast()) };
        let state = NonNull::new(state).ok_or_else(|| Error::Internal("no memory for a Lua VM".to_owned()))?;
        self.state = Some(state);
        self.number += 1;
        // SAFETY: the state was just made; its callbacks live as long as it does, and the slot is withdrawn in `close`.
        let slot = unsafe {
            let callbacks = ffi::lua_callbacks(state.as_ptr());
            (*callbacks).userdata = context.cast_mut().cast();
            // What `tostring` shows of a table is no address.
            ffi::lua_setpointerencodekey(state.as_ptr(), secret(), secret(), secret(), secret());
            Slot::new(callbacks, interrupt)
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
        self.protected(native(set_up)).map_err(|text| Error::Internal(text.unwrap_or_default()))?;
        let names = self.context.names.get();
        // SAFETY: the registry keeps all of these; a new state has room for them, and pushing a pinned value never raises.
        unsafe {
            ffi::lua_settop(state.as_ptr(), 0);
            ffi::lua_rawgetfield(state.as_ptr(), ffi::LUA_REGISTRYINDEX, c"atomic.handler".as_ptr());
            ffi::lua_rawgetfield(state.as_ptr(), ffi::LUA_REGISTRYINDEX, c"atomic.run".as_ptr());
            let s = Stack::of_running(state.as_ptr());
            ffi::lua_gc(state.as_ptr(), ffi::LUA_GCSETSTEPSIZE, STEP_KIB);
            [names.globals, names.keys, names.argv].into_iter().for_each(|name| s.push_ref(name));
        }
        self.context.slot.set(Some(slot));
        self.context.heap.arm_on_refusal(slot);
        self.context.watchdog.watch(Some(slot));
        self.baseline = self.used();
        self.apply_memory_limit();
        Ok(())
    }

    fn close(&mut self) {
        self.context.watchdog.watch(None);
        self.context.heap.disarm();
        self.context.slot.set(None);
        if let Some(state) = self.state.take() {
            // SAFETY: nothing refers to the state any more: the watchdog and the heap have just been told.
            unsafe { ffi::lua_close(state.as_ptr()) };
        }
    }

    fn state(&self) -> Result<*mut ffi::lua_State> {
        self.state.map(NonNull::as_ptr).ok_or_else(|| Error::Internal("there is no Lua VM".to_owned()))
    }

    /// Calls a C function without arguments in protected mode. The error is its text, if it is one.
    fn protected(&self, function: Native) -> std::result::Result<(), Option<String>> {
        let state = self.state.ok_or(None)?.as_ptr();
        // SAFETY: the state is alive and idle; lua_cpcall protects the call, and what follows never raises: the error is read
        // only if it is a string.
        unsafe {
            if ffi::lua_cpcall(state, function.function, ptr::null_mut()) == ffi::LUA_OK {
                return Ok(());
            }
            let mut len = 0;
            let text = ffi::lua_tolstringatom(state, -1, &mut len, ptr::null_mut());
            let text = (!text.is_null())
                .then(|| String::from_utf8_lossy(std::slice::from_raw_parts(text.cast::<u8>(), len)).into_owned());
            ffi::lua_settop(state, -2);
            Err(text)
        }
    }

    /// Compiles a script, or the code of a library. The error says why not, and where.
    pub fn compile(&mut self, source: Source<'_>) -> Result<Ref> {
        let refusal = |why: Vec<u8>| Error::Script([b"ERR Error compiling ", source.what(), b": ", why.as_slice()].concat());
        self.try_compile(source).map_err(refusal)
    }

    /// Compiles something. The error is the reason alone.
    fn try_compile(&mut self, source: Source<'_>) -> std::result::Result<Ref, Vec<u8>> {
        if let Some(why) = sandbox::refusal(source.code) {
            return Err(why.to_vec());
        }
        self.context.heap.forget_refusal();
        self.context.set_ended(None);
        // SAFETY: only the lifetime changes; the cell is emptied below, before the source can go.
        self.context.source.set(Some(unsafe { std::mem::transmute::<Source<'_>, Source<'static>>(source) }));
        let done = self.protected(native(compile_source));
        self.context.source.set(None);
        let failure = self.context.failure.take();
        let compiled = self.context.compiled.take();
        if self.context.heap.exceeded() || done.is_err() {
            // A VM that is missing is made by the next compilation.
            let _ = self.recover();
            self.context.set_ended(Some(Verdict::Memory));
            return Err(b"not enough memory".to_vec());
        }
        compiled.ok_or_else(|| {
            let mut message = failure.message;
            message.truncate(MESSAGE_BYTES);
            message
        })
    }

    /// Whether what was compiled last means something else in Lua 5.1.
    pub fn differs(&self) -> bool {
        self.context.differs.get()
    }

    /// Compiles the code of a library and runs it, so that it registers its functions.
    pub fn load(&mut self, source: Source<'_>, port: &mut dyn Port) -> Result<Loaded> {
        let code = self.compile(source)?;
        let vm = self.number;
        self.context.registered.take();
        let result = self.run_library(code, self.context.libraries.get().loading_functions, Name::Nothing, port);
        let loaded = Loaded { vm, code, functions: self.context.registered.take() };
        let refusal = match result {
            Ok(()) if !loaded.functions.is_empty() => return Ok(loaded),
            Ok(()) => Error::Text("ERR No functions registered"),
            Err(Error::Script(text)) => Error::Script([b"ERR Error registering functions: ", text.as_slice()].concat()),
            Err(error) => error,
        };
        self.unload(&loaded);
        Err(refusal)
    }

    /// Compiles the code of a file and runs it, so that it declares its commands. The error is the reason alone, with its line if it has one.
    pub fn load_commands(
        &mut self,
        source: Source<'_>,
        port: &mut dyn Port,
    ) -> std::result::Result<(Loaded, Vec<Declaration>), Vec<u8>> {
        let without_name = |why: &[u8]| {
            let why = why.strip_prefix(b"ERR ").unwrap_or(why);
            let file = source.name.to_bytes().strip_prefix(b"@").unwrap_or_default();
            why.strip_prefix(file).and_then(|rest| rest.strip_prefix(b":")).unwrap_or(why).to_vec()
        };
        let code = self.try_compile(source).map_err(|why| without_name(&why))?;
        let vm = self.number;
        self.context.registered.take();
        self.context.declared.take();
        let result = self.run_library(code, self.context.libraries.get().loading_commands, Name::File, port);
        let loaded = Loaded { vm, code, functions: self.context.registered.take() };
        let declared = self.context.declared.take();
        let why = match result {
            Ok(()) if !declared.is_empty() => return Ok((loaded, declared)),
            Ok(()) => b"declares no command with redis.register_command".to_vec(),
            Err(error) => without_name(error.wire().as_bytes()),
        };
        self.unload(&loaded);
        Err(why)
    }

    /// Runs the compiled code of a library, which sees this table as `redis`. The error has no position of its own.
    fn run_library(&mut self, code: Ref, redis: Ref, name: Name<'_>, port: &mut dyn Port) -> Result<()> {
        let nothing: &[&[u8]] = &[];
        let task = Task { entry: Entry::Library(code, redis), keys: &nothing, args: &nothing, numbers: NumberText::default() };
        self.run(task, name, port, None)
    }

    /// Forgets what was loaded.
    pub fn unload(&mut self, loaded: &Loaded) {
        if loaded.vm == self.number {
            self.release(loaded.code);
            loaded.functions.iter().for_each(|function| self.release(function.callback));
        }
    }

    /// Has machine code made of a script of this VM, and of the functions in it, which obeys the interrupt as before; false if it is not
    /// asked for. Luau keeps that code, outside of the memory limit, as long as the VM: so there is a bound to how much source it is made of.
    pub fn compile_natively(&mut self, function: Ref, source_bytes: usize) -> bool {
        let Some(left) = self.native_bytes.checked_sub(source_bytes) else { return false };
        self.native_bytes = left;
        self.context.compiled.set(Some(function));
        let done = self.protected(native(compile_natively)).is_ok();
        self.context.compiled.set(None);
        done
    }

    /// Whether a limit ended the last run, or the compiler had too little memory.
    pub fn ended_by_limit(&self) -> bool {
        self.context.has_ended()
    }

    /// Whether the last run was a function's that gave one other globals; asked once.
    pub fn take_rebound(&mut self) -> bool {
        std::mem::take(&mut self.rebound)
    }

    /// Forgets a function of this VM.
    pub fn release(&mut self, function: Ref) {
        if let Some(state) = self.state {
            function.unpin(state);
        }
    }

    /// Runs something compiled. Its name is for errors.
    pub fn run(&mut self, task: Task<'_>, name: Name<'_>, port: &mut dyn Port, sink: Option<&mut dyn ReplySink>) -> Result<()> {
        let state = self.state()?;
        self.limit_memory_of_run();
        use_format(task.numbers);
        self.context.enter(task, port, sink);
        // SAFETY: the values lie at these slots since `open`; there is room for as many more, and copying never raises.
        let status = unsafe {
            for value in RUN_TASK..=LAST {
                ffi::lua_pushvalue(state, value);
            }
            ffi::lua_pcall(state, LAST - RUN_TASK, 0, HANDLER)
        };
        let result = self.outcome(status, name);
        self.context.leave();
        // SAFETY: shrinking the stack never raises, nor does pushing pinned values for which it has room. A number that is no function
        // any more gets no globals.
        unsafe {
            ffi::lua_settop(state, LAST);
            let (s, rebound) = (Stack::of_running(state), self.context.rebound.take());
            self.rebound = rebound && matches!(task.entry, Entry::Function(_));
            match task.entry {
                Entry::Script(_) if !rebound => {}
                Entry::Script(script) => {
                    use_globals(s, self.context.names.get().globals);
                    s.push_ref(script);
                    s.push_copy(Stack::GLOBALS);
                    s.set_globals_of(-2);
                }
                Entry::Function(_) => use_globals(s, self.context.names.get().globals),
                Entry::Library(..) => {
                    library_globals::end(s);
                    use_globals(s, self.context.names.get().globals);
                }
            }
            ffi::lua_settop(state, LAST);
        }
        self.tidy(result)
    }

    /// What a run that ended with `status` came to. The port can still be asked.
    fn outcome(&self, status: c_int, name: Name<'_>) -> Result<()> {
        if let Some(text) = self.context.take_panic() {
            return Err(Error::Internal(text));
        }
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let mut failure = self.context.failure.take();
        if let Some(verdict) = self.context.verdict() {
            failure.message = match (verdict, name) {
                (Verdict::Load, Name::File) => b"ERR loading took more than 500 ms".to_vec(),
                _ => verdict.text(&self.context.limits.get(), self.context.writes()).into_bytes(),
            };
        } else if failure.message.is_empty() {
            failure.message = b"ERR error in error handling".to_vec();
        } else if failure.message.len() > self.context.limits.get().reply_bytes {
            failure.message = Verdict::Reply.text(&self.context.limits.get(), self.context.writes()).into_bytes();
        }
        Err(Error::Script(with_place(&failure, name)))
    }

    /// Cleans up after a run: what it left behind must not limit the next one.
    fn tidy(&mut self, result: Result<()>) -> Result<()> {
        if self.context.heap.exceeded() || self.used() > self.collect_above {
            // The reply may be out already. A VM that is missing is made by the next compilation.
            let _ = self.recover();
        }
        self.context.heap.set_limit(self.baseline.saturating_add(self.context.limits.get().memory_bytes));
        result
    }

    /// Collects all garbage and makes the VM prove that it works; replaces it if it does not, or if too little is free.
    fn recover(&mut self) -> Result<()> {
        self.context.heap.set_limit(usize::MAX);
        let healthy = self.protected(native(prove)).is_ok();
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

/// Random bits: the keys of the standard library's hash maps are that.
fn secret() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The message behind its position, unless it has that already.
fn with_line(message: &[u8], place: &[u8]) -> Vec<u8> {
    let place = place.strip_prefix(b"@").unwrap_or(place);
    let file = place.rsplitn(2, |&byte| byte == b':').nth(1).unwrap_or_default();
    let bare = message.strip_prefix(b"ERR ").unwrap_or(message);
    if file.is_empty() || bare.starts_with(file) { message.to_vec() } else { [place, b": ", bare].concat() }
}

/// The message, with the position that Redis adds.
fn with_place(failure: &Failure, name: Name<'_>) -> Vec<u8> {
    let mut text = failure.message.clone();
    let hex;
    let name = match name {
        Name::Script(digest) => {
            hex = digest.hex();
            Some(&hex[..])
        }
        Name::Function(name) => Some(name),
        Name::Nothing => None,
        Name::File => return with_line(&text, &failure.place),
    };
    if let Some(name) = name.filter(|_| !failure.place.is_empty()) {
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(name);
        text.extend_from_slice(b", on ");
        text.extend_from_slice(&failure.place);
        text.push(b'.');
    }
    text
}
