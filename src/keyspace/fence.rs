//! Fencing numbers: `max(last + 1, unix microseconds)`.
//!
//! `last` is the highest number that this process issued or saw in a stored lock, so numbers grow strictly while the process lives,
//! whatever the clock does. Across a restart or a failover they grow as long as the new server's clock is not behind the last number:
//! nothing permanent is stored for it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::primitives::lock::MAX_FENCE;
use crate::primitives::time::UnixMicros;

static LAST: AtomicU64 = AtomicU64::new(0);

/// The number that the next ownership gets. It counts as issued once [`observe`] has seen it.
#[must_use]
pub fn next(now: UnixMicros) -> u64 {
    LAST.load(Ordering::Relaxed).saturating_add(1).max(now.0)
}

/// Remembers a number that was issued or read. One beyond half the range can only be crafted; it does not count, so that one hostile
/// key cannot exhaust the numbers of all the others.
pub fn observe(fence: u64) {
    if fence <= MAX_FENCE / 2 {
        LAST.fetch_max(fence, Ordering::Relaxed);
    }
}
