//! Policies that change between two requests: which policy gets which usage.

use super::*;

/// Charges `used` under `before`, then checks what remains of each policy of `after`.
#[track_caller]
fn check(before: &[Policy<'static>], used: u64, after: &[Policy<'static>], left: &[i64]) {
    let mut limiter = Limiter::of(before);
    assert_eq!(limiter.run(Force(used), START).granted, used);
    limiter.policies = after.to_vec();
    let decision = limiter.look(START);
    let found: Vec<i64> = (0..after.len()).map(|index| decision.remaining(index)).collect();
    assert_eq!(found, left, "{before:?} then {after:?}");
}

#[test]
fn usage_is_found_by_name_otherwise_by_kind_and_position() {
    let (minute, hour) = (fixed(10, 60_000), fixed(100, 3_600_000));
    check(&[unnamed(minute), unnamed(hour)], 3, &[unnamed(minute), unnamed(hour)], &[7, 97]);
    check(&[named(minute, "m"), named(hour, "h")], 3, &[named(hour, "h"), named(minute, "m")], &[97, 7]);
    check(&[named(minute, "m"), named(hour, "h")], 3, &[named(hour, "h")], &[97]);
    // A policy that gets or loses a name keeps the usage at its position; one that changes its name does not.
    check(&[unnamed(minute)], 3, &[named(minute, "m")], &[7]);
    check(&[named(minute, "m")], 3, &[unnamed(minute)], &[7]);
    check(&[named(minute, "m")], 3, &[named(minute, "x")], &[10]);
    // A record belongs to one policy only.
    check(&[named(minute, "m")], 3, &[unnamed(minute), named(minute, "m")], &[10, 7]);
    // A policy of another kind, or at another position, starts full.
    check(&[unnamed(minute)], 3, &[unnamed(sliding(10, 60_000))], &[10]);
    check(&[named(minute, "m")], 3, &[named(log(10, 60_000), "m")], &[10]);
    check(&[unnamed(minute)], 3, &[unnamed(log(10, 60_000)), unnamed(minute)], &[10, 10]);
}

#[test]
fn changed_numbers_keep_the_usage_up_to_the_limit() {
    for of in [fixed, sliding, log] {
        check(&[unnamed(of(10, 60_000))], 8, &[unnamed(of(20, 60_000))], &[12]);
        check(&[unnamed(of(10, 60_000))], 8, &[unnamed(of(5, 60_000))], &[0]);
        check(&[unnamed(of(10, 60_000))], 8, &[unnamed(of(10, 30_000))], &[2]);
        // A debt stays, within the new limit.
        check(&[unnamed(of(10, 60_000))], 18, &[unnamed(of(12, 60_000))], &[-6]);
        check(&[unnamed(of(10, 60_000))], 18, &[unnamed(of(5, 60_000))], &[-5]);
    }
    check(&[unnamed(bucket(10, 1, 60_000))], 18, &[unnamed(bucket(12, 1, 60_000))], &[-6]);
}

#[test]
fn retry_after_is_exact_after_the_limit_changed() {
    for of in [fixed, sliding, log] {
        for limit in [1, 3, 9] {
            let mut limiter = Limiter::new(of(10, 1000));
            (0..10).for_each(|n| assert_eq!(limiter.ask(1, START + n * 40_000).granted, 1));
            limiter.policies = vec![unnamed(of(limit, 1000))];
            let now = START + 400_000;
            let wait = limiter.peek(Charge(1), now).0.retry().unwrap();
            assert_eq!(limiter.peek(Charge(1), now + wait).0.granted, 1, "early");
            assert_eq!(limiter.peek(Charge(1), now + wait - 1000).0.granted, 0, "late");
        }
    }
}

#[test]
fn aligning_a_window_keeps_its_usage() {
    let start = START / 60_000_000 * 60_000_000;
    let mut limiter = Limiter::new(fixed(10, 60_000));
    limiter.ask(4, start + 10_000_000);
    limiter.policies = vec![unnamed(aligned(10, 60_000))];
    let seen = limiter.look(start + 59_999_999);
    assert_eq!((seen.remaining(0), seen.reset_after()), (6, DurationMs(1)));
    assert_eq!(limiter.look(start + 60_000_000).remaining(0), 10);
}

#[test]
fn an_aligned_window_ends_at_a_multiple_of_its_length() {
    let start = START / 60_000_000 * 60_000_000;
    let mut limiter = Limiter::new(aligned(3, 60_000));
    assert_eq!(limiter.ask(3, start + 59_000_000).reset_after(), DurationMs(1000));
    assert_eq!(limiter.ask(1, start + 59_999_999).retry(), Some(1000));
    assert_eq!(limiter.ask(3, start + 60_000_000).reset_after(), DurationMs(60_000));
}

#[test]
fn a_second_log_starts_full_and_keeps_its_own_count() {
    let mut limiter = Limiter::new(log(10, 60_000));
    limiter.ask(5, START);
    limiter.policies.push(unnamed(log(8, 60_000)));
    for (now, left) in [(START + 1, [4, 7]), (START + 2, [3, 6])] {
        let decision = limiter.ask(1, now);
        assert_eq!([decision.remaining(0), decision.remaining(1)], left);
    }
    assert_eq!(limiter.run(Refund(3), START + 3).granted, 3);
    let seen = limiter.look(START + 4);
    assert_eq!([seen.remaining(0), seen.remaining(1)], [6, 8]);
}

#[test]
fn a_long_log_is_written_whole_when_the_records_before_it_change() {
    for changed in [named(log(20, 60_000), "n"), unnamed(log(30, 60_000)), unnamed(log(13, 60_000))] {
        let mut limiter = Limiter::new(log(20, 60_000));
        (0..12).for_each(|n| assert_eq!(limiter.ask(1, START + n).granted, 1));
        limiter.policies = vec![changed];
        assert!(matches!(limiter.peek(Charge(1), START + 12).1, Effect::Put { .. }));
        assert_eq!(limiter.ask(1, START + 12).granted, 1);
        assert_eq!(limiter.look(START + 13).remaining(0), changed.kind.limit() as i64 - 13);
    }
}

#[test]
fn a_smaller_sliding_limit_makes_no_debt() {
    let start = START.div_ceil(1000) * 1000;
    let mut limiter = Limiter::new(sliding(10, 1000));
    assert_eq!(limiter.ask(10, start).granted, 10);
    assert_eq!(limiter.run(UpTo(10), start + 1_900_000).granted, 9);
    limiter.policies = vec![unnamed(sliding(5, 1000))];
    assert_eq!(limiter.look(start + 1_950_000).remaining(0), 0);
}
