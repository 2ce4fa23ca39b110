//! The server's clock, read once per command.
//!
//! From 7.2 on the server has one time per execution unit (a command, a transaction, a script), which this module reads. On 7.0 it reads
//! the system clock, so there a script run keeps one reading for all its commands ([`Frozen`]), and a small step backwards is hidden: a
//! reading up to [`JITTER_MICROS`] before the last one counts as the last one. A larger step means that the clock was set, and is
//! followed.

use std::ffi::{c_int, c_long};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::module_api;
use crate::primitives::time::UnixMicros;

const JITTER_MICROS: u64 = 1_000_000;

/// The last reading on a server without a time of its own.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Whether a script run keeps its first reading.
static HELD: AtomicBool = AtomicBool::new(false);

/// The reading that a script run keeps; 0 before the first.
static FROZEN: AtomicU64 = AtomicU64::new(0);

/// The time of the running command.
#[must_use]
pub fn now() -> UnixMicros {
    if let Some(micros) = module_api::cached_microseconds() {
        return UnixMicros(micros);
    }
    if !HELD.load(Ordering::Relaxed) {
        return read();
    }
    match FROZEN.load(Ordering::Relaxed) {
        0 => {
            let now = read();
            FROZEN.store(now.0, Ordering::Relaxed);
            now
        }
        micros => UnixMicros(micros),
    }
}

/// The current system time, which the server's timers use. Decisions use [`now`].
///
/// Calls the C library itself: `SystemTime` spends as many instructions on its conversions as the decision of a rate limit takes.
#[must_use]
pub fn system() -> UnixMicros {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the function writes one `timespec`, whose layout `Timespec` has. It fails only for a clock that does not exist.
    unsafe { clock_gettime(CLOCK_REALTIME, &raw mut time) };
    let [seconds, nanoseconds] = [time.seconds, time.nanoseconds].map(|part| u64::try_from(part).unwrap_or(0));
    UnixMicros(seconds.saturating_mul(1_000_000).saturating_add(nanoseconds / 1000))
}

/// The C type `timespec`. Both parts have 64 bits on every 64-bit Unix.
#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

const _: () = assert!(size_of::<Timespec>() == 16, "a timespec of two 64-bit numbers");

const CLOCK_REALTIME: c_int = 0;

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
}

fn read() -> UnixMicros {
    let micros = system().0;
    let steady = steady(LAST.load(Ordering::Relaxed), micros);
    LAST.store(steady, Ordering::Relaxed);
    UnixMicros(steady)
}

fn steady(last: u64, micros: u64) -> u64 {
    if micros < last && last.saturating_sub(micros) <= JITTER_MICROS { last } else { micros }
}

/// While this value lives, every command sees the same time. It matters only on servers without a time of their own.
pub struct Frozen(());

impl Frozen {
    /// Freezes the clock at its next reading.
    #[must_use]
    pub fn new() -> Self {
        FROZEN.store(0, Ordering::Relaxed);
        HELD.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl Default for Frozen {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        HELD.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_step_back_is_hidden_and_a_large_one_is_followed() {
        assert_eq!(steady(5_000_000, 4_999_999), 5_000_000);
        assert_eq!(steady(5_000_000, 4_000_000), 5_000_000);
        assert_eq!(steady(5_000_000, 3_999_999), 3_999_999);
        assert_eq!(steady(5_000_000, 5_000_001), 5_000_001);
    }
}
