//! The thread that enforces the time limits of runs.
//!
//! A run pays two atomic stores for its deadlines. It reads no clock and makes no system call: it takes a number when it starts,
//! and the watchdog, which ticks while there is activity, measures how long it has seen the same number. When a limit has passed,
//! the watchdog arms the VM's interrupt. The limits that passed are stored with the number of the run, so a later run ignores an
//! interrupt that was meant for an earlier one and disarms it. Limits are therefore up to two ticks late, and never early.

use std::cell::OnceCell;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use crate::lua::limits::Limits;

/// The state that the engine and the thread share.
struct Shared {
    /// Counts starts and ends: odd during a run.
    run: AtomicU64,
    /// `run << 4 | bits`: the last run that passed a limit, and the limits that it passed.
    passed: AtomicU64,
    timeout_ms: AtomicU64,
    budget_ms: AtomicU64,
    unreachable_budget_ms: AtomicU64,
    asleep: AtomicBool,
    stop: AtomicBool,
    interrupt: Mutex<Option<Interrupt>>,
}

const TIMEOUT: u64 = 1;
const BUDGET: u64 = 2;
const UNREACHABLE_BUDGET: u64 = 4;
const PAUSE: u64 = 8;
const BITS: u32 = 4;

/// A run longer than this pauses now and then to let the server serve other clients. The server decides whether it does.
const PAUSE_MS: u64 = 50;

/// The limits that the current run has passed.
#[derive(Debug, Clone, Copy)]
pub(in crate::lua) struct Passed {
    pub timeout: bool,
    pub budget: bool,
    pub unreachable_budget: bool,
    /// [`PAUSE_MS`].
    pub pause: bool,
}

/// The handle of the watchdog thread. Dropping it joins the thread.
pub(in crate::lua) struct Watchdog {
    shared: Arc<Shared>,
    thread: OnceCell<JoinHandle<()>>,
}

impl Watchdog {
    /// A watchdog without a VM. The thread starts when limits are set.
    pub fn new() -> Self {
        let shared = Shared {
            run: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            timeout_ms: AtomicU64::new(0),
            budget_ms: AtomicU64::new(0),
            unreachable_budget_ms: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            interrupt: Mutex::new(None),
        };
        Self { shared: Arc::new(shared), thread: OnceCell::new() }
    }

    /// Sets the VM to watch; `None` before a VM is closed.
    pub fn watch(&self, interrupt: Option<Interrupt>) {
        *lock(&self.shared.interrupt) = interrupt;
    }

    /// Sets the limits of the next runs; between runs only. Fails if the thread cannot be started.
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

    /// Starts a run. Both this store and the thread's `asleep` are sequentially consistent: either the thread sees the run, or
    /// the run sees the thread asleep.
    pub fn start(&self) {
        let run = self.shared.run.load(Ordering::Relaxed);
        self.shared.run.store(run.wrapping_add(1), Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Ends the run.
    pub fn end(&self) {
        let run = self.shared.run.load(Ordering::Relaxed);
        self.shared.run.store(run.wrapping_add(1), Ordering::Release);
    }

    /// Whether the current run has passed a limit.
    pub fn has_passed(&self) -> bool {
        self.shared.passed.load(Ordering::Acquire) >> BITS == self.shared.run.load(Ordering::Relaxed)
    }

    /// The limits that the current run has passed.
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
            // The thread cannot panic; if it did, there would be nothing to do about it here.
            let _ = thread.join();
        }
    }
}

/// The lock guards a plain value, so a poisoned lock is as good as any.
fn lock(interrupt: &Mutex<Option<Interrupt>>) -> MutexGuard<'_, Option<Interrupt>> {
    interrupt.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last observation of the thread.
struct Observed {
    run: u64,
    since: Instant,
    reported: u64,
}

/// How long the thread keeps ticking after the last change.
const LINGER: Duration = Duration::from_secs(1);

fn watch(shared: &Shared) {
    let mut observed = Observed { run: 0, since: Instant::now(), reported: 0 };
    while !shared.stop.load(Ordering::SeqCst) {
        let run = shared.run.load(Ordering::SeqCst);
        if run != observed.run {
            observed = Observed { run, since: Instant::now(), reported: 0 };
        } else if run & 1 == 1 {
            check(shared, &mut observed);
        } else if observed.since.elapsed() > LINGER {
            sleep(shared, run);
            continue;
        }
        thread::park_timeout(tick(shared));
    }
}

/// Sleeps until a run starts, unless one has started since `run` was read.
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

/// Arms the interrupt when the observed run passes a limit; and at every tick once the run should pause.
fn check(shared: &Shared, observed: &mut Observed) {
    let elapsed = observed.since.elapsed();
    let over = |ms: u64, bit: u64| if ms > 0 && elapsed >= Duration::from_millis(ms) { bit } else { 0 };
    let passed = over(shared.timeout_ms.load(Ordering::Relaxed), TIMEOUT)
        | over(shared.budget_ms.load(Ordering::Relaxed), BUDGET)
        | over(shared.unreachable_budget_ms.load(Ordering::Relaxed), UNREACHABLE_BUDGET)
        | over(PAUSE_MS, PAUSE);
    if passed != observed.reported || passed & PAUSE != 0 {
        observed.reported = passed;
        shared.passed.store(observed.run.wrapping_shl(BITS) | passed, Ordering::Release);
        if let Some(interrupt) = *lock(&shared.interrupt) {
            interrupt.arm();
        }
    }
}
