//! Fencing tokens: `max(last + 1, unix microseconds)`.
//!
//! `last` is the highest number that this process has issued or read from a stored lock, so numbers strictly increase while the process
//! lives, regardless of the clock. Across a restart or a failover they increase as long as the new server's clock is not behind the last
//! number: nothing is persisted for them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::primitives::lock::MAX_FENCE;
use crate::primitives::time::UnixMicros;

static LAST: AtomicU64 = AtomicU64::new(0);

/// The number for the next ownership. It counts as issued after a call of [`observe`].
#[must_use]
pub fn next(now: UnixMicros) -> u64 {
    LAST.load(Ordering::Relaxed).saturating_add(1).max(now.0)
}

/// Records a number that was issued or read. Only a crafted value is above half the range, and it is ignored, so one hostile key cannot
/// exhaust the numbers of all other keys.
pub fn observe(fence: u64) {
    if fence <= MAX_FENCE / 2 {
        LAST.fetch_max(fence, Ordering::Relaxed);
    }
}
