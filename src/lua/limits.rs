//! The limits of a run, and the watchdog thread that enforces those that are times.
//!
//! A run pays two atomic stores for its deadlines, and no clock is read for them and no system call made: a run takes a number when it
//! starts, and the watchdog, ticking while there is activity, measures how long it has seen the same number. When a limit has
//! passed it arms the VM's interrupt, a function pointer that Luau tests at every safepoint (calls, returns, loops, patterns).
//! An armed interrupt names the run it is meant for: the handler of a later run sees that and disarms it, so that nothing ever
//! hits the wrong run. Limits are therefore up to two ticks late and never early.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{io, ptr};

use mlua::ffi;

/// The settings of the engine. Changed between runs only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that scripts may hold in the VM, beyond what the VM itself needs: live values, garbage not collected yet, and the
    /// compiled scripts.
    pub memory_bytes: usize,
    /// Bytes that one run may add to what scripts hold; 0 is no limit of its own.
    pub run_memory_bytes: usize,
    /// Milliseconds after which a run that has not written yet is ended; 0 is no limit.
    pub timeout_ms: u64,
    /// Milliseconds after which any run is ended; 0 is no limit.
    pub budget_ms: u64,
    /// Milliseconds after which a run is ended that no client can end; 0 is no limit.
    pub unreachable_budget_ms: u64,
    /// Bytes of the arguments of one command that a script runs.
    pub argument_bytes: usize,
    /// Bytes of one reply, each value counted as its data and [`VALUE_BYTES`].
    pub reply_bytes: usize,
    /// Scripts that compute much become machine code. Holds from the next VM on.
    pub native_code: bool,
    /// Scripts have `getfenv`, `setfenv` and `newproxy`. Another value takes another VM.
    pub deprecated_api: bool,
    /// Levels of nesting in one reply; what lies deeper becomes an error inside the reply, as in Redis. At most [`MAX_DEPTH`].
    pub reply_depth: usize,
}

impl Limits {
    /// What one run may add to the memory at most.
    pub fn memory_of_run(&self) -> usize {
        if self.run_memory_bytes == 0 { self.memory_bytes } else { self.memory_bytes.min(self.run_memory_bytes) }
    }
}

/// What a value in a reply counts besides its data.
pub const VALUE_BYTES: usize = 16;

/// The deepest reply that is ever built, whatever the setting: a level costs C stack.
pub const MAX_DEPTH: usize = 1000;

/// Why a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The heap refused growth.
    Memory,
    /// `timeout_ms` passed before the first write.
    Timeout,
    /// `budget_ms` passed.
    Budget,
    /// `unreachable_budget_ms` passed in a run that no client can end.
    UnreachableBudget,
    /// The code of a library took too long.
    Load,
    /// A client ended it, with this command.
    Killed(&'static str),
    /// The arguments of a command are larger than `argument_bytes`.
    Arguments,
    /// The value returned is larger than `reply_bytes`.
    Reply,
    /// Port or sink panicked; the panic has its own text.
    Panic,
}

impl Verdict {
    /// The error's text without its position.
    pub fn text(self, limits: &Limits, writes: u64) -> String {
        let limit = match self {
            Self::Memory => format!("the memory limit of {} bytes", limits.memory_of_run()),
            Self::Timeout => format!("the time limit of {} ms", limits.timeout_ms),
            Self::Budget => format!("the time limit of {} ms", limits.budget_ms),
            Self::UnreachableBudget => {
                format!("the time limit of {} ms for scripts that SCRIPT KILL cannot reach", limits.unreachable_budget_ms)
            }
            Self::Load => return "ERR FUNCTION LOAD timeout".to_owned(),
            Self::Killed(command) => return format!("ERR Script killed by user with {command}."),
            Self::Arguments => format!("the argument limit of {} bytes", limits.argument_bytes),
            Self::Reply => format!("the reply limit of {} bytes", limits.reply_bytes),
            Self::Panic => "what it may do".to_owned(),
        };
        format!("ERR script exceeded {limit} ({writes} writes were applied)")
    }
}

/// The signature of Luau's interrupt.
pub(super) type Handler = unsafe extern "C-unwind" fn(*mut ffi::lua_State, std::ffi::c_int);

/// The place in a VM where Luau looks for its interrupt, and what to put there.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    place: *const AtomicPtr<c_void>,
    handler: Handler,
}

// SAFETY: the place is only accessed atomically, and the watchdog uses it under the lock under which it is replaced before
// its VM is closed.
unsafe impl Send for Slot {}

impl Slot {
    /// The slot of the VM whose callbacks these are.
    ///
    /// # Safety
    /// `callbacks` must stay valid as long as the slot is used.
    pub unsafe fn new(callbacks: *mut ffi::lua_Callbacks, handler: Handler) -> Self {
        // SAFETY: the caller's promise; an optional function pointer has the size of a pointer, null being None.
        let place = unsafe { &raw mut (*callbacks).interrupt };
        Self { place: place.cast_const().cast(), handler }
    }

    fn store(self, value: *mut c_void) {
        // SAFETY: the place is valid as promised in `new`, aligned as a pointer, and written by this function only.
        unsafe { (*self.place).store(value, Ordering::Relaxed) };
    }

    /// Luau calls the handler at its next safepoint.
    pub fn arm(self) {
        self.store(self.handler as *mut c_void);
    }

    /// Luau no longer calls the handler.
    pub fn disarm(self) {
        self.store(ptr::null_mut());
    }
}

/// What the engine and the watchdog share.
struct Shared {
    /// Counts starts and ends: odd while a run is under way.
    run: AtomicU64,
    /// `run << 4 | bits`: the last run that passed a limit, and which limits.
    passed: AtomicU64,
    timeout_ms: AtomicU64,
    budget_ms: AtomicU64,
    unreachable_budget_ms: AtomicU64,
    asleep: AtomicBool,
    stop: AtomicBool,
    slot: Mutex<Option<Slot>>,
}

const TIMEOUT: u64 = 1;
const BUDGET: u64 = 2;
const UNREACHABLE_BUDGET: u64 = 4;
const PAUSE: u64 = 8;
const BITS: u32 = 4;

/// From here on a run pauses now and then to let the server see to its other clients. The server knows when it should.
const PAUSE_MS: u64 = 50;

/// What the current run has passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// `timeout_ms`.
    pub timeout: bool,
    /// `budget_ms`.
    pub budget: bool,
    /// `unreachable_budget_ms`.
    pub unreachable_budget: bool,
    /// [`PAUSE_MS`].
    pub pause: bool,
}

/// The handle of the watchdog thread. Dropping it joins the thread.
pub(super) struct Watchdog {
    shared: Arc<Shared>,
    thread: OnceCell<JoinHandle<()>>,
}

impl Watchdog {
    /// A watchdog for VMs to come. The thread starts when the limits are set.
    pub fn new() -> Self {
        let shared = Shared {
            run: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            timeout_ms: AtomicU64::new(0),
            budget_ms: AtomicU64::new(0),
            unreachable_budget_ms: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            slot: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), thread: OnceCell::new() }
    }

    /// Watches another VM from now on; `None` before a VM is closed.
    pub fn watch(&self, slot: Option<Slot>) {
        *lock(&self.shared.slot) = slot;
    }

    /// Sets the limits for the runs to come; between runs only. Fails if the thread cannot be started.
    pub fn set_limits(&self, limits: &Limits) -> io::Result<()> {
        self.shared.timeout_ms.store(limits.timeout_ms, Ordering::Relaxed);
        self.shared.budget_ms.store(limits.budget_ms, Ordering::Relaxed);
        self.shared.unreachable_budget_ms.store(limits.unreachable_budget_ms, Ordering::Relaxed);
        if self.thread.get().is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("atomic-watchdog".to_owned()).spawn(move || watch(&shared))?;
            // Only this function fills the cell, and it just saw it empty.
            let _ = self.thread.set(thread);
        }
        self.wake();
        Ok(())
    }

    /// A run starts. Sequentially consistent with the thread's falling asleep: either it sees the run or the run sees it
    /// asleep.
    pub fn start(&self) {
        let run = self.shared.run.load(Ordering::Relaxed);
        self.shared.run.store(run.wrapping_add(1), Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// The run is over.
    pub fn end(&self) {
        let run = self.shared.run.load(Ordering::Relaxed);
        self.shared.run.store(run.wrapping_add(1), Ordering::Release);
    }

    /// What the current run has passed.
    pub fn passed(&self) -> Passed {
        let passed = self.shared.passed.load(Ordering::Acquire);
        let current = passed >> BITS == self.shared.run.load(Ordering::Relaxed);
        let has = |bit| current && passed & bit != 0;
        Passed { timeout: has(TIMEOUT), budget: has(BUDGET), unreachable_budget: has(UNREACHABLE_BUDGET), pause: has(PAUSE) }
    }

    fn wake(&self) {
        self.shared.asleep.store(false, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            thread.thread().unpark();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // The thread cannot panic; were it to, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// The slot guards a plain value: a poisoned lock is as good as any.
fn lock(slot: &Mutex<Option<Slot>>) -> MutexGuard<'_, Option<Slot>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watchdog has seen.
struct Sight {
    run: u64,
    since: Instant,
    told: u64,
}

/// How long the watchdog keeps ticking after the last change.
const LINGER: Duration = Duration::from_secs(1);

fn watch(shared: &Shared) {
    let mut sight = Sight { run: 0, since: Instant::now(), told: 0 };
    while !shared.stop.load(Ordering::SeqCst) {
        let run = shared.run.load(Ordering::SeqCst);
        if run != sight.run {
            sight = Sight { run, since: Instant::now(), told: 0 };
        } else if run & 1 == 1 {
            check(shared, &mut sight);
        } else if sight.since.elapsed() > LINGER {
            sleep(shared, run);
            continue;
        }
        thread::park_timeout(tick(shared));
    }
}

/// Sleeps until a run starts, unless one has started since `run` was seen.
fn sleep(shared: &Shared, run: u64) {
    shared.asleep.store(true, Ordering::SeqCst);
    while shared.asleep.load(Ordering::SeqCst) && shared.run.load(Ordering::SeqCst) == run && !shared.stop.load(Ordering::SeqCst)
    {
        thread::park();
    }
    shared.asleep.store(false, Ordering::SeqCst);
}

/// A quarter of the shortest limit, between 1 and 50 ms.
fn tick(shared: &Shared) -> Duration {
    let limits =
        [&shared.timeout_ms, &shared.budget_ms, &shared.unreachable_budget_ms].map(|limit| limit.load(Ordering::Relaxed));
    let shortest = limits.into_iter().filter(|&ms| ms > 0).min().unwrap_or(u64::MAX);
    Duration::from_millis((shortest / 4).clamp(1, 50))
}

/// Arms the interrupt when the run in sight passes a limit, and at every tick from when it pauses on.
fn check(shared: &Shared, sight: &mut Sight) {
    let elapsed = sight.since.elapsed();
    let over = |ms: u64, bit: u64| if ms > 0 && elapsed >= Duration::from_millis(ms) { bit } else { 0 };
    let passed = over(shared.timeout_ms.load(Ordering::Relaxed), TIMEOUT)
        | over(shared.budget_ms.load(Ordering::Relaxed), BUDGET)
        | over(shared.unreachable_budget_ms.load(Ordering::Relaxed), UNREACHABLE_BUDGET)
        | over(PAUSE_MS, PAUSE);
    if passed != sight.told || passed & PAUSE != 0 {
        sight.told = passed;
        shared.passed.store(sight.run.wrapping_shl(BITS) | passed, Ordering::Release);
        if let Some(slot) = *lock(&shared.slot) {
            slot.arm();
        }
    }
}
