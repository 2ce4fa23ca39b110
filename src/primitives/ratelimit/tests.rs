//! Rate limit decisions: tables of the rules, then random programs against models that are naive on purpose.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::primitives::time::UnixMs;

const START: u64 = 1_700_000_000_000_123;

fn bucket(capacity: u64, refill: u64, period_ms: u64) -> Policy {
    Bucket { capacity, refill, period: DurationMs(period_ms) }.into()
}

fn fixed(limit: u64, window_ms: u64) -> Policy {
    Fixed { limit, window: DurationMs(window_ms) }.into()
}

/// A limiter whose state goes through its stored bytes on every step, as it does in a server. Expiry by TTL is left out on purpose:
/// the decision alone must be right.
struct Limiter {
    state: Option<Vec<u8>>,
    policy: Policy,
}

impl Limiter {
    fn new(policy: Policy) -> Self {
        Self { state: None, policy }
    }

    fn ask(&mut self, cost: u64, at: u64) -> Decision {
        let (decision, effect) = self.peek(cost, at);
        match effect {
            Effect::Put { value, expiry } => {
                assert!(value.len() <= 24, "a state of {} bytes", value.len());
                let Expiry::At(until) = expiry else { panic!("a limiter without a TTL") };
                let full = at + decision.reset_after.micros();
                assert!((full - 999..full + 1000).contains(&until.micros().0), "{until:?} is not when it is full, {full}");
                self.state = Some(value);
            }
            Effect::Keep => assert_eq!(decision.granted, 0),
            other => panic!("unexpected effect {other:?}"),
        }
        decision
    }

    fn peek(&self, cost: u64, at: u64) -> (Decision, Effect<Vec<u8>>) {
        decide(self.state.as_deref().map(|state| decode(state).unwrap()), self.policy, cost, UnixMicros(at))
    }
}

#[track_caller]
fn check(decision: Decision, granted: u64, remaining: u64, retry: Option<u64>, reset: u64) {
    let retry = retry.map(DurationMs);
    assert_eq!(
        (decision.granted, decision.remaining, decision.retry_after, decision.reset_after),
        (granted, remaining, retry, DurationMs(reset))
    );
}

#[test]
fn a_bucket_starts_full_and_refills_evenly() {
    let mut limiter = Limiter::new(bucket(10, 5, 1000));
    check(limiter.ask(1, START), 1, 9, Some(0), 200);
    check(limiter.ask(9, START), 9, 0, Some(0), 2000);
    check(limiter.ask(1, START), 0, 0, Some(200), 2000);
    check(limiter.ask(1, START + 199_999), 0, 0, Some(1), 1801);
    check(limiter.ask(1, START + 200_000), 1, 0, Some(0), 2000);
    check(limiter.ask(11, START + 200_000), 0, 0, None, 2000);
    check(limiter.ask(10, START + 2_200_000), 10, 0, Some(0), 2000);
}

#[test]
fn a_fixed_window_starts_at_the_first_hit() {
    let mut limiter = Limiter::new(fixed(3, 1000));
    check(limiter.ask(2, START), 2, 1, Some(0), 1001);
    check(limiter.ask(2, START + 500_000), 0, 1, Some(501), 501);
    check(limiter.ask(1, START + 500_000), 1, 0, Some(0), 501);
    check(limiter.ask(4, START + 500_000), 0, 0, None, 501);
    // The window began at the first millisecond after the hit, 877 us later, so it is never shorter than asked for.
    check(limiter.ask(3, START + 1_000_876), 0, 0, Some(1), 1);
    check(limiter.ask(3, START + 1_000_877), 3, 0, Some(0), 1000);
}

#[test]
fn a_cost_of_zero_is_granted_and_writes_nothing() {
    for policy in [bucket(2, 1, 1000), fixed(2, 1000)] {
        let mut limiter = Limiter::new(policy);
        limiter.ask(2, START);
        let (decision, effect) = limiter.peek(0, START);
        assert_eq!((decision.granted, decision.remaining, decision.retry_after), (0, 0, Some(DurationMs(0))));
        assert_eq!(effect, Effect::Keep);
    }
}

#[test]
fn high_rates_and_high_limits_are_exact() {
    for (capacity, refill, period) in
        [(6000, 6000, 1000), (1, 1_000_000, 1000), (1_000_000, 1_000_000, 1000), (7, 3, 31_536_000_000)]
    {
        let mut limiter = Limiter::new(bucket(capacity, refill, period));
        assert_eq!(limiter.ask(capacity, START).granted, capacity);
        let mut granted = 0;
        let step = (period * 1000 / refill).max(1);
        for n in 1..=1000 {
            assert_eq!(limiter.ask(1, START + n * step - 1).granted, 0, "early at {n} of {capacity} {refill} {period}");
            granted += limiter.ask(1, START + (n * period * 1000).div_ceil(refill)).granted;
        }
        assert_eq!(granted, 1000, "{capacity} {refill} {period}");
    }
    let max = MAX_LIMIT.unsigned_abs();
    let mut limiter = Limiter::new(bucket(max, 1000, 1000));
    check(limiter.ask(max, START), max, 0, Some(0), max);
    check(limiter.ask(max, START), 0, 0, Some(max), max);
}

#[test]
fn a_changed_policy_keeps_the_usage_and_another_kind_starts_full() {
    let mut limiter = Limiter::new(bucket(10, 10, 60_000));
    limiter.ask(10, START);
    limiter.policy = bucket(100, 10, 60_000);
    assert_eq!(limiter.peek(1, START).0.remaining, 89);
    limiter.policy = bucket(100, 10, 1_000);
    assert_eq!(limiter.peek(1, START).0.remaining, 89);
    limiter.policy = bucket(5, 10, 60_000);
    // What a larger bucket left behind is clamped, at most one millisecond too high.
    check(limiter.peek(1, START).0, 0, 0, Some(6001), 30_001);
    limiter.policy = fixed(5, 60_000);
    assert_eq!(limiter.peek(1, START).0.remaining, 4);
}

#[test]
fn a_clock_set_back_costs_at_most_one_refill_and_yields_at_most_one_capacity() {
    for (policy, full_refill) in [(bucket(10, 5, 1000), 2_000_000), (fixed(10, 2000), 2_001_000)] {
        for step in [1, 1000, 1_999_999, 3_600_000_000, START] {
            let mut limiter = Limiter::new(policy);
            limiter.ask(10, START);
            let now = START - step;
            let first = limiter.ask(10, now);
            if first.granted == 0 {
                let wait = first.retry_after.unwrap().micros();
                assert!(wait <= 2 * full_refill, "{policy:?} stepped {step}: waits {wait}");
                assert_eq!(limiter.ask(10, now + wait - 1000).granted, 0, "late");
                assert_eq!(limiter.ask(10, now + wait).granted, 10, "early");
            }
        }
    }
}

#[test]
fn a_small_step_back_grants_nothing_extra() {
    for policy in [bucket(10, 5, 1000), fixed(10, 2000)] {
        let mut limiter = Limiter::new(policy);
        limiter.ask(10, START);
        for back in [1, 500, 1000, 1_000_000] {
            assert_eq!(limiter.ask(1, START - back).granted, 0, "{policy:?} {back} us back");
        }
    }
}

#[test]
fn foreign_and_damaged_states_are_corrupt() {
    let valid = decide(None, bucket(10, 5, 1000), 1, UnixMicros(START)).1;
    let Effect::Put { value, .. } = valid else { panic!("not granted") };
    for cut in 0..value.len() {
        assert!(decode(&value[..cut]).is_err(), "cut at {cut}");
    }
    assert!(decode(&[&value[..], b"\0"].concat()).is_err());
    for foreign in [&b""[..], b"1", b"hello", b"\xa1", b"\xa1\x03", &[0xa1; 24], &[0xff; 24]] {
        assert!(decode(foreign).is_err(), "{foreign:?}");
    }
    let mut no_period = value.clone();
    no_period[19..].fill(0);
    assert!(decode(&no_period).is_err());
    let mut beyond = value;
    beyond[8..19].fill(0xff);
    assert!(decode(&beyond).is_err());
}

/// A sequence of requests: (microseconds since the last one, cost).
fn program() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((prop_oneof![0..2_000u64, 0..3_000_000u64], 1..8u64), 1..60)
}

fn any_bucket() -> impl Strategy<Value = (u64, u64, u64)> {
    (1..20u64, 1..50u64, prop_oneof![1..20u64, 1..5_000u64])
}

proptest! {
    /// A token bucket by its definition: a request passes if and only if, for every earlier grant, what was granted since then plus
    /// this request is at most capacity plus what refilled since then. No state, no clock arithmetic.
    #[test]
    fn never_more_than_capacity_plus_rate_in_any_window((capacity, refill, period) in any_bucket(), program in program()) {
        let mut limiter = Limiter::new(bucket(capacity, refill, period));
        let (mut now, mut grants) = (START, Vec::<(u64, u64)>::new());
        for (wait, cost) in program {
            now += wait;
            let micros = u128::from(period) * 1000;
            let mut since: u128 = cost.into();
            let mut passes = cost <= capacity;
            for &(at, granted) in grants.iter().rev() {
                since += u128::from(granted);
                passes &= since * micros <= u128::from(capacity) * micros + u128::from(refill) * u128::from(now - at);
            }
            let decision = limiter.ask(cost, now);
            prop_assert_eq!(decision.granted, if passes { cost } else { 0 });
            if passes {
                grants.push((now, cost));
            }
        }
    }

    /// A window by its definition: a counter that is thrown away when the window is over.
    #[test]
    fn a_fixed_window_counts(limit in 1..20u64, window in 1..3_000u64, program in program()) {
        let mut limiter = Limiter::new(fixed(limit, window));
        let (mut now, mut end, mut used) = (START, 0, 0);
        for (wait, cost) in program {
            now += wait;
            if now >= end {
                used = 0;
            }
            let passes = used + cost <= limit;
            if passes && used == 0 {
                end = now.div_ceil(1000) * 1000 + window * 1000;
            }
            if passes {
                used += cost;
            }
            prop_assert_eq!(limiter.ask(cost, now).granted, if passes { cost } else { 0 });
        }
    }

    /// `retry_after` is never early and less than 1 ms late, also when it goes through the stored bytes and a small step back.
    #[test]
    fn who_waits_exactly_as_told_is_granted((capacity, refill, period) in any_bucket(), window in any::<bool>(),
                                           program in program(), back in 0..1_000u64) {
        let policy = if window { fixed(capacity, period) } else { bucket(capacity, refill, period) };
        let mut limiter = Limiter::new(policy);
        let mut now = START;
        for (wait, cost) in program {
            now += wait;
            let decision = limiter.ask(cost, now);
            let asked = now - back;
            let (denied, _) = limiter.peek(cost, asked);
            match denied.retry_after {
                None => prop_assert!(cost > capacity),
                Some(DurationMs(0)) => prop_assert_eq!(denied.granted, cost),
                Some(wait) => {
                    prop_assert_eq!(limiter.peek(cost, asked + wait.micros()).0.granted, cost, "early");
                    prop_assert_eq!(limiter.peek(cost, asked + wait.micros() - 1000).0.granted, 0, "late");
                }
            }
            prop_assert!(decision.remaining <= decision.limit);
        }
    }

    /// After `reset_after` the limiter is full, and one millisecond before it was not.
    #[test]
    fn reset_after_is_when_everything_is_back((capacity, refill, period) in any_bucket(), window in any::<bool>(), program in program()) {
        let policy = if window { fixed(capacity, period) } else { bucket(capacity, refill, period) };
        let mut limiter = Limiter::new(policy);
        let mut now = START;
        for (wait, cost) in program {
            now += wait;
            let reset = limiter.ask(cost, now).reset_after.micros();
            prop_assert_eq!(limiter.peek(0, now + reset).0.remaining, capacity);
            prop_assert_eq!(limiter.peek(0, now + reset).0.reset_after, DurationMs(0));
            if reset > 1000 {
                prop_assert!(limiter.peek(0, now + reset - 1000).0.reset_after > DurationMs(0));
            }
        }
    }

    #[test]
    fn decode_of_any_bytes_never_panics_and_any_state_can_be_decided_on(
        bytes in prop::collection::vec(any::<u8>(), 0..40), kind in 1..3u8, now in 0..1u64 << 57, cost in 1..=1_000_000_000_000u64,
        capacity in 1..=1_000_000_000_000u64, refill in 1..=1_000_000_000_000u64, period in 1..=31_536_000_000u64,
    ) {
        let mut shaped = bytes.clone();
        shaped.resize(if kind == 1 { 24 } else { 14 }, 0);
        shaped[0] = 0xa1;
        shaped[1] = kind;
        for bytes in [bytes, shaped] {
            let Ok(stored) = decode(&bytes) else { continue };
            for policy in [bucket(capacity, refill, period), fixed(capacity, period)] {
                let (decision, effect) = decide(Some(stored), policy, cost, UnixMicros(now));
                prop_assert!(decision.remaining <= capacity);
                if let Effect::Put { value, .. } = effect {
                    prop_assert!(decode(&value).is_ok());
                }
            }
        }
    }

    #[test]
    fn decode_encode_is_identity(since in 0..1u64 << 48, level in 0..1u128 << 80, period in 1..=31_536_000_000u64, used in 1..=1_000_000_000_000u64) {
        let window = Stored::Fixed { start: UnixMs(since), used };
        prop_assert_eq!(decode(&state::encode(window)), Ok(window));
        let level = level.min(u128::from(period) * 1_000_000_000_000_000);
        let level = Stored::Bucket { since: UnixMs(since), level, period: DurationMs(period) };
        prop_assert_eq!(decode(&state::encode(level)), Ok(level));
    }
}
