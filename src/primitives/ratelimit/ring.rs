//! The hits of the LOG policies of a key: a ring buffer at the end of the stored bytes, so that one hit changes one slot.
//!
//! An entry is a time and the count of all units used before it. The usage since any entry is one subtraction, and every query is a
//! binary search. Counts wrap around at 2^24, far beyond what a log can hold. Times never decrease from one entry to the next: after a
//! clock was set back, entries repeat the last time. Hits in the same microsecond share an entry.
//!
//! The ring grows slot by slot up to `modulus`, the limit, and then wraps around. Only a debt can need more slots: the ring is then
//! rewritten with twice as many.

use std::borrow::Cow;

use crate::primitives::codec::{Bytes, Corrupt, Reader, put_uint};
use crate::primitives::time::UnixMicros;

/// head, count, modulus, total
pub(super) const HEADER_BYTES: usize = 9;
const INDEX_BYTES: usize = 2;
pub(super) const UNIT_BYTES: usize = 3;
const TIME_BYTES: usize = 7;
pub(super) const SLOT_BYTES: usize = TIME_BYTES + UNIT_BYTES;

const UNITS: u32 = 1 << 24;
const MAX_TIME: u64 = (1 << 56) - 1;
const MAX_SLOTS: usize = 20_000;

/// A log with at most this many entries is written whole: that replicates as one command and is cheaper than a patch.
const SMALL: usize = 8;
/// A log with at most this many entries is written whole if that makes it much shorter.
const SPARSE: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub at: UnixMicros,
    /// The count of all units before it.
    pub before: u32,
}

/// The stored entries, oldest first, and the one that this request adds.
#[derive(Debug, Clone, Default)]
pub struct Ring<'a> {
    slots: Cow<'a, [u8]>,
    /// The slot of the oldest entry.
    head: usize,
    /// The number of entries, the added one included.
    count: usize,
    /// The number of slots after which the ring wraps around.
    modulus: usize,
    /// The count of all units.
    total: u32,
    added: Option<Entry>,
}

impl<'a> Ring<'a> {
    /// Reads a ring, which takes all bytes up to the end of the state.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Corrupt> {
        let (header, slots) = bytes.split_at_checked(HEADER_BYTES).ok_or(Corrupt)?;
        let mut header = Reader::new(header);
        let mut index = || usize::try_from(header.u64(INDEX_BYTES)?).map_err(|_| Corrupt);
        let (head, count, modulus) = (index()?, index()?, index()?);
        let total = u32::try_from(header.u64(UNIT_BYTES)?).map_err(|_| Corrupt)?;
        let written = slots.len() / SLOT_BYTES;
        let whole = slots.len().is_multiple_of(SLOT_BYTES) && written <= modulus && modulus <= MAX_SLOTS;
        let held = head < modulus && count <= modulus && (head.saturating_add(count) <= written || written == modulus);
        let ring = Self { slots: Cow::Borrowed(slots), head, count, modulus, total, added: None };
        if whole && held { Ok(ring) } else { Err(Corrupt) }
    }

    /// The entry at a position; 0 is the oldest.
    pub(super) fn entry(&self, position: usize) -> Option<Entry> {
        if position >= self.count {
            return None;
        }
        if let Some(added) = self.added.filter(|_| position.saturating_add(1) == self.count) {
            return Some(added);
        }
        let start = self.slot(position).checked_mul(SLOT_BYTES)?;
        let mut slot = Reader::new(self.slots.get(start..start.checked_add(SLOT_BYTES)?)?);
        let at = UnixMicros(slot.u64(TIME_BYTES).ok()?);
        Some(Entry { at, before: u32::try_from(slot.u64(UNIT_BYTES).ok()?).ok()? })
    }

    fn slot(&self, position: usize) -> usize {
        self.head.saturating_add(position).checked_rem(self.modulus).unwrap_or(0)
    }

    /// The first position at which `is_before` is false. It must be true for all positions before and false for all after.
    pub(super) fn partition(&self, is_before: impl Fn(Entry) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle).is_some_and(&is_before) { low = middle.saturating_add(1) } else { high = middle }
        }
        low
    }

    /// The time of the newest entry.
    pub(super) fn newest(&self) -> Option<UnixMicros> {
        Some(self.entry(self.count.checked_sub(1)?)?.at)
    }

    /// Units used since the count was `mark`.
    pub(super) fn units_since(&self, mark: u32) -> u64 {
        (self.total.wrapping_sub(mark) % UNITS).into()
    }

    /// Units used by the entries from this position on.
    pub(super) fn units_from(&self, position: usize) -> u64 {
        self.entry(position).map_or(0, |entry| self.units_since(entry.before))
    }

    /// The count before the newest `units`.
    pub(super) fn mark(&self, units: u64) -> u32 {
        self.total.wrapping_sub(u32::try_from(units).unwrap_or(0)) % UNITS
    }

    /// Drops the entries that hold none of the newest `units`.
    fn keep(&mut self, units: u64) {
        // The newest units begin in the last entry from which at least that many are counted.
        let dropped = match units {
            0 => self.count,
            _ => self.partition(|entry| self.units_since(entry.before) >= units).saturating_sub(1),
        };
        self.head = self.slot(dropped);
        self.count = self.count.saturating_sub(dropped);
    }

    /// Adds a hit, and drops the entries that hold none of the newest `kept` units.
    pub(super) fn charge(mut self, kept: u64, amount: u64, now: UnixMicros) -> Self {
        self.keep(kept);
        let at = UnixMicros(self.newest().unwrap_or(now).max(now).0.min(MAX_TIME));
        if self.newest() != Some(at) {
            self.added = Some(Entry { at, before: self.total });
            self.count = self.count.saturating_add(1);
        }
        self.total = self.total.wrapping_add(u32::try_from(amount).unwrap_or(0)) % UNITS;
        self
    }

    /// Removes the newest `amount` units, and drops the entries that hold none of the `kept` units before them.
    pub(super) fn refund(mut self, kept: u64, amount: u64) -> Self {
        self.count = self.partition(|entry| self.units_since(entry.before) > amount);
        self.total = self.mark(amount);
        self.keep(kept);
        self
    }

    /// A copy with no time after `now`, for a clock that was set back by more than a window.
    pub(super) fn clamped(self, now: UnixMicros) -> Ring<'static> {
        let mut slots = Bytes::with_capacity(self.count.saturating_mul(SLOT_BYTES));
        self.entries().for_each(|entry| put(&mut slots, Entry { at: entry.at.min(now), ..entry }));
        let count = slots.len() / SLOT_BYTES;
        Ring { slots: Cow::Owned(slots.into_vec()), head: 0, count, modulus: count, total: self.total, added: None }
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        (0..self.count).filter_map(|position| self.entry(position))
    }

    /// Whether the stored slots can stay where they are when the largest limit is `limit`.
    pub(super) fn fits_in_place(&self, limit: usize) -> bool {
        let written = self.slots.len() / SLOT_BYTES;
        let wasteful = self.count <= SPARSE && written >= self.count.saturating_mul(4);
        let modulus = self.modulus == limit || self.modulus == limit.saturating_mul(2);
        matches!(self.slots, Cow::Borrowed(_)) && modulus && self.count <= self.modulus && self.count > SMALL && !wasteful
    }

    /// The offset of the added entry among the slots, and its bytes.
    pub(super) fn added_slot(&self) -> Option<(usize, Bytes)> {
        let mut bytes = Bytes::new();
        put(&mut bytes, self.added?);
        Some((self.slot(self.count.saturating_sub(1)).saturating_mul(SLOT_BYTES), bytes))
    }

    /// Writes the header of a ring whose slots stay in place.
    pub(super) fn put_header(&self, out: &mut Bytes) {
        put_header(out, [self.head, self.count, self.modulus], self.total);
    }

    /// Writes the whole ring, from the first slot on.
    pub(super) fn put_whole(&self, limit: usize, out: &mut Bytes) {
        let modulus = if self.count > limit { limit.saturating_mul(2) } else { limit }.min(MAX_SLOTS);
        // Only a damaged ring can hold more.
        let skipped = self.count.saturating_sub(modulus);
        put_header(out, [0, self.count.saturating_sub(skipped), modulus], self.total);
        self.entries().skip(skipped).for_each(|entry| put(out, entry));
    }
}

fn put_header(out: &mut Bytes, indexes: [usize; 3], total: u32) {
    indexes.into_iter().for_each(|index| put_uint(out, u128::try_from(index).unwrap_or(0), INDEX_BYTES));
    put_uint(out, total.into(), UNIT_BYTES);
}

fn put(out: &mut Bytes, entry: Entry) {
    put_uint(out, entry.at.0.into(), TIME_BYTES);
    put_uint(out, entry.before.into(), UNIT_BYTES);
}
