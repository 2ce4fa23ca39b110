//! Every kind of policy, alone and together, against the models; and the waiting times in the replies.

use proptest::prelude::*;

use super::models::Models;
use super::*;

fn kind() -> impl Strategy<Value = Kind> {
    let window = || prop_oneof![1..20u64, 1..5_000u64];
    prop_oneof![
        (1..20u64, 1..50u64, window()).prop_map(|(capacity, refill, period)| bucket(capacity, refill, period)),
        (1..20u64, window()).prop_map(|(limit, window)| fixed(limit, window)),
        (1..20u64, window()).prop_map(|(limit, window)| aligned(limit, window)),
        (1..20u64, window()).prop_map(|(limit, window)| sliding(limit, window)),
        (1..20u64, window()).prop_map(|(limit, window)| log(limit, window)),
    ]
}

fn policies() -> impl Strategy<Value = Vec<Policy<'static>>> {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    prop::collection::vec((kind(), any::<bool>()), 1..=4).prop_map(|kinds| {
        let policy = |(index, (kind, is_named)): (usize, (Kind, bool))| {
            if is_named { named(kind, NAMES[index]) } else { unnamed(kind) }
        };
        kinds.into_iter().enumerate().map(policy).collect()
    })
}

/// Microseconds since the last request, and the request.
fn program() -> impl Strategy<Value = Vec<(u64, Request)>> {
    let request = prop_oneof![
        6 => (1..6u64).prop_map(Charge),
        2 => (1..25u64).prop_map(UpTo),
        2 => (1..25u64).prop_map(Force),
        2 => (1..12u64).prop_map(Refund),
    ];
    prop::collection::vec((prop_oneof![Just(0), 0..2_000u64, 0..1_000_000u64], request), 1..80)
}

proptest! {
    /// Granted and remaining units match the naive models, for all kinds, alone and together. So a bucket, a fixed window and a log never
    /// grant more than their limit, a debt stays within one capacity, and a refund never exceeds full.
    #[test]
    fn every_decision_matches_the_naive_models(policies in policies(), program in program()) {
        let (mut limiter, mut models) = (Limiter::of(&policies), Models::new(&policies));
        let mut now = START;
        for (wait, request) in program {
            now += wait;
            let expected = models.run(request, now);
            let decision = limiter.run(request, now);
            prop_assert_eq!(decision.granted, expected, "{:?} at {}", request, now - START);
            let remaining: Vec<i64> = (0..policies.len()).map(|index| decision.remaining(index)).collect();
            prop_assert_eq!(remaining, models.remaining(now), "{:?} at {}", request, now - START);
        }
    }

    /// `retry_after` over all policies is never early and less than 1 ms late.
    #[test]
    fn a_client_that_waits_for_retry_after_is_granted(policies in policies(), program in program(), cost in 1..25u64) {
        let mut limiter = Limiter::of(&policies);
        let mut now = START;
        for (wait, request) in program {
            now += wait;
            limiter.run(request, now);
            for asked in [Charge(cost), Force(cost), UpTo(cost)] {
                let decision = limiter.peek(asked, now).0;
                let capacities = if matches!(asked, Force(_)) { 2 } else { 1 };
                let smallest = policies.iter().map(|policy| policy.kind.limit()).min().unwrap();
                let never = !matches!(asked, UpTo(_)) && cost > smallest * capacities;
                match decision.retry() {
                    None => prop_assert!(never),
                    Some(0) => prop_assert!(decision.granted > 0),
                    Some(wait) => {
                        prop_assert_eq!(decision.granted, 0);
                        prop_assert!(limiter.peek(asked, now + wait).0.granted > 0, "early: {:?} {}", asked, wait);
                        prop_assert_eq!(limiter.peek(asked, now + wait - 1000).0.granted, 0, "late: {:?} {}", asked, wait);
                    }
                }
                prop_assert!(!never || decision.retry().is_none());
            }
        }
    }

    /// The limiter is full after `reset_after`, and was not one millisecond before.
    #[test]
    fn reset_after_is_when_the_limiter_is_full(policies in policies(), program in program()) {
        let mut limiter = Limiter::of(&policies);
        let mut now = START;
        for (wait, request) in program {
            now += wait;
            let reset = limiter.run(request, now).reset_after().micros();
            let full = |at| limiter.look(at).standings.iter().all(|standing| standing.remaining == standing.limit as i64);
            prop_assert!(full(now + reset));
            prop_assert_eq!(limiter.look(now + reset).reset_after(), DurationMs(0));
            prop_assert!(reset <= 1000 || !full(now + reset - 1000));
        }
    }

    /// SLIDING stays within the error that its page states: in any window, at most the limit plus the faded part of the previous usage.
    #[test]
    fn sliding_grants_at_most_the_faded_part_extra(limit in 1..20u64, window in 1..3_000u64, program in program()) {
        let mut limiter = Limiter::new(sliding(limit, window));
        let (mut now, mut grants) = (START, Vec::<(u64, u64)>::new());
        for (wait, request) in program {
            let Charge(cost) = request else { continue };
            now += wait;
            grants.push((now, limiter.ask(cost, now).granted));
            let in_window: u64 = grants.iter().filter(|(at, _)| at + window * 1000 > now).map(|(_, granted)| granted).sum();
            prop_assert!(in_window < 2 * limit || in_window <= limit, "{} of {} in a window", in_window, limit);
        }
    }
}

#[test]
fn sliding_grants_less_than_twice_the_limit_but_nearly_that() {
    let mut limiter = Limiter::new(sliding(100, 1000));
    let start = START.div_ceil(1000) * 1000;
    assert_eq!(limiter.ask(1, start).granted, 1);
    assert_eq!(limiter.run(UpTo(100), start + 999_999).granted, 99);
    // 1 ms before the end of the next window, 1/1000 of the burst still counts, so 99 more are granted: 198 within 999,001 us.
    assert_eq!(limiter.run(UpTo(100), start + 1_999_000).granted, 99);
}

#[test]
fn all_policies_are_charged_or_none() {
    let mut limiter = Limiter::of(&[unnamed(bucket(10, 10, 1000)), unnamed(log(3, 60_000))]);
    assert_eq!(limiter.ask(3, START).binding(), (1, limiter.look(START).standings[1]));
    let denied = limiter.ask(1, START);
    assert_eq!((denied.granted, denied.remaining(0), denied.remaining(1), denied.binding().0), (0, 7, 0, 1));
    assert_eq!(denied.retry(), Some(60_000_000));
    assert_eq!(denied.reset_after(), DurationMs(60_000));
}

#[test]
fn the_binding_policy_has_the_longest_wait_or_the_least_remaining() {
    let mut limiter = Limiter::of(&[unnamed(fixed(5, 1000)), unnamed(fixed(5, 9000)), unnamed(fixed(4, 500))]);
    assert_eq!(limiter.ask(1, START).binding().0, 2);
    assert_eq!(limiter.ask(3, START).binding().0, 2);
    // All three deny 2 more. The second has the longest wait, although the third has less remaining.
    assert_eq!(limiter.ask(2, START).binding().0, 1);
    // 5 is within the limits of the first two and exceeds that of the third.
    assert_eq!((limiter.ask(5, START).binding().0, limiter.ask(5, START).retry()), (2, None));
    // The first one wins a tie.
    let mut limiter = Limiter::of(&[unnamed(fixed(5, 1000)), unnamed(fixed(5, 1000))]);
    assert_eq!(limiter.ask(5, START).binding().0, 0);
    assert_eq!(limiter.ask(1, START).binding().0, 0);
}

#[test]
fn a_debt_ends_at_one_capacity() {
    for kind in [bucket(10, 10, 1000), fixed(10, 1000), aligned(10, 1000), sliding(10, 1000), log(10, 1000)] {
        let mut limiter = Limiter::new(kind);
        assert_eq!(limiter.run(Force(15), START).remaining(0), -5, "{kind:?}");
        assert_eq!(limiter.run(Force(6), START).granted, 0, "{kind:?}");
        assert_eq!(limiter.run(Force(5), START).remaining(0), -10, "{kind:?}");
        let denied = limiter.run(Force(1), START);
        assert!(denied.granted == 0 && denied.retry().is_some_and(|wait| wait > 0), "{kind:?}");
        assert_eq!(limiter.run(Force(21), START).retry(), None, "{kind:?}");
        // An amount of 0 only reads, even in debt.
        assert_eq!((limiter.look(START).remaining(0), limiter.look(START).retry()), (-10, Some(0)), "{kind:?}");
        assert_eq!(limiter.run(Refund(11), START).remaining(0), 1, "{kind:?}");
    }
}

#[test]
fn a_refund_is_clamped_at_full_and_deletes_a_full_limiter() {
    for kind in [bucket(10, 10, 1000), fixed(10, 1000), aligned(10, 1000), sliding(10, 1000), log(10, 1000)] {
        let mut limiter = Limiter::new(kind);
        assert_eq!(limiter.peek(Refund(1), START), (limiter.look(START), Effect::Keep), "{kind:?} created a key");
        limiter.ask(4, START);
        let given = limiter.run(Refund(1), START);
        assert_eq!((given.granted, given.remaining(0)), (1, 7), "{kind:?}");
        let (given, effect) = limiter.peek(Refund(9), START);
        assert_eq!((given.granted, given.remaining(0), effect), (3, 10, Effect::Delete), "{kind:?}");
    }
}

#[test]
fn a_reset_deletes_the_key_if_there_is_one() {
    let mut limiter = Limiter::of(&[unnamed(fixed(3, 1000)), unnamed(log(5, 1000))]);
    assert_eq!(limiter.peek(Reset, START).1, Effect::Keep);
    limiter.run(Force(6), START);
    let (decision, effect) = limiter.peek(Reset, START);
    assert_eq!(effect, Effect::Delete);
    assert_eq!((decision.granted, decision.retry(), decision.reset_after()), (0, Some(0), DurationMs(0)));
    assert_eq!(decision.binding(), (0, Standing { limit: 3, remaining: 3, ..decision.standings[0] }));
}

#[test]
fn several_limiters_are_all_charged_or_none() {
    let draft = |limiter: &Limiter, cost| draft(limiter.state.as_deref(), limiter.policies[0], cost, UnixMicros(START)).unwrap();
    let (first, mut second) = (Limiter::new(bucket(9, 1, 1000)), Limiter::new(log(5, 1000)));
    second.ask(3, START);
    let (decision, effects) = decide_all(vec![draft(&first, 2), draft(&second, 2)], 2);
    assert_eq!((decision.granted, decision.remaining(0), decision.remaining(1), effects.len()), (2, 7, 0, 2));
    assert_eq!(decision.binding().0, 1);
    let (decision, effects) = decide_all(vec![draft(&first, 3), draft(&second, 3)], 3);
    assert_eq!((decision.granted, decision.remaining(0), decision.remaining(1)), (0, 9, 2));
    assert_eq!((decision.binding().0, effects), (1, Vec::new()));
}
