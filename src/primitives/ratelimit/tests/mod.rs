//! Rate limit decisions, without a server and with a clock of their own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod changes;
mod clock;
mod log;
mod many;
mod models;
mod single;
mod stored;
mod times;

use super::Request::{Charge, Force, Refund, Reset, UpTo};
use super::*;
use crate::primitives::effect::{Expiry, Part};
use crate::primitives::time::UnixMs;

const START: u64 = 1_700_000_000_000_123;

fn bucket(capacity: u64, refill: u64, period_ms: u64) -> Kind {
    Kind::Bucket(Bucket { capacity, refill, period: DurationMs(period_ms) })
}

fn fixed(limit: u64, window_ms: u64) -> Kind {
    Kind::Fixed(Fixed { limit, window: DurationMs(window_ms), aligned: false })
}

fn aligned(limit: u64, window_ms: u64) -> Kind {
    Kind::Fixed(Fixed { limit, window: DurationMs(window_ms), aligned: true })
}

fn sliding(limit: u64, window_ms: u64) -> Kind {
    Kind::Sliding(Sliding { limit, window: DurationMs(window_ms) })
}

fn log(limit: u64, window_ms: u64) -> Kind {
    Kind::Log(Log { limit, window: DurationMs(window_ms) })
}

fn unnamed(kind: Kind) -> Policy<'static> {
    Policy { kind, name: None }
}

fn named(kind: Kind, name: &'static str) -> Policy<'static> {
    Policy { kind, name: Some(name.as_bytes()) }
}

/// A limiter that is decoded and encoded on every step, as in a server. Keys do not expire here: the decision alone must be right.
struct Limiter {
    state: Option<Vec<u8>>,
    policies: Vec<Policy<'static>>,
}

impl Limiter {
    fn new(kind: Kind) -> Self {
        Self::of(&[unnamed(kind)])
    }

    fn of(policies: &[Policy<'static>]) -> Self {
        Self { state: None, policies: policies.to_vec() }
    }

    fn ask(&mut self, cost: u64, at: u64) -> Decision {
        self.run(Charge(cost), at)
    }

    /// Decides, applies the effect, and asserts the invariants of every effect.
    #[track_caller]
    fn run(&mut self, request: Request, at: u64) -> Decision {
        let (decision, effect) = self.peek(request, at);
        // A server may delete the key at the start of the millisecond in which it expires: the limiter must be full by then.
        let ends_in_time = |until: UnixMs| {
            let reset = decision.reset_after();
            let ttl = until.since(UnixMicros(at).floor_ms());
            assert!(ttl <= DurationMs(reset.0 + 1), "a TTL of {ttl:?} for a limiter that is full in {reset:?}");
            assert!(until.micros().0 + 1000 > at + reset.micros(), "{until:?} begins before the limiter is full, in {reset:?}");
        };
        match effect {
            Effect::Put { value, expiry } => {
                let Expiry::At(until) = expiry else { panic!("a limiter without a TTL") };
                ends_in_time(until);
                self.state = Some(value.into_vec());
            }
            Effect::Patch { parts, until } => {
                ends_in_time(until);
                let bytes: usize = parts.iter().map(|part| part.bytes.len()).sum();
                assert!(parts.len() <= 2 && bytes <= 9 + 10 + 89 * self.policies.len(), "a patch of {parts:?}");
                patch(self.state.as_mut().unwrap(), &parts);
            }
            Effect::Delete => {
                assert_eq!(decision.reset_after(), DurationMs(0));
                self.state = None;
            }
            Effect::Keep => assert_eq!(decision.granted, 0),
            other => panic!("unexpected effect {other:?}"),
        }
        assert!(decision.standings.iter().all(|standing| standing.remaining.unsigned_abs() <= standing.limit));
        decision
    }

    fn peek(&self, request: Request, at: u64) -> (Decision, Effect<Bytes>) {
        decide(self.state.as_deref(), &self.policies, request, UnixMicros(at)).unwrap()
    }

    fn look(&self, at: u64) -> Decision {
        self.peek(Charge(0), at).0
    }
}

impl Decision {
    fn remaining(&self, index: usize) -> i64 {
        self.standings[index].remaining
    }

    /// How long the client must wait for the binding policy.
    fn retry(&self) -> Option<u64> {
        self.binding().1.retry_after.map(DurationMs::micros)
    }
}

/// Writes the parts into the bytes, as a server does.
#[track_caller]
fn patch(bytes: &mut Vec<u8>, parts: &[Part]) {
    for Part { offset, bytes: part } in parts {
        assert!(*offset <= bytes.len(), "a hole before {offset} in {} bytes", bytes.len());
        bytes.resize(bytes.len().max(offset + part.len()), 0);
        bytes[*offset..offset + part.len()].copy_from_slice(part);
    }
}
