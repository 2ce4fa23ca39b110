//! Times: none in a reply exceeds the policy's own, and windows and buckets are exact to the microsecond.

use proptest::prelude::*;

use super::*;

fn any_kind() -> impl Strategy<Value = Kind> {
    let numbers = || (1..30u64, prop_oneof![1..5u64, 1..3_000u64]);
    prop_oneof![
        (1..30u64, prop_oneof![1..30u64, 1..2_000_000u64], 1..3_000u64)
            .prop_map(|(capacity, refill, period)| bucket(capacity, refill, period)),
        numbers().prop_map(|(limit, window)| fixed(limit, window)),
        numbers().prop_map(|(limit, window)| aligned(limit, window)),
        numbers().prop_map(|(limit, window)| sliding(limit, window)),
        numbers().prop_map(|(limit, window)| log(limit, window)),
    ]
}

/// The longest wait for a policy without a debt.
fn longest(kind: Kind) -> u64 {
    kind.window().0 * if matches!(kind, Kind::Sliding(_)) { 2 } else { 1 }
}

proptest! {
    /// [`Limiter::run`] asserts that no TTL is longer than the `reset_after` in the reply.
    #[test]
    fn no_time_exceeds_the_policy(
        kind in any_kind(), program in prop::collection::vec((0..3_000_000u64, 1..40u64, 0..3u8), 1..40)
    ) {
        let mut limiter = Limiter::new(kind);
        let mut now = START;
        for (wait, amount, what) in program {
            now += wait;
            let forced = what == 2;
            let request = match what { 0 => Charge(amount), 1 => UpTo(amount), _ => Force(amount) };
            let decision = limiter.run(request, now);
            // A bucket must refill its debt first; a window ends regardless of a debt.
            let debts = if matches!(kind, Kind::Bucket(_)) && (forced || decision.remaining(0) < 0 || now != START) { 2 } else { 1 };
            let most = longest(kind) * debts;
            prop_assert!(decision.reset_after().0 <= most, "{:?} after {:?}", decision.reset_after(), request);
            prop_assert!(decision.retry().unwrap_or(0) <= most * 1000, "{:?} after {:?}", decision.retry(), request);
        }
    }

    #[test]
    fn a_fresh_limiter_is_full_again_after_no_more_than_its_window(kind in any_kind(), at in 0..1_000_000u64, amount in 1..30u64) {
        let mut limiter = Limiter::new(kind);
        let decision = limiter.run(UpTo(amount), START + at);
        prop_assert!(decision.reset_after().0 <= longest(kind), "{:?}", decision.reset_after());
    }

    /// Whole units used under one bucket count under any other, at the same microsecond. Then they drain at the new rate.
    #[test]
    fn usage_carries_over_to_any_other_bucket(
        before in (1..1_000u64, 1..2_000_000u64, 1..100_000u64), after in (1..1_000u64, 1..2_000_000u64, 1..100_000u64),
        part in 0..=1_000u64, at in 0..1_000_000u64, later in 0..100_000u64,
    ) {
        let used = (before.0 * part / 1_000).max(1);
        let mut limiter = Limiter::new(bucket(before.0, before.1, before.2));
        prop_assert_eq!(limiter.run(Charge(used), START + at).granted, used);
        let (capacity, refill, period) = after;
        limiter.policies = vec![unnamed(bucket(capacity, refill, period))];
        prop_assert_eq!(limiter.look(START + at).remaining(0), capacity.saturating_sub(used) as i64);
        let period = u128::from(period) * 1000;
        let left = (u128::from(used.min(capacity)) * period).saturating_sub(u128::from(refill) * u128::from(later));
        let free = (u128::from(capacity) * period - left) / period;
        prop_assert_eq!(limiter.look(START + at + later).remaining(0), free as i64);
    }

    /// A window has exactly the requested length. That of a log starts at any microsecond, a fixed one at the start of a millisecond.
    #[test]
    fn a_window_has_the_requested_length(limit in 1..30u64, window in 1..3_000u64, at in 0..1_000_000u64) {
        let hit = START + at;
        for (kind, start) in [(fixed(limit, window), hit / 1000 * 1000), (log(limit, window), hit)] {
            let mut limiter = Limiter::new(kind);
            let all = limiter.ask(limit, hit);
            prop_assert_eq!((all.granted, all.reset_after()), (limit, DurationMs(window)));
            prop_assert_eq!(limiter.peek(Charge(1), start + window * 1000 - 1).0.granted, 0);
            prop_assert_eq!(limiter.peek(Charge(limit), start + window * 1000).0.granted, limit);
        }
    }
}

#[test]
fn a_changed_rate_keeps_the_usage() {
    // 4 of 10 used leaves 1 of 5. All of 1000 used stays used: no time has passed in which it could drain.
    for (before, used, after, left) in [
        (bucket(10, 10, 30_000), 4, bucket(5, 5, 30_000), 1),
        (bucket(1000, 1, 86_400_000), 1000, bucket(1000, 1_000_000, 1000), 0),
    ] {
        let mut limiter = Limiter::new(before);
        assert_eq!(limiter.ask(used, START + 333).granted, used);
        limiter.policies = vec![unnamed(after)];
        assert_eq!(limiter.look(START + 333).remaining(0), left, "{before:?} then {after:?}");
    }
}
