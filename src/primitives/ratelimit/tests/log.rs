//! The log: it is exact at its full size, one hit writes little, and a patched state means the same as a whole one.

use proptest::prelude::*;

use super::*;
use crate::primitives::ratelimit::ring::Entry;

/// All entries and the count of units, independent of the layout.
fn meaning(state: &[u8]) -> (Vec<Entry>, u64) {
    let state = State::decode(state).unwrap();
    let entries: Vec<Entry> = (0..).map_while(|position| state.ring.entry(position)).collect();
    let units = state.ring.units_from(0);
    (entries, units)
}

/// The same state, written whole.
fn rewritten(bytes: &[u8], limit: usize) -> Vec<u8> {
    let state = State::decode(bytes).unwrap();
    let mut out = super::super::state::begin();
    state.records.iter().for_each(|record| super::super::state::put_record(&mut out, *record));
    super::super::state::put_ring_tag(&mut out);
    state.ring.put_whole(limit, &mut out);
    out.into_vec()
}

#[test]
fn the_largest_log_is_exact_and_each_hit_writes_little() {
    let limit = MAX_LOG.unsigned_abs();
    let mut limiter = Limiter::new(log(limit, 60_000));
    for n in 0..limit * 5 / 2 {
        let now = START + n * 5_000;
        let (decision, effect) = limiter.peek(Charge(1), now);
        // At this pace 12,000 hits come per minute, so the limit is reached and the ring wraps around.
        let expected = u64::from(n < limit || (n - limit) % 12_000 >= 2_000);
        assert_eq!(decision.granted, expected, "hit {n}");
        match effect {
            Effect::Patch { parts, .. } => {
                assert_eq!(parts.iter().map(|part| part.bytes.len()).collect::<Vec<_>>(), [14, 10]);
            }
            Effect::Put { value, .. } => assert!(value.len() <= 15 + 8 * 10, "hit {n} writes {} bytes", value.len()),
            _ => assert_eq!(expected, 0),
        }
        limiter.run(Charge(1), now);
    }
    assert_eq!(limiter.state.unwrap().len(), 15 + 100_000);
}

#[test]
fn a_log_shrinks_after_its_hits_have_left_the_window() {
    let mut limiter = Limiter::new(log(1000, 1000));
    (0..1000).for_each(|n| assert_eq!(limiter.ask(1, START + n).granted, 1));
    assert_eq!(limiter.state.as_ref().unwrap().len(), 15 + 10_000);
    limiter.ask(1, START + 1_000_500);
    assert!(limiter.state.as_ref().unwrap().len() > 10_000, "half of it is still needed");
    limiter.ask(1, START + 1_000_990);
    assert!(limiter.state.as_ref().unwrap().len() < 200, "9 entries are left");
}

#[test]
fn a_debt_of_single_hits_doubles_the_ring_once() {
    let mut limiter = Limiter::new(log(20, 60_000));
    let mut wholes = Vec::new();
    for n in 0..40 {
        if matches!(limiter.peek(Force(1), START + n).1, Effect::Put { .. }) {
            wholes.push(n);
        }
        assert_eq!(limiter.run(Force(1), START + n).granted, 1);
    }
    assert_eq!(wholes, [0, 1, 2, 3, 4, 5, 6, 7, 20]);
    assert_eq!(limiter.run(Force(1), START + 40).granted, 0);
    assert_eq!(limiter.look(START + 40).remaining(0), -20);
}

#[test]
fn hits_in_one_microsecond_share_an_entry() {
    let mut limiter = Limiter::new(log(100, 1000));
    limiter.ask(40, START);
    limiter.ask(2, START);
    limiter.ask(3, START + 1);
    let (entries, units) = meaning(limiter.state.as_ref().unwrap());
    assert_eq!((entries.len(), units), (2, 45));
}

#[test]
fn a_refund_removes_the_newest_entries() {
    let mut limiter = Limiter::new(log(10, 1000));
    limiter.ask(4, START);
    limiter.ask(4, START + 500_000);
    limiter.run(Refund(5), START + 600_000);
    // Three of the first four hits are left, so the limiter is full when those leave the window.
    assert_eq!(limiter.look(START + 600_000).reset_after(), DurationMs(400));
    assert_eq!(limiter.look(START + 600_000).remaining(0), 7);
}

proptest! {
    /// A patched state means the same as one that was written whole, and every decision is the same.
    #[test]
    fn patched_states_mean_the_same_as_whole_states(
        limit in 9..60u64, second in 1..60u64, window in 1..2_000u64,
        program in prop::collection::vec((0..40_000u64, 0..10u8, 1..4u64), 1..300)
    ) {
        let policies = [unnamed(log(limit, window)), unnamed(bucket(1000, 1000, 1)), named(log(second, window / 2 + 1), "second")];
        let mut patched = Limiter::of(&policies);
        let mut whole = Limiter::of(&policies);
        let mut now = START;
        for (wait, what, amount) in program {
            now += wait;
            let request = match what { 0 => Refund(amount), 1 => Force(amount), _ => Charge(amount) };
            prop_assert_eq!(patched.run(request, now), whole.run(request, now));
            prop_assert_eq!(patched.state.is_some(), whole.state.is_some());
            if let (Some(patched), Some(other)) = (&patched.state, &mut whole.state) {
                let slots = limit.max(second) as usize;
                *other = rewritten(other, slots);
                prop_assert_eq!(meaning(patched), meaning(other));
                prop_assert!(meaning(patched).0.len() <= 2 * slots);
            }
        }
    }
}
