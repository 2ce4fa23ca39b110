//! The stored bytes of a rate limit: a magic byte that is also the version, one record per policy, and the ring of the LOG policies.
//!
//!   0xa1                                                             magic, version 1; no UTF-8 text starts with it
//!   per policy: tag, [length:1, name] if the tag says so, and
//!     0x06  since-us:7  level:11  period-ms:5                        BUCKET: a state of 25 bytes if alone
//!     0x07  start-us:7  used:6                                       FIXED: a state of 15 bytes if alone
//!     0x08  start-us:7  previous:6  current:6                        SLIDING: a state of 21 bytes if alone
//!     0x04  mark:3                                                   LOG: the units of the ring before the mark do not count
//!     0x01  0x02  0x03                                               read only: the same three with times in ms:6
//!     tag | 0x80: named; tag | 0x40: in debt, so the usage may exceed the limit
//!   0x05  head:2  count:2  modulus:2  total:3, (time-us:7 before:3)  the ring, if and only if there is a LOG

use super::ring::{HEADER_BYTES, Ring, UNIT_BYTES};
use super::{MAX_LIMIT, PerPolicy};
use crate::primitives::codec::{Bytes, Corrupt, Reader, Writer};
use crate::primitives::time::{DurationMs, MAX_DURATION_MS, UnixMicros, UnixMs};

/// The name of this format in error messages.
pub const FORMAT: &str = "a rate limit (format a1)";

/// The most policies of one limiter.
pub const MAX_POLICIES: usize = 8;
/// The longest name of a policy, in bytes.
pub const MAX_NAME: usize = 64;

const MAGIC: u8 = 0xa1;
const BUCKET_MS: u8 = 0x01;
const FIXED_MS: u8 = 0x02;
const SLIDING_MS: u8 = 0x03;
const LOG: u8 = 0x04;
const RING: u8 = 0x05;
pub(super) const BUCKET: u8 = 0x06;
pub(super) const FIXED: u8 = 0x07;
pub(super) const SLIDING: u8 = 0x08;
const NAMED: u8 = 0x80;
const IN_DEBT: u8 = 0x40;

const TIME_BYTES: usize = 7;
const MS_BYTES: usize = 6;
const LEVEL_BYTES: usize = 11;
const PERIOD_BYTES: usize = 5;
const COUNT_BYTES: usize = 6;
const BUCKET_BYTES: usize = TIME_BYTES + LEVEL_BYTES + PERIOD_BYTES;
const LARGEST_TIME: u64 = (1 << 56) - 1;

/// The stored usage of one policy, by its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// See [`super::Bucket`].
    Bucket {
        /// The time of the level.
        since: UnixMicros,
        /// Used units times the period in microseconds.
        level: u128,
        /// The period that defines the unit of the level.
        period: DurationMs,
    },
    /// See [`super::Fixed`].
    Fixed {
        /// The start of the window.
        start: UnixMicros,
        used: u64,
    },
    /// See [`super::Sliding`].
    Sliding {
        /// The start of the current window.
        start: UnixMicros,
        previous: u64,
        current: u64,
    },
    /// See [`super::Log`].
    Log {
        /// Units of the ring before the mark do not count.
        mark: u32,
    },
}

/// The stored state of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub name: Option<&'a [u8]>,
    /// Whether the usage exceeds the limit.
    pub in_debt: bool,
    pub stored: Stored,
}

#[derive(Debug, Clone, Default)]
pub struct State<'a> {
    pub(super) records: PerPolicy<Record<'a>>,
    pub(super) ring: Ring<'a>,
    /// Bytes before the ring's slots.
    pub(super) header: usize,
}

impl<'a> State<'a> {
    /// Reads a state. Accepts only what this file writes, but does not check the entries of a ring.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let mut rest = bytes.strip_prefix(&[MAGIC]).ok_or(Corrupt)?;
        let mut state = Self { header: bytes.len(), ..Self::default() };
        while let Some((&tag, body)) = rest.split_first() {
            if tag == RING {
                state.ring = Ring::decode(body)?;
                state.header = bytes.len().saturating_sub(body.len()).saturating_add(HEADER_BYTES);
                return if state.has_log() { state.checked() } else { Err(Corrupt) };
            }
            let (record, after) = record(tag, body)?;
            state.records.push(record);
            rest = after;
        }
        if state.has_log() { Err(Corrupt) } else { state.checked() }
    }

    fn has_log(&self) -> bool {
        self.records.iter().any(|record| matches!(record.stored, Stored::Log { .. }))
    }

    fn checked(self) -> Result<Self, Corrupt> {
        let names = || self.records.iter().filter_map(|record| record.name);
        let repeated = names().enumerate().any(|(at, name)| names().take(at).any(|other| other == name));
        if (1..=MAX_POLICIES).contains(&self.records.len()) && !repeated { Ok(self) } else { Err(Corrupt) }
    }
}

/// The record of a single unnamed policy of this kind; `Some(None)` for a missing state. `None` for any other state, which needs a full
/// decode.
#[inline]
pub(super) fn lone(bytes: Option<&[u8]>, kind: u8) -> Option<Option<Record<'_>>> {
    match bytes {
        None => Some(None),
        Some([MAGIC, tag, body @ ..]) if *tag == kind && Some(body.len()) == width(kind) => {
            let stored = stored(kind, false, &mut Reader::new(body)).ok()?;
            Some(Some(Record { name: None, in_debt: false, stored }))
        }
        Some(_) => None,
    }
}

/// The number of bytes of a record after its tag and name.
#[inline]
fn width(kind: u8) -> Option<usize> {
    Some(match kind {
        BUCKET => BUCKET_BYTES,
        FIXED => TIME_BYTES + COUNT_BYTES,
        SLIDING => TIME_BYTES + COUNT_BYTES + COUNT_BYTES,
        BUCKET_MS => MS_BYTES + LEVEL_BYTES + PERIOD_BYTES,
        FIXED_MS => MS_BYTES + COUNT_BYTES,
        SLIDING_MS => MS_BYTES + COUNT_BYTES + COUNT_BYTES,
        LOG => UNIT_BYTES,
        _ => return None,
    })
}

fn record(tag: u8, body: &[u8]) -> Result<(Record<'_>, &[u8]), Corrupt> {
    let (name, body) = if tag & NAMED == 0 { (None, body) } else { name(body)? };
    let in_debt = tag & IN_DEBT != 0;
    let kind = tag & !(NAMED | IN_DEBT);
    let width = width(kind).ok_or(Corrupt)?;
    let (fields, rest) = body.split_at_checked(width).ok_or(Corrupt)?;
    let stored = stored(kind, in_debt, &mut Reader::new(fields))?;
    Ok((Record { name, in_debt, stored }, rest))
}

fn name(body: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Corrupt> {
    let (&length, body) = body.split_first().ok_or(Corrupt)?;
    let (name, body) = body.split_at_checked(length.into()).ok_or(Corrupt)?;
    if (1..=MAX_NAME).contains(&name.len()) { Ok((Some(name), body)) } else { Err(Corrupt) }
}

fn stored(kind: u8, in_debt: bool, fields: &mut Reader<'_>) -> Result<Stored, Corrupt> {
    if kind == LOG {
        let mark = fields.u64(UNIT_BYTES)?;
        return Ok(Stored::Log { mark: u32::try_from(mark).map_err(|_| Corrupt)? });
    }
    let at = match kind {
        BUCKET_MS | FIXED_MS | SLIDING_MS => UnixMs(fields.u64(MS_BYTES)?).micros(),
        _ => UnixMicros(fields.u64(TIME_BYTES)?),
    };
    if matches!(kind, BUCKET | BUCKET_MS) {
        let level = fields.uint(LEVEL_BYTES)?;
        let period = DurationMs(fields.u64(PERIOD_BYTES)?);
        let in_range = (1..=MAX_DURATION_MS.unsigned_abs()).contains(&period.0) && level <= max_level(period, in_debt);
        return if in_range { Ok(Stored::Bucket { since: at, level, period }) } else { Err(Corrupt) };
    }
    let most = MAX_LIMIT.unsigned_abs().saturating_mul(if in_debt { 2 } else { 1 });
    let mut count = || fields.u64(COUNT_BYTES).and_then(|count| if count <= most { Ok(count) } else { Err(Corrupt) });
    Ok(match kind {
        FIXED | FIXED_MS => Stored::Fixed { start: at, used: count()? },
        _ => Stored::Sliding { start: at, previous: count()?, current: count()? },
    })
}

/// The highest level of any bucket with this period: the largest capacity, or twice that with a debt, plus what older builds added when
/// they cut off a part of a millisecond.
fn max_level(period: DurationMs, in_debt: bool) -> u128 {
    let limit = u128::from(MAX_LIMIT.unsigned_abs());
    let capacities = u128::from(period.micros()).saturating_mul(if in_debt { 2 } else { 1 });
    limit.saturating_mul(capacities.saturating_add(1000))
}

/// Starts a state.
pub(super) fn begin() -> Bytes {
    Bytes::from_slice(&[MAGIC])
}

pub(super) fn put_ring_tag(out: &mut Bytes) {
    out.push(RING);
}

/// A state with one unnamed policy that is not a LOG.
#[inline]
pub(super) fn encode_lone(stored: Stored, in_debt: bool) -> Bytes {
    let kind = kind(stored);
    Writer::fill(width(kind).unwrap_or(0).saturating_add(2), |out| {
        out.uint::<1>(MAGIC.into());
        out.uint::<1>((kind | if in_debt { IN_DEBT } else { 0 }).into());
        put_fields(out, stored);
    })
}

pub(super) fn put_record(out: &mut Bytes, record: Record<'_>) {
    let kind = kind(record.stored);
    let named = if record.name.is_some() { NAMED } else { 0 };
    let in_debt = if record.in_debt { IN_DEBT } else { 0 };
    out.push(kind | named | in_debt);
    if let Some(name) = record.name {
        out.push(u8::try_from(name.len()).unwrap_or(0));
        out.extend_from_slice(name);
    }
    out.extend_from_slice(&Writer::fill(width(kind).unwrap_or(0), |out| put_fields(out, record.stored)));
}

fn kind(stored: Stored) -> u8 {
    match stored {
        Stored::Bucket { .. } => BUCKET,
        Stored::Fixed { .. } => FIXED,
        Stored::Sliding { .. } => SLIDING,
        Stored::Log { .. } => LOG,
    }
}

#[inline]
fn put_fields(out: &mut Writer<'_>, stored: Stored) {
    let time = |at: UnixMicros| at.0.min(LARGEST_TIME);
    match stored {
        Stored::Bucket { since, level, period } => {
            out.uint::<TIME_BYTES>(time(since));
            let [high, low] = [level >> 64, level & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(u64::MAX));
            out.uint::<{ LEVEL_BYTES - 8 }>(high);
            out.uint::<8>(low);
            out.uint::<PERIOD_BYTES>(period.0);
        }
        Stored::Fixed { start, used } => {
            out.uint::<TIME_BYTES>(time(start));
            out.uint::<COUNT_BYTES>(used);
        }
        Stored::Sliding { start, previous, current } => {
            out.uint::<TIME_BYTES>(time(start));
            out.uint::<COUNT_BYTES>(previous);
            out.uint::<COUNT_BYTES>(current);
        }
        Stored::Log { mark } => out.uint::<UNIT_BYTES>(mark.into()),
    }
}
