//! Work that comes due: rules, scores, tokens, and random histories against a naive model.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A moment of the year 2026.
const NOW: u64 = 1_796_083_200_000;

/// A sorted set as its definition: members with scores. Counts the members that are read.
#[derive(Debug, Clone, Default)]
struct Set {
    scores: BTreeMap<Bytes, Score>,
    read: Cell<usize>,
}

impl Set {
    fn of(members: &[(&str, f64)]) -> Self {
        let scores = members.iter().map(|(member, value)| (Bytes::from_slice(member.as_bytes()), score(*value))).collect();
        Self { scores, read: Cell::new(0) }
    }

    fn order(&self) -> Vec<(Score, Bytes)> {
        let mut order: Vec<_> = self.scores.iter().map(|(member, score)| (*score, member.clone())).collect();
        order.sort();
        order
    }

    fn apply(&mut self, effect: Effect<Bytes>) {
        let Effect::Schedule(Scheduled { added, moved, removed, .. }) = effect else { return assert_eq!(effect, Effect::Keep) };
        for (member, score) in added {
            assert_eq!(self.scores.insert(member, score), None, "added a member that is there");
        }
        for (member, score) in moved {
            assert!(
                self.scores.insert(member, score).is_some_and(|was| was != score),
                "moved a member that is not there, or nowhere"
            );
        }
        for member in removed {
            assert!(self.scores.remove(&member).is_some(), "removed a member that is not there");
        }
    }
}

impl Schedule for Set {
    fn score(&self, member: &[u8]) -> Option<Score> {
        self.scores.get(member).copied()
    }

    fn ascending(&mut self) -> impl Iterator<Item = (Bytes, Score)> {
        let order = self.order();
        order.into_iter().map(|(score, member)| (member, score)).inspect(|_| self.read.set(self.read.get() + 1))
    }
}

fn score(value: f64) -> Score {
    Score::new(value).unwrap()
}

fn at(ms: u64) -> UnixMicros {
    UnixMs(ms).micros()
}

fn removing(count: u16, unit: Unit) -> Take {
    Take { count, unit, lease: None }
}

fn leasing(count: u16, ms: u64) -> Take {
    Take { count, unit: Unit::Millis, lease: Some(DurationMs(ms)) }
}

/// Takes from the set and writes the effect.
fn take(set: &mut Set, now: UnixMicros, take: Take, tokens: &mut Tokens) -> Batch {
    let mut draft = Draft::new(now);
    let taken = draft.take(set, take, tokens);
    set.apply(draft.effect());
    taken
}

fn names(taken: &[Taken]) -> String {
    taken.iter().map(|taken| String::from_utf8_lossy(&taken.member).into_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_member_is_due_at_the_first_millisecond_not_before_its_score() {
    let never = None;
    for (unit, value, expected) in [
        (Unit::Millis, 5.0, Some(5)),
        (Unit::Millis, 5.000_1, Some(6)),
        (Unit::Millis, 0.0, Some(0)),
        (Unit::Millis, -0.0, Some(0)),
        (Unit::Millis, -0.5, Some(0)),
        (Unit::Millis, -1e300, Some(0)),
        (Unit::Millis, f64::NEG_INFINITY, Some(0)),
        (Unit::Millis, f64::INFINITY, never),
        (Unit::Millis, 1e300, never),
        (Unit::Millis, 1.8e19, Some(18_000_000_000_000_000_000)),
        (Unit::Millis, 5e-324, Some(1)),
        (Unit::Seconds, 5.0, Some(5000)),
        (Unit::Seconds, 5.000_1, Some(5001)),
        (Unit::Seconds, 1_796_083_200.25, Some(NOW + 250)),
        (Unit::Seconds, 1_796_083_200.250_000_5, Some(NOW + 251)),
        (Unit::Seconds, -3.0, Some(0)),
        (Unit::Seconds, f64::NEG_INFINITY, Some(0)),
        (Unit::Seconds, f64::INFINITY, never),
        (Unit::Seconds, f64::MAX, never),
        (Unit::Seconds, f64::MIN, Some(0)),
    ] {
        assert_eq!(unit.due_at(score(value)), expected.map(UnixMs), "{value} {unit:?}");
    }
}

#[test]
fn scores_are_read_as_zadd_reads_them() {
    for (text, expected) in [
        ("1796083200123.0005", Some(1_796_083_200_123.000_5)),
        ("-5", Some(-5.0)),
        ("9007199254740993", Some(9_007_199_254_740_992.0)),
        ("1e3", Some(1000.0)),
        ("inf", Some(f64::INFINITY)),
        ("-inf", Some(f64::NEG_INFINITY)),
        ("nan", None),
        ("", None),
        ("1x", None),
        ("(5", None),
    ] {
        assert_eq!(Score::parse(text.as_bytes()), expected.map(score), "{text}");
    }
    assert_eq!(score(0.0), score(-0.0));
    assert_eq!(Score::new(f64::NAN), None);
}

#[test]
fn the_earliest_members_are_taken_first() {
    let set = [("b", 2.0), ("a", 2.0), ("z", 1.0), ("late", 5.5), ("first", f64::NEG_INFINITY), ("never", f64::INFINITY)];
    for (rule, now, count, unit, expected) in [
        ("one by default", 9, 1, Unit::Millis, "first"),
        ("by score, then by bytes", 9, 4, Unit::Millis, "first z a b"),
        ("as many as are due", 2, 9, Unit::Millis, "first z a b"),
        ("a fraction rounds up", 5, 9, Unit::Millis, "first z a b"),
        ("never means never", u64::MAX / 1000, 9, Unit::Millis, "first z a b late"),
        ("seconds", 1999, 9, Unit::Seconds, "first z"),
        ("seconds", 2000, 9, Unit::Seconds, "first z a b"),
        ("seconds", 5499, 9, Unit::Seconds, "first z a b"),
        ("seconds", 5500, 9, Unit::Seconds, "first z a b late"),
        ("before all", 0, 9, Unit::Millis, "first"),
    ] {
        let mut set = Set::of(&set);
        let taken = take(&mut set, at(now), removing(count, unit), &mut Tokens::new(0));
        assert_eq!(names(&taken), expected, "{rule}");
        assert_eq!(set.scores.len(), 6 - taken.len(), "{rule}");
        assert!(taken.iter().all(|taken| taken.lease.is_none() && taken.score() == taken.was));
    }
    let mut empty = Set::default();
    assert_eq!(Draft::new(at(NOW)).effect(), Effect::Keep);
    assert_eq!(take(&mut empty, at(NOW), removing(9, Unit::Millis), &mut Tokens::new(0)).to_vec(), []);
}

#[test]
fn a_decision_reads_only_what_it_takes_and_one_more() {
    let members: Vec<String> = (0..5000).map(|number| format!("{number:04}")).collect();
    for (due, count, expected) in [(0, 1000, 1), (3, 1000, 4), (5000, 1, 1), (5000, 1000, 1000), (3, 3, 3)] {
        let mut set = Set::default();
        for (number, member) in members.iter().enumerate() {
            set.scores.insert(Bytes::from_slice(member.as_bytes()), score(if number < due { 1.0 } else { 9.0 }));
        }
        assert_eq!(
            Draft::new(at(5)).take(&mut set, removing(count, Unit::Millis), &mut Tokens::new(0)).len(),
            due.min(count.into())
        );
        assert_eq!(set.read.get(), expected, "{count} of {due}");
    }
    // A thousand waiters served in one visit do not read the set a thousand times.
    let mut set = Set::default();
    set.scores.extend(members.iter().map(|member| (Bytes::from_slice(member.as_bytes()), score(1.0))));
    let (mut draft, mut tokens) = (Draft::new(at(5)), Tokens::new(0));
    for _ in 0..1000 {
        assert_eq!(draft.take(&mut set, removing(1, Unit::Millis), &mut tokens).len(), 1);
    }
    assert!(set.read.get() <= 4096, "{} members read", set.read.get());
}

#[test]
fn a_leased_member_is_due_again_when_its_lease_ends() {
    let mut set = Set::of(&[("job", 1.0)]);
    let mut tokens = Tokens::new(7);
    let leased = take(&mut set, at(NOW), leasing(1, 500), &mut tokens);
    let token = leased[0].lease.unwrap();
    assert_eq!(set.scores[&b"job"[..]], token);
    assert_eq!(take(&mut set, at(NOW + 500), leasing(1, 500), &mut tokens).to_vec(), []);
    let again = take(&mut set, at(NOW + 501), leasing(1, 500), &mut tokens);
    assert_eq!((names(&again).as_str(), again[0].was), ("job", token));
}

#[test]
fn finishing_needs_the_current_score() {
    let removed = || Effect::Schedule(Scheduled { removed: vec!["m"], ..Scheduled::default() });
    let moved = |value| Effect::Schedule(Scheduled { moved: vec![("m", score(value))], ..Scheduled::default() });
    for (rule, stored, given, new, expected) in [
        ("missing", None, 5.0, None, (Done::Missing, Effect::Keep)),
        ("missing", None, 5.0, Some(6.0), (Done::Missing, Effect::Keep)),
        ("another score", Some(5.5), 5.0, None, (Done::Changed, Effect::Keep)),
        ("another score", Some(5.5), 5.0, Some(5.5), (Done::Changed, Effect::Keep)),
        ("removed", Some(5.0), 5.0, None, (Done::Yes, removed())),
        ("rescheduled", Some(5.0), 5.0, Some(6.0), (Done::Yes, moved(6.0))),
        ("for ever", Some(5.0), 5.0, Some(f64::INFINITY), (Done::Yes, moved(f64::INFINITY))),
        ("to where it is", Some(5.0), 5.0, Some(5.0), (Done::Yes, Effect::Keep)),
        ("infinite", Some(f64::INFINITY), f64::INFINITY, None, (Done::Yes, removed())),
    ] {
        assert_eq!(done(stored.map(score), "m", score(given), new.map(score)), expected, "{rule}");
    }
}

#[test]
fn a_member_is_put_back_unless_it_was_changed() {
    let due = [("a", 1.0), ("b", 2.0)];
    let mut tokens = Tokens::new(0);
    for lease in [removing(2, Unit::Millis), leasing(2, 50)] {
        let mut set = Set::of(&due);
        let taken = take(&mut set, at(NOW), lease, &mut tokens);
        // Meanwhile another client schedules `b`.
        set.scores.insert(Bytes::from_slice(b"b"), score(7.0));
        let mut draft = Draft::new(at(NOW));
        taken.iter().for_each(|taken| draft.put_back(&mut set, taken, None));
        set.apply(draft.effect());
        assert_eq!(set.order(), Set::of(&[("a", 1.0), ("b", 7.0)]).order(), "{lease:?}");
    }
    // Only a set that is created again gets its expiry time again.
    let until = |set: &mut Set, member: &str| {
        let mut draft = Draft::new(at(NOW));
        draft.put_back(
            set,
            &Taken { member: Bytes::from_slice(member.as_bytes()), was: score(1.0), lease: None },
            Some(UnixMs(NOW + 5)),
        );
        let Effect::Schedule(Scheduled { until, added, .. }) = draft.effect() else { return (None, 0) };
        (until, added.len())
    };
    assert_eq!(until(&mut Set::default(), "c"), (Some(UnixMs(NOW + 5)), 1));
    assert_eq!(until(&mut Set::of(&due), "c"), (None, 1));
    assert_eq!(until(&mut Set::of(&due), "a"), (None, 0));
    // A member that is put back can be taken in the same draft, and nothing is written in the end.
    let mut set = Set::of(&due);
    let mut draft = Draft::new(at(NOW));
    let taken = draft.take(&mut set, removing(2, Unit::Millis), &mut tokens);
    taken.iter().for_each(|taken| draft.put_back(&mut set, taken, None));
    assert_eq!(draft.next_due(&mut set, Unit::Millis), Some(UnixMs(1)));
    assert_eq!(names(&draft.take(&mut set, removing(1, Unit::Millis), &mut tokens)), "a");
    assert_eq!(draft.next_due(&mut set, Unit::Millis), Some(UnixMs(2)));
    set.apply(draft.effect());
    assert_eq!(set.order(), Set::of(&[("b", 2.0)]).order());
}

#[test]
fn tokens_are_whole_fractions_of_a_millisecond_in_both_units() {
    let mut tokens = Tokens::new(0);
    let millis = tokens.issue(at(NOW), DurationMs(1000), Unit::Millis).value();
    assert_eq!((millis.trunc(), (millis * 2048.0).fract()), (1_796_083_201_000.0, 0.0));
    assert!(millis.fract() > 0.0, "a whole millisecond, which a client may choose as a score");
    let seconds = tokens.issue(at(NOW), DurationMs(1000), Unit::Seconds);
    assert_eq!(Unit::Seconds.due_at(seconds), Some(UnixMs(NOW + 1001)));
    // 17 digits are enough for any double.
    let text = format!("{:.16e}", millis);
    assert_eq!(Score::parse(text.as_bytes()), Some(score(millis)));
}

#[test]
fn leases_of_a_few_lengths_end_within_two_milliseconds() {
    let mut tokens = Tokens::new(5);
    let lengths = [30_000, 20_000, 10_000, 60_000, 5_000, 45_000, 30_001, 1, 600_000, 31_536_000_000];
    for round in 0..20_000_u64 {
        let (now, lease) = (UnixMicros(NOW * 1000 + round * 137), DurationMs(lengths[(round % 10) as usize]));
        let due = Unit::Millis.due_at(tokens.issue(now, lease, Unit::Millis)).unwrap();
        let end = now.plus(lease.micros());
        assert!(due.micros() >= end && due.micros() <= end.plus(2000), "{lease:?} in round {round}: {due:?} for {end:?}");
    }
}

#[test]
fn a_thousand_leases_at_once_end_within_five_milliseconds() {
    let mut tokens = Tokens::new(5);
    for round in 0..50 {
        let now = at(NOW + round * 5);
        let issued = (0..1000).map(|_| tokens.issue(now, DurationMs(30_000), Unit::Millis));
        let latest = issued.map(|token| Unit::Millis.due_at(token).unwrap()).max().unwrap();
        assert!(latest <= UnixMs(NOW + round * 5 + 30_006), "{latest:?} in round {round}");
    }
}

/// Leases and steps of the clock.
fn programs() -> impl Strategy<Value = Vec<(i64, u64)>> {
    let steps = prop_oneof![8 => 0..3_i64, 1 => -5000..5000_i64, 1 => prop::sample::select(vec![-3_600_000, 3_600_000])];
    let leases = prop_oneof![1..5_u64, 1..400_u64, prop::sample::select(vec![1000, 2000, 30_000, 30_001, 31_536_000_000])];
    prop::collection::vec((steps, leases), 1..400)
}

proptest! {
    /// So a worker whose lease has ended never finishes a member that another worker has.
    #[test]
    fn no_two_leases_have_the_same_token(program in programs(), salt: u64, year in 0..75_u64) {
        let (mut tokens, mut now) = (Tokens::new(salt), NOW + year * 31_536_000_000);
        let (mut millis, mut seconds) = (BTreeSet::new(), BTreeSet::new());
        for (step, lease) in program {
            now = now.saturating_add_signed(step);
            let lease = DurationMs(lease);
            let token = tokens.issue(at(now), lease, Unit::Millis);
            prop_assert!(millis.insert(token), "{token:?} twice");
            prop_assert!(Unit::Millis.due_at(token) >= Some(UnixMs(now).plus(lease)), "{token:?} ends early");
            let token = tokens.issue(at(now), lease, Unit::Seconds);
            prop_assert!(seconds.insert(token), "{token:?} twice");
            prop_assert!(Unit::Seconds.due_at(token) >= Some(UnixMs(now).plus(lease)), "{token:?} ends early");
        }
    }

    #[test]
    fn a_lease_is_never_delayed_beyond_those_of_its_group(leases in prop::collection::vec(1..100_000_u64, 1..300)) {
        let mut tokens = Tokens::new(0);
        for (round, lease) in leases.into_iter().enumerate() {
            let now = NOW + u64::try_from(round).unwrap();
            let due = Unit::Millis.due_at(tokens.issue(at(now), DurationMs(lease), Unit::Millis)).unwrap();
            prop_assert!(due.0 <= now + lease.max(16) * 16 + 20, "{lease} ms ends at {due:?}, now {now}");
        }
    }

    /// Several decisions in one draft have the effect of the same decisions one by one on a naive set.
    #[test]
    fn a_draft_decides_like_a_naive_set(
        scores in prop::collection::btree_map("[a-f]{1,2}", -3..40_i32, 0..20),
        program in prop::collection::vec((0..4_u8, 1..4_u16, prop::option::of(1..9_u64), any::<bool>()), 1..12),
        now in 0..30_u64,
    ) {
        let mut set = Set::default();
        set.scores.extend(scores.iter().map(|(member, value)| (Bytes::from_slice(member.as_bytes()), score(f64::from(*value)))));
        let (mut naive, mut draft, mut tokens, mut taken) = (set.clone(), Draft::new(at(now)), Tokens::new(0), Vec::new());
        for (action, count, lease, oldest) in program {
            if action > 0 {
                let request = Take { count, unit: Unit::Millis, lease: lease.map(DurationMs) };
                let got = draft.take(&mut set, request, &mut tokens);
                let due: Vec<_> = naive.order().into_iter().filter(|(score, _)| score.value() <= now as f64).take(count.into()).collect();
                prop_assert_eq!(got.iter().map(|taken| (taken.was, taken.member.clone())).collect::<Vec<_>>(), due);
                for one in &got {
                    let before = match one.lease {
                        Some(token) => naive.scores.insert(one.member.clone(), token),
                        None => naive.scores.remove(&one.member),
                    };
                    prop_assert_eq!(before, Some(one.was));
                }
                taken.extend(got);
            } else if !taken.is_empty() {
                let one = if oldest { taken.remove(0) } else { taken.pop().unwrap() };
                draft.put_back(&mut set, &one, None);
                if naive.scores.get(&one.member).copied() == one.lease {
                    naive.scores.insert(one.member.clone(), one.was);
                }
            }
            let first = naive.order().first().and_then(|(score, _)| Unit::Millis.due_at(*score));
            prop_assert_eq!(draft.next_due(&mut set, Unit::Millis), first);
        }
        set.apply(draft.effect());
        prop_assert_eq!(set.scores, naive.scores);
    }
}
