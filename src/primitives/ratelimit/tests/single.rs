//! One policy: tables of the rules, then random programs against naive models.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(decision: Decision, granted: u64, remaining: i64, retry: Option<u64>, reset: u64) {
    let standing = decision.standings[0];
    assert_eq!(
        (decision.granted, standing.remaining, standing.retry_after, decision.reset_after()),
        (granted, remaining, retry.map(DurationMs), DurationMs(reset))
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
fn a_fixed_window_starts_with_the_millisecond_of_the_first_hit() {
    let mut limiter = Limiter::new(fixed(3, 1000));
    check(limiter.ask(2, START), 2, 1, Some(0), 1000);
    check(limiter.ask(2, START + 500_000), 0, 1, Some(500), 500);
    check(limiter.ask(1, START + 500_000), 1, 0, Some(0), 500);
    check(limiter.ask(4, START + 500_000), 0, 0, None, 500);
    // It ends when its key may be deleted, not before.
    let end = START / 1000 * 1000 + 1_000_000;
    check(limiter.ask(3, end - 1), 0, 0, Some(1), 1);
    check(limiter.ask(3, end), 3, 0, Some(0), 1000);
}

#[test]
fn a_cost_of_zero_is_granted_and_writes_nothing() {
    for kind in [bucket(2, 1, 1000), fixed(2, 1000), aligned(2, 1000), sliding(2, 1000), log(2, 1000)] {
        let mut limiter = Limiter::new(kind);
        limiter.ask(2, START);
        let (decision, effect) = limiter.peek(Charge(0), START);
        assert_eq!((decision.granted, decision.remaining(0), decision.retry()), (0, 0, Some(0)));
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
    limiter.policies = vec![unnamed(bucket(100, 10, 60_000))];
    assert_eq!(limiter.look(START).remaining(0), 90);
    limiter.policies = vec![unnamed(bucket(100, 10, 1_000))];
    assert_eq!(limiter.look(START).remaining(0), 90);
    limiter.policies = vec![unnamed(bucket(5, 10, 60_000))];
    // Usage under a larger bucket is clamped.
    check(limiter.peek(Charge(1), START).0, 0, 0, Some(6000), 30_000);
    limiter.policies = vec![unnamed(fixed(5, 60_000))];
    assert_eq!(limiter.look(START).remaining(0), 5);
}

/// A sequence of requests: (microseconds since the last one, cost).
fn program() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((prop_oneof![0..2_000u64, 0..3_000_000u64], 1..8u64), 1..60)
}

fn any_bucket() -> impl Strategy<Value = (u64, u64, u64)> {
    (1..20u64, 1..50u64, prop_oneof![1..20u64, 1..5_000u64])
}

proptest! {
    /// A token bucket by its definition: a request is granted if and only if, for every earlier grant, the units granted since then plus
    /// this request are at most the capacity plus the units refilled since then. No state, no clock arithmetic.
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

    /// A window by its definition: a counter that is dropped when the window ends.
    #[test]
    fn a_fixed_window_matches_a_counter(limit in 1..20u64, window in 1..3_000u64, program in program()) {
        let mut limiter = Limiter::new(fixed(limit, window));
        let (mut now, mut end, mut used) = (START, 0, 0);
        for (wait, cost) in program {
            now += wait;
            if now >= end {
                used = 0;
            }
            let passes = used + cost <= limit;
            if passes && used == 0 {
                end = now / 1000 * 1000 + window * 1000;
            }
            if passes {
                used += cost;
            }
            prop_assert_eq!(limiter.ask(cost, now).granted, if passes { cost } else { 0 });
        }
    }

    /// The fast path for a single bucket decides and writes the same as the general path.
    #[test]
    fn a_single_bucket_matches_the_general_path((capacity, refill, period) in any_bucket(), program in program(), forced in 1..40u64) {
        let mut limiter = Limiter::new(bucket(capacity, refill, period));
        let mut now = START;
        for (index, (wait, cost)) in program.into_iter().enumerate() {
            now += wait;
            if index == 3 {
                limiter.run(Force(forced), now);
            }
            let any = decide_any(limiter.state.as_deref(), &limiter.policies, Charge(cost), UnixMicros(now)).unwrap();
            prop_assert_eq!(limiter.peek(Charge(cost), now), any);
            limiter.ask(cost, now);
        }
    }

    /// `retry_after` is never early and less than 1 ms late, even after a small clock step back.
    #[test]
    fn a_client_that_waits_for_retry_after_is_granted((capacity, refill, period) in any_bucket(), window in any::<bool>(),
                                                program in program(), back in 0..1_000u64) {
        let policy = if window { fixed(capacity, period) } else { bucket(capacity, refill, period) };
        let mut limiter = Limiter::new(policy);
        let mut now = START;
        for (wait, cost) in program {
            now += wait;
            limiter.ask(cost, now);
            let asked = now - back;
            let (denied, _) = limiter.peek(Charge(cost), asked);
            match denied.retry() {
                None => prop_assert!(cost > capacity),
                Some(0) => prop_assert_eq!(denied.granted, cost),
                Some(wait) => {
                    prop_assert_eq!(limiter.peek(Charge(cost), asked + wait).0.granted, cost, "early");
                    prop_assert_eq!(limiter.peek(Charge(cost), asked + wait - 1000).0.granted, 0, "late");
                }
            }
        }
    }
}
