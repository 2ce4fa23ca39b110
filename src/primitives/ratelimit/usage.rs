//! The current usage of each policy of a limiter. Only this file distinguishes the kinds of policies.

use super::bucket::{Bucket, Level};
use super::fixed::{Fixed, Window};
use super::log::Log;
use super::ring::Ring;
use super::sliding::{Sliding, Windows};
use super::state::{self, Record, State, Stored};
use super::{Ask, Kind, PerPolicy, Policy};
use crate::primitives::codec::Bytes;
use crate::primitives::effect::{Effect, Expiry, Part};
use crate::primitives::time::UnixMicros;

/// The usage of one policy.
#[derive(Debug, Clone, Copy)]
pub(super) enum Usage {
    Bucket(Bucket, Level),
    Fixed(Fixed, Window),
    Sliding(Sliding, Windows),
    Log(Log, u64),
}

/// A limiter at one point in time.
#[derive(Clone)]
pub(super) struct Limiter<'a> {
    policies: &'a [Policy<'a>],
    usages: PerPolicy<Usage>,
    ring: Ring<'a>,
    now: UnixMicros,
    /// Bytes before the slots of the stored ring; 0 if nothing is stored.
    header: usize,
}

impl<'a> Limiter<'a> {
    pub(super) fn new(state: Option<State<'a>>, policies: &'a [Policy<'a>], now: UnixMicros) -> Self {
        let state = state.unwrap_or_default();
        let usage = |(index, policy): (usize, &Policy<'_>)| {
            Usage::adopt(policy.kind, matching(&state.records, policies, index), &state.ring, now)
        };
        let usages = policies.iter().enumerate().map(usage).collect();
        Self { policies, usages, ring: state.ring, now, header: state.header }
    }

    /// The most that a policy can grant now; negative in debt.
    pub(super) fn remaining(&self, index: usize) -> i64 {
        match self.usages.get(index) {
            Some(Usage::Bucket(bucket, used)) => bucket.remaining(*used),
            Some(Usage::Fixed(fixed, used)) => fixed.remaining(*used),
            Some(Usage::Sliding(sliding, used)) => sliding.remaining(*used, self.now),
            Some(Usage::Log(log, used)) => log.remaining(*used),
            None => 0,
        }
    }

    /// When a policy can grant `ask`; `None` means never.
    pub(super) fn ready_at(&self, index: usize, ask: Ask) -> Option<UnixMicros> {
        match self.usages.get(index)? {
            Usage::Bucket(bucket, used) => bucket.ready_at(*used, ask, self.now),
            Usage::Fixed(fixed, used) => fixed.ready_at(*used, ask, self.now),
            Usage::Sliding(sliding, used) => sliding.ready_at(*used, ask, self.now),
            Usage::Log(log, used) => log.ready_at(*used, ask, &self.ring, self.now),
        }
    }

    /// When a policy is full again.
    pub(super) fn full_at(&self, index: usize) -> UnixMicros {
        match self.usages.get(index) {
            Some(Usage::Bucket(bucket, used)) => bucket.full_at(*used, self.now),
            Some(Usage::Fixed(fixed, used)) => fixed.full_at(*used, self.now),
            Some(Usage::Sliding(sliding, used)) => sliding.full_at(*used, self.now),
            Some(Usage::Log(log, used)) => log.full_at(*used, &self.ring, self.now),
            None => self.now,
        }
    }

    /// When all policies are full again.
    fn all_full_at(&self) -> UnixMicros {
        (0..self.usages.len()).map(|index| self.full_at(index)).max().unwrap_or(self.now)
    }

    /// Charges all policies.
    pub(super) fn charge(&mut self, amount: u64) {
        let kept = self.logged();
        for usage in self.usages.iter_mut() {
            match usage {
                Usage::Bucket(bucket, used) => bucket.charge(used, amount),
                Usage::Fixed(_, used) => Fixed::charge(used, amount),
                Usage::Sliding(sliding, used) => sliding.charge(used, amount, self.now),
                Usage::Log(_, used) => *used = used.saturating_add(amount),
            }
        }
        if let Some(window) = self.logs().map(|log| log.window.micros()).min() {
            let ring = std::mem::take(&mut self.ring);
            let gone = ring.newest().is_some_and(|newest| newest.since(self.now) > window);
            self.ring = if gone { ring.clamped(self.now) } else { ring }.charge(kept, amount, self.now);
        }
    }

    /// Refunds all policies, each at most its usage. Returns the most that one policy took back.
    pub(super) fn refund(&mut self, amount: u64) -> u64 {
        let logged = self.logged();
        let mut most = 0;
        for usage in self.usages.iter_mut() {
            let given = match usage {
                Usage::Bucket(bucket, used) => bucket.refund(used, amount),
                Usage::Fixed(_, used) => Fixed::refund(used, amount),
                Usage::Sliding(_, used) => Sliding::refund(used, amount),
                Usage::Log(_, used) => {
                    let given = amount.min(*used);
                    *used = used.saturating_sub(given);
                    given
                }
            };
            most = given.max(most);
        }
        if logged > 0 {
            self.ring = std::mem::take(&mut self.ring).refund(self.logged(), amount.min(logged));
        }
        most
    }

    /// The highest usage of any log.
    fn logged(&self) -> u64 {
        self.usages.iter().map(|usage| if let Usage::Log(_, used) = usage { *used } else { 0 }).max().unwrap_or(0)
    }

    fn logs(&self) -> impl Iterator<Item = Log> {
        self.usages.iter().filter_map(|usage| if let Usage::Log(log, _) = usage { Some(*log) } else { None })
    }

    /// The write that stores the limiter: the whole state or, with a log, the parts that changed.
    pub(super) fn write(&self) -> Effect<Bytes> {
        let full_at = self.all_full_at();
        if full_at <= self.now {
            return Effect::Delete;
        }
        let until = full_at.ceil_ms();
        let mut value = state::begin();
        for (policy, usage) in self.policies.iter().zip(self.usages.iter()) {
            let (stored, in_debt) = self.stored(*usage);
            state::put_record(&mut value, Record { name: policy.name, in_debt, stored });
        }
        let Some(limit) = self.logs().map(|log| log.limit).max() else {
            return Effect::Put { value, expiry: Expiry::At(until) };
        };
        state::put_ring_tag(&mut value);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let in_place = self.ring.fits_in_place(limit) && value.len().saturating_add(super::ring::HEADER_BYTES) == self.header;
        if in_place { Effect::Patch { parts: self.parts(value), until } } else { self.whole(value, limit, Expiry::At(until)) }
    }

    fn whole(&self, mut value: Bytes, limit: usize, expiry: Expiry) -> Effect<Bytes> {
        self.ring.put_whole(limit, &mut value);
        Effect::Put { value, expiry }
    }

    /// The bytes between the magic and the slots, and the added slot.
    fn parts(&self, mut value: Bytes) -> Vec<Part> {
        self.ring.put_header(&mut value);
        value.remove(0);
        let header = Part { offset: 1, bytes: value };
        let slot = self.ring.added_slot().map(|(offset, bytes)| Part { offset: self.header.saturating_add(offset), bytes });
        std::iter::once(header).chain(slot).collect()
    }

    fn stored(&self, usage: Usage) -> (Stored, bool) {
        match usage {
            Usage::Bucket(bucket, used) => (bucket.stored(used), bucket.in_debt(used)),
            Usage::Fixed(fixed, used) => (Fixed::stored(used), fixed.in_debt(used)),
            Usage::Sliding(sliding, used) => (Sliding::stored(used), sliding.in_debt(used)),
            Usage::Log(log, used) => (Stored::Log { mark: self.ring.mark(used) }, used > log.limit),
        }
    }
}

/// The cap on the stored usage of a policy with this limit. Usage under a larger limit is cut to this limit; only a debt may exceed it.
pub(super) fn most(limit: u64, record: &Record<'_>) -> u64 {
    limit.saturating_mul(if record.in_debt { 2 } else { 1 })
}

impl Usage {
    /// The usage of a policy, from its stored record. The policy is full if there is no record, or if that is from a clock that is gone.
    fn adopt(kind: Kind, record: Option<&Record<'_>>, ring: &Ring<'_>, now: UnixMicros) -> Self {
        match kind {
            Kind::Bucket(bucket) => {
                let used = record.and_then(|record| bucket.adopt(record.stored, most(bucket.capacity, record), now));
                Self::Bucket(bucket, used.unwrap_or_else(|| Bucket::full(now)))
            }
            Kind::Fixed(fixed) => {
                let used = record.and_then(|record| fixed.adopt(record.stored, most(fixed.limit, record), now));
                Self::Fixed(fixed, used.unwrap_or_else(|| fixed.full(now)))
            }
            Kind::Sliding(sliding) => {
                let used = record.and_then(|record| sliding.adopt(record.stored, most(sliding.limit, record), now));
                Self::Sliding(sliding, used.unwrap_or_else(|| sliding.full(now)))
            }
            Kind::Log(log) => {
                let used = record.map_or(0, |record| match record.stored {
                    Stored::Log { mark } => log.adopt(mark, ring, most(log.limit, record), now),
                    _ => 0,
                });
                Self::Log(log, used)
            }
        }
    }
}

/// The record of the policy at `index`: the record with its name, otherwise the record at its position, unless both have a name or that
/// record's name is another policy's.
fn matching<'s>(records: &'s [Record<'s>], policies: &[Policy<'_>], index: usize) -> Option<&'s Record<'s>> {
    let policy = policies.get(index)?;
    let named = policy.name.and_then(|name| records.iter().find(|record| record.name == Some(name)));
    let is_free = |record: &&Record<'_>| match (record.name, policy.name) {
        (None, _) => true,
        (Some(name), None) => policies.iter().all(|other| other.name != Some(name)),
        (Some(_), Some(_)) => false,
    };
    named.or_else(|| records.get(index).filter(is_free))
}
