//! A clock that is set: no client gets extra units, and no client waits forever.

use proptest::prelude::*;

use super::*;

/// Each kind, and the time in which it fills up again.
fn kinds() -> [(Kind, u64); 5] {
    [
        (bucket(10, 5, 1000), 2_000_000),
        (fixed(10, 2000), 2_000_000),
        (aligned(10, 2000), 2_000_000),
        (sliding(10, 2000), 4_000_000),
        (log(10, 2000), 2_000_000),
    ]
}

#[test]
fn a_clock_set_back_costs_at_most_one_refill_and_yields_at_most_one_capacity() {
    for (kind, full_refill) in kinds() {
        for step in [1, 1000, 1_999_999, 2_000_001, 3_999_999, 3_600_000_000, START] {
            let mut limiter = Limiter::new(kind);
            limiter.ask(10, START);
            let now = START - step;
            let first = limiter.ask(10, now);
            if first.granted == 0 {
                let wait = first.retry().unwrap();
                assert!(wait <= 2 * full_refill + 1000, "{kind:?} stepped {step}: waits {wait}");
                assert_eq!(limiter.ask(10, now + wait - 1000).granted, 0, "late");
                assert_eq!(limiter.ask(10, now + wait).granted, 10, "early");
            } else {
                assert_eq!(limiter.ask(1, now).granted, 0, "{kind:?} stepped {step}: more than one capacity");
            }
        }
    }
}

#[test]
fn a_small_step_back_grants_nothing_extra() {
    for (kind, _) in kinds() {
        let mut limiter = Limiter::new(kind);
        limiter.ask(10, START);
        for back in [1, 500, 1000, 1_000_000] {
            assert_eq!(limiter.ask(1, START - back).granted, 0, "{kind:?} {back} us back");
        }
    }
}

#[test]
fn a_clock_step_resets_only_the_log_with_the_shorter_window() {
    // 5 s back is more than the short window and less than the long one.
    let mut limiter = Limiter::of(&[unnamed(log(10, 1000)), unnamed(log(30, 60_000))]);
    (0..10).for_each(|n| assert_eq!(limiter.ask(1, START + n * 1000).granted, 1));
    let now = START - 5_000_000;
    let first = limiter.run(UpTo(30), now);
    assert_eq!((first.granted, first.remaining(0), first.remaining(1)), (10, 0, 10));
    assert_eq!(limiter.ask(1, now).retry(), Some(1_000_000));
    assert_eq!(limiter.run(UpTo(30), now + 1_000_000).granted, 10);
    assert_eq!(limiter.run(UpTo(30), now + 2_000_000).retry(), Some(58_000_000));
}

proptest! {
    /// However the clock is set, at most one capacity is granted while it stands still, and `retry_after` stays exact.
    #[test]
    fn time_going_backwards_grants_nothing_extra(
        which in 0..5usize, steps in prop::collection::vec((-5_000_000..5_000_000i64, 1..12u64), 1..40)
    ) {
        let (kind, full_refill) = kinds()[which];
        let mut limiter = Limiter::new(kind);
        let mut now = START;
        for (step, cost) in steps {
            now = now.strict_add_signed(step);
            let mut granted = limiter.ask(cost, now).granted;
            granted += limiter.run(UpTo(100), now).granted;
            granted += limiter.ask(1, now).granted;
            prop_assert!(granted <= 10);
            let wait = limiter.peek(Charge(10), now).0.retry().unwrap();
            prop_assert!(wait <= 2 * full_refill + 1000, "waits {}", wait);
            prop_assert_eq!(limiter.peek(Charge(10), now + wait).0.granted, 10, "early");
        }
    }
}
