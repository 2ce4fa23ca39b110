//! The scores that leases give to their members. Such a score is the token of the lease, so no two leases may have the same one.
//!
//! A token is a time: the millisecond in which the lease ends, and a fraction of a millisecond that tells it from other tokens with the same
//! millisecond. A double holds 2,048 fractions exactly until the year 2109. Seconds are the same times divided by 1000, and distinct
//! until 2106.
//!
//! The fractions are divided among *lanes*. A lane issues its tokens in ascending order and remembers only the next one, so no lane issues a token
//! twice, whatever the clock does, and no two lanes share a fraction. A lease takes a lane whose next token is not later than the end of
//! the lease. Leases of one length end in ascending order and share a lane; each further length that is in use at the same time
//! takes another. When all lanes are ahead, the lease ends later than requested, never earlier. So that long leases do not delay short
//! ones, only leases of about the same length share their lanes.
//!
//! A salt that differs from process to process rotates the fractions. So a lease of a failed primary and one of its successor that end in
//! the same millisecond most likely differ.

use super::{Score, Unit};
use crate::primitives::time::{DurationMs, UnixMicros};

/// The fractions of a millisecond. The first is not used: a whole number is never a token.
const FRACTIONS: u64 = 2048;

/// Each group serves leases up to 16 times as long as the previous one.
const GROUPS: usize = 8;
const LANES: usize = 8;

/// The tokens of a lane in one millisecond.
const STEPS: u64 = 31;

/// The tokens issued so far, as far as they matter.
#[derive(Debug)]
pub struct Tokens {
    /// Per lane the next token: its millisecond times [`STEPS`], plus its number in that millisecond.
    next: [[u64; LANES]; GROUPS],
    salt: u64,
}

impl Tokens {
    #[must_use]
    pub const fn new(salt: u64) -> Self {
        const { assert!((GROUPS * LANES) as u64 * STEPS < FRACTIONS) };
        Self { next: [[0; LANES]; GROUPS], salt: salt % FRACTIONS }
    }

    /// The token of a lease that begins now. The member is due again when the lease has ended, or up to 2 ms later.
    #[must_use]
    pub fn issue(&mut self, now: UnixMicros, lease: DurationMs, unit: Unit) -> Score {
        let first = now.plus(lease.micros()).ceil_ms().0.saturating_mul(STEPS);
        let last = first.saturating_add(STEPS - 1);
        let group = group(lease);
        let lanes =
            self.next.iter_mut().enumerate().filter(|(at, _)| *at == group).flat_map(|(_, lanes)| lanes.iter_mut().enumerate());
        // The lane that is furthest ahead, but still has a token for this millisecond; otherwise the one that is least ahead.
        let best = lanes.max_by_key(|(_, next)| if **next <= last { (true, **next) } else { (false, u64::MAX - **next) });
        let (lane, step) = best.map_or((0, first), |(lane, next)| {
            let step = first.max(*next);
            *next = step.saturating_add(1);
            (lane, step)
        });
        let number = u64::try_from(group * LANES + lane).unwrap_or(0) * STEPS + step % STEPS;
        let fraction = 1 + (number + self.salt) % (FRACTIONS - 1);
        score((step / STEPS).saturating_mul(FRACTIONS).saturating_add(fraction), unit)
    }
}

fn group(lease: DurationMs) -> usize {
    let log = usize::try_from(lease.0.max(1).ilog2()).unwrap_or(0);
    (log.saturating_sub(4) / 4).min(GROUPS - 1)
}

/// A time in fractions of a millisecond as a score.
fn score(fractions: u64, unit: Unit) -> Score {
    // Exact below 2^53, the year 2109.
    #[allow(clippy::cast_precision_loss)]
    let (time, scale) = (fractions as f64, FRACTIONS as f64);
    let value = match unit {
        Unit::Millis => time / scale,
        Unit::Seconds => time / (scale * 1000.0),
    };
    Score::new(value).unwrap_or(Score::NEVER)
}
