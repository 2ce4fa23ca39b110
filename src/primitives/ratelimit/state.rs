//! The stored bytes of a rate limit: one magic byte that is also the version, then one record per policy.
//!
//!   0xa1                                                     magic, version 1; no UTF-8 text starts with it
//!   0x01  since-ms:6  level:11  period-ms:5                  BUCKET: 24 bytes in all
//!   0x02  start-ms:6  used:6                                 FIXED: 14 bytes in all

use super::MAX_LIMIT;
use crate::primitives::codec::{Corrupt, Reader, put_uint};
use crate::primitives::time::{DurationMs, MAX_DURATION_MS, UnixMs};

/// What an error calls this format.
pub const FORMAT: &str = "a rate limit (format a1)";

const MAGIC: u8 = 0xa1;
const BUCKET: u8 = 0x01;
const FIXED: u8 = 0x02;

const TIME_BYTES: usize = 6;
const LEVEL_BYTES: usize = 11;
const PERIOD_BYTES: usize = 5;
const COUNT_BYTES: usize = 6;

/// What is stored of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// See [`super::Bucket`].
    Bucket {
        /// When the level was this.
        since: UnixMs,
        /// Used units times the period in microseconds.
        level: u128,
        /// The period that the level is counted in.
        period: DurationMs,
    },
    /// See [`super::Fixed`].
    Fixed {
        /// The start of the window.
        start: UnixMs,
        /// Units used in it.
        used: u64,
    },
}

/// Reads a state. Accepts what [`encode`] writes and nothing else.
pub fn decode(bytes: &[u8]) -> Result<Stored, Corrupt> {
    let mut reader = Reader::new(bytes);
    reader.literal(&[MAGIC])?;
    let stored = match reader.u64(1)?.to_be_bytes() {
        [.., BUCKET] => bucket(&mut reader)?,
        [.., FIXED] => fixed(&mut reader)?,
        _ => return Err(Corrupt),
    };
    reader.finish()?;
    Ok(stored)
}

fn bucket(reader: &mut Reader) -> Result<Stored, Corrupt> {
    let since = UnixMs(reader.u64(TIME_BYTES)?);
    let level = reader.uint(LEVEL_BYTES)?;
    let period = DurationMs(reader.u64(PERIOD_BYTES)?);
    let in_range = (1..=MAX_DURATION_MS.unsigned_abs()).contains(&period.0) && level <= max_level(period);
    if in_range { Ok(Stored::Bucket { since, level, period }) } else { Err(Corrupt) }
}

fn fixed(reader: &mut Reader) -> Result<Stored, Corrupt> {
    let start = UnixMs(reader.u64(TIME_BYTES)?);
    let used = reader.u64(COUNT_BYTES)?;
    if (1..=MAX_LIMIT.unsigned_abs()).contains(&used) { Ok(Stored::Fixed { start, used }) } else { Err(Corrupt) }
}

/// The highest level of any bucket with this period: the largest capacity, and what drains in the part of a millisecond that the
/// stored time cuts off.
fn max_level(period: DurationMs) -> u128 {
    let limit = u128::from(MAX_LIMIT.unsigned_abs());
    limit.saturating_mul(u128::from(period.micros()).saturating_add(1000))
}

/// Writes a state.
#[must_use]
pub fn encode(stored: Stored) -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    match stored {
        Stored::Bucket { since, level, period } => {
            out.extend([MAGIC, BUCKET]);
            put_uint(&mut out, since.0.into(), TIME_BYTES);
            put_uint(&mut out, level, LEVEL_BYTES);
            put_uint(&mut out, period.0.into(), PERIOD_BYTES);
        }
        Stored::Fixed { start, used } => {
            out.extend([MAGIC, FIXED]);
            put_uint(&mut out, start.0.into(), TIME_BYTES);
            put_uint(&mut out, used.into(), COUNT_BYTES);
        }
    }
    out
}
