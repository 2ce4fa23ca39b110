//! Semaphore decisions: a table of the rules, then random programs against a list of owners and deadlines.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const START: u64 = 1_700_000_000_000;

/// A sorted set as a server keeps it, and the end of its key. Keys do not expire here: the decisions alone must be right.
#[derive(Debug, Default, Clone)]
struct Set {
    members: Vec<(Vec<u8>, f64)>,
    until: Option<UnixMs>,
}

impl Permits for Set {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.iter().find(|(known, _)| known == member).map(|(_, score)| *score)
    }

    fn ascending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)> {
        self.members.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.cmp(b)));
        self.members.iter().cloned()
    }

    fn descending(&mut self) -> impl Iterator<Item = (Vec<u8>, f64)> {
        self.ascending().collect::<Vec<_>>().into_iter().rev()
    }
}

impl Set {
    fn of(permits: &[(&str, u16, f64)]) -> Self {
        let members = permits.iter().map(|(owner, index, end)| (member(owner.as_bytes(), *index), START as f64 + end)).collect();
        Self { members, until: None }
    }

    /// Applies an effect, and asserts that it writes nothing that is so already.
    fn apply(&mut self, effect: Effect<Vec<u8>>) {
        let (set, removed, until) = match effect {
            Effect::Keep => return,
            Effect::Members { set, removed, until } => (set, removed, until),
            other => panic!("not about members: {other:?}"),
        };
        for (member, score) in set {
            assert!(!removed.contains(&member), "set and removed");
            assert_ne!(self.score(&member), Some(score.0 as f64), "set to what it is");
            self.members.retain(|(known, _)| *known != member);
            self.members.push((member, score.0 as f64));
        }
        for member in removed {
            assert!(self.score(&member).is_some(), "removed what is not there");
            self.members.retain(|(known, _)| *known != member);
        }
        assert_eq!(until.is_none(), self.members.is_empty());
        self.until = until;
    }

    fn decide<T>(&mut self, now: u64, decide: impl FnOnce(&mut Draft, &mut Self) -> Result<T, Corrupt>) -> Result<T, Corrupt> {
        let mut draft = Draft::read(self, UnixMs(now))?;
        let outcome = decide(&mut draft, self)?;
        let effect = draft.effect(self)?;
        self.apply(effect);
        Ok(outcome)
    }

    fn claim(&mut self, owner: &str, capacity: u64, permits: u64, lease: u64, now: u64) -> Acquired {
        let claim = Claim { owner: owner.as_bytes(), capacity, permits, lease: DurationMs(lease) };
        self.decide(now, |draft, stored| draft.claim(stored, &claim)).unwrap()
    }

    fn release(&mut self, owner: &str, permits: u64, now: u64) -> Option<u64> {
        self.decide(now, |draft, stored| draft.release(stored, owner.as_bytes(), permits)).unwrap()
    }

    fn revoke(&mut self, owner: &str, permits: u64, deadline: u64, now: u64) -> u64 {
        self.decide(now, |draft, stored| draft.revoke(stored, owner.as_bytes(), permits, UnixMs(deadline))).unwrap()
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> Option<DurationMs> {
        self.decide(now, |draft, stored| draft.renew(stored, owner.as_bytes(), DurationMs(lease))).unwrap()
    }

    /// Owners and ends, in order; panics when the indices of an owner have a hole.
    fn permits(&self) -> Vec<(String, u64)> {
        let decoded: Vec<_> = self.members.iter().cloned().map(|found| decode(found).unwrap()).collect();
        for (permit, _) in &decoded {
            let of_owner: Vec<u16> =
                decoded.iter().filter(|(other, _)| other.owner == permit.owner).map(|(other, _)| other.index).collect();
            assert!((0..of_owner.len() as u16).all(|index| of_owner.contains(&index)), "a hole: {of_owner:?}");
        }
        let mut permits: Vec<_> =
            decoded.into_iter().map(|(permit, end)| (String::from_utf8(permit.owner).unwrap(), end.0)).collect();
        permits.sort();
        permits
    }
}

fn denied(in_use: u64, retry_after: Option<u64>) -> Acquired {
    Acquired::Denied { in_use, retry_after: retry_after.map(DurationMs) }
}

#[test]
fn permits_are_granted_up_to_the_capacity_of_the_request() {
    let mut set = Set::default();
    assert_eq!(set.claim("a", 3, 2, 1000, START), Acquired::Granted { in_use: 2 });
    assert_eq!(set.claim("b", 3, 2, 500, START), denied(2, Some(1000)));
    assert_eq!(set.claim("b", 3, 1, 500, START), Acquired::Granted { in_use: 3 });
    assert_eq!(set.claim("c", 3, 1, 500, START), denied(3, Some(500)));
    assert_eq!(set.claim("a", 3, 1, 500, START), denied(3, Some(500)), "who has some needs room for more, too");
    assert_eq!(set.claim("c", 3, 2, 500, START), denied(3, Some(1000)), "the second one ends later");
    assert_eq!(set.claim("c", 2, 1, 500, START), denied(3, Some(1000)), "another capacity");
    assert_eq!(set.claim("c", 4, 1, 500, START), Acquired::Granted { in_use: 4 });
    assert_eq!(set.claim("c", 1, 2, 500, START), denied(4, None), "never");
    assert_eq!(set.until, Some(UnixMs(START + 1000)));
}

#[test]
fn a_permit_ends_with_its_own_lease() {
    let mut set = Set::default();
    set.claim("a", 2, 1, 1000, START);
    set.claim("a", 2, 1, 500, START);
    assert_eq!(set.claim("b", 2, 1, 100, START + 499), denied(2, Some(1)));
    assert_eq!(set.claim("b", 2, 1, 100, START + 500), Acquired::Granted { in_use: 2 });
    assert_eq!(set.permits(), [("a".to_owned(), START + 1000), ("b".to_owned(), START + 600)]);
    assert_eq!(set.release("b", 1, START + 600), None, "it has ended");
    assert_eq!(set.renew("b", 1000, START + 600), None);
    assert_eq!(set.members.len(), 2, "cleaning up alone is no change");
    assert_eq!(set.release("a", 1, START + 600), Some(0));
    assert_eq!((set.permits(), set.until), (Vec::new(), None));
}

#[test]
fn what_ends_first_is_given_back_first() {
    let mut set = Set::default();
    for lease in [300, 100, 200, 100] {
        set.claim("a", 9, 1, lease, START);
    }
    set.claim("b", 9, 1, 50, START);
    assert_eq!(set.release("a", 1, START), Some(3));
    assert_eq!(set.release("a", 2, START), Some(1));
    assert_eq!(set.permits(), [("a".to_owned(), START + 300), ("b".to_owned(), START + 50)]);
    assert_eq!(set.release("a", 10_000, START), Some(0), "more than there are");
    assert_eq!(set.release("a", 1, START), None);
    assert_eq!(set.until, Some(UnixMs(START + 50)));
    assert_eq!(set.release("nobody", 1, START), None);
}

#[test]
fn renewing_moves_every_permit_in_both_directions() {
    let mut set = Set::default();
    set.claim("a", 9, 2, 300, START);
    set.claim("a", 9, 1, 900, START);
    set.claim("b", 9, 1, 400, START);
    assert_eq!(set.renew("a", 100, START), Some(DurationMs(100)));
    assert_eq!(set.permits()[..3], [100; 3].map(|end| ("a".to_owned(), START + end)));
    assert_eq!(set.until, Some(UnixMs(START + 400)));
    assert_eq!(set.renew("a", 1000, START + 50), Some(DurationMs(1000)));
    assert_eq!(set.until, Some(UnixMs(START + 1050)));
}

#[test]
fn a_grant_is_taken_back_by_its_end() {
    let mut set = Set::default();
    set.claim("a", 9, 2, 300, START);
    set.claim("a", 9, 3, 100, START);
    set.claim("a", 9, 1, 200, START);
    assert_eq!(set.revoke("a", 2, START + 100, START), 2);
    assert_eq!(set.revoke("a", 5, START + 100, START), 1);
    assert_eq!(set.revoke("a", 1, START + 100, START), 0);
    assert_eq!(set.revoke("b", 1, START + 300, START), 0);
    assert_eq!(set.permits(), [200, 300, 300].map(|end| ("a".to_owned(), START + end)));
}

#[test]
fn as_little_as_possible_is_written() {
    let mut set = Set::of(&[("a", 0, 100.0), ("a", 1, 200.0), ("a", 2, 300.0), ("b", 0, 100.0)]);
    let effect = |set: &mut Set, now, decide: &dyn Fn(&mut Draft, &mut Set)| {
        let mut draft = Draft::read(set, UnixMs(START + now)).unwrap();
        decide(&mut draft, set);
        draft.effect(set).unwrap()
    };
    let at = |end| UnixMs(START + end);
    let release = effect(&mut set, 0, &|draft, set| assert!(draft.release(set, b"a", 1).is_ok()));
    let moved = (member(b"a", 0), at(300));
    assert_eq!(release, Effect::Members { set: vec![moved], removed: vec![member(b"a", 2)], until: Some(at(300)) });
    let claim = Claim { owner: b"b", capacity: 9, permits: 2, lease: DurationMs(400) };
    // The place of what ended is used again.
    let claimed = effect(&mut set, 100, &|draft, set| assert!(draft.claim(set, &claim).is_ok()));
    let places = [0, 1].map(|index| (member(b"b", index), at(500)));
    let moved = (member(b"a", 0), at(300));
    let set_members = [vec![moved], places.to_vec()].concat();
    assert_eq!(claimed, Effect::Members { set: set_members, removed: vec![member(b"a", 2)], until: Some(at(500)) });
    let claim = Claim { owner: b"c", capacity: 3, permits: 1, lease: DurationMs(400) };
    let denial = effect(&mut set, 0, &|draft, set| assert!(draft.claim(set, &claim).is_ok()));
    assert_eq!(denial, Effect::Keep);
    let nothing = effect(&mut set, 250, &|draft, set| assert!(draft.release(set, b"nobody", 1).is_ok()));
    assert_eq!(nothing, Effect::Keep);
    // Several decisions are one change: what one takes back and another one takes is not written.
    let handed = effect(&mut set, 0, &|draft, set| {
        assert_eq!(draft.release(set, b"b", 1), Ok(Some(0)));
        let claim = Claim { owner: b"b", capacity: 4, permits: 1, lease: DurationMs(100) };
        assert_eq!(draft.claim(set, &claim), Ok(Acquired::Granted { in_use: 4 }));
    });
    assert_eq!(handed, Effect::Members { set: Vec::new(), removed: Vec::new(), until: Some(at(300)) });
}

#[test]
fn a_draft_sees_its_own_decisions() {
    let mut set = Set::of(&[("a", 0, 100.0), ("b", 0, 200.0), ("c", 0, 300.0)]);
    let mut draft = Draft::read(&mut set, UnixMs(START)).unwrap();
    let retry = |draft: &Draft, set: &mut Set, permits| draft.retry_at(set, 3, permits).unwrap().map(|at| at.0 - START);
    assert_eq!(
        (retry(&draft, &mut set, 1), retry(&draft, &mut set, 3), retry(&draft, &mut set, 4)),
        (Some(100), Some(300), None)
    );
    assert_eq!(draft.renew(&set, b"a", DurationMs(250)), Ok(Some(DurationMs(250))));
    assert_eq!((retry(&draft, &mut set, 1), retry(&draft, &mut set, 2)), (Some(200), Some(250)));
    assert_eq!(draft.release(&set, b"b", 1), Ok(Some(0)));
    assert_eq!((retry(&draft, &mut set, 1), draft.in_use()), (Some(0), 2), "it fits now");
    assert_eq!((retry(&draft, &mut set, 2), retry(&draft, &mut set, 3)), (Some(250), Some(300)));
    let claim = |owner| Claim { owner, capacity: 3, permits: 1, lease: DurationMs(50) };
    assert_eq!(draft.claim(&mut set, &claim(b"d")), Ok(Acquired::Granted { in_use: 3 }));
    assert_eq!(draft.claim(&mut set, &claim(b"e")), Ok(denied(3, Some(50))));
    assert_eq!(draft.revoke(&set, b"d", 1, UnixMs(START + 50)), Ok(1));
    assert_eq!(draft.revoke(&set, b"d", 1, UnixMs(START + 50)), Ok(0), "and what was done before stays done");
    let effect = draft.effect(&mut set).unwrap();
    set.apply(effect);
    assert_eq!(set.permits(), [("a".to_owned(), START + 250), ("c".to_owned(), START + 300)]);
}

#[test]
fn what_is_no_semaphore_is_corrupt() {
    let good = (member(b"a", 0), START as f64);
    let named = |name: &[u8]| vec![(name.to_vec(), START as f64), good.clone()];
    let scored = |score| vec![(member(b"a", 0), score)];
    for (what, members) in [
        ("a name", named(b"v")),
        ("an empty name", named(b"")),
        ("no owner", named(b"\xa7SM\x01\0\0")),
        ("another version", named(b"\xa7SM\x02\0\0a")),
        ("an index out of range", named(&member(b"a", MAX_PERMITS))),
        ("an owner too long", named(&member(&[b'a'; 256], 0))),
        ("a fraction", scored(0.5)),
        ("a negative score", scored(-1.0)),
        ("more than a whole number", scored(9_007_199_254_740_994.0)),
        ("infinity", scored(f64::INFINITY)),
        ("negative infinity", scored(f64::NEG_INFINITY)),
        ("not a number", scored(f64::NAN)),
    ] {
        for now in [0, START, START + 1000] {
            let mut set = Set { members: members.clone(), until: None };
            assert!(Draft::read(&mut set, UnixMs(now)).is_err(), "{what} at {now}");
        }
        assert!(owners(&mut Set { members, until: None }, UnixMs(0)).is_err(), "{what}");
    }
    let mut longest = Set { members: vec![(member(&[b'a'; 255], MAX_PERMITS - 1), 9_007_199_254_740_992.0)], until: None };
    assert_eq!(Draft::read(&mut longest, UnixMs(0)).unwrap().in_use(), 1);
    // In the middle it is found when it is come across.
    let mut hidden = Set::of(&[("a", 0, 100.0), ("a", 1, 300.0)]);
    hidden.members.push((b"v".to_vec(), START as f64 + 200.0));
    assert_eq!(hidden.claim("b", 3, 1, 10, START), denied(3, Some(100)));
    assert_eq!(hidden.decide(START, |draft, stored| draft.retry_at(stored, 3, 2)), Err(Corrupt));
    assert!(Draft::read(&mut hidden, UnixMs(START + 200)).is_err());
}

#[test]
fn what_lies_behind_a_hole_counts_until_it_ends_and_is_removed_then() {
    let mut set = Set::of(&[("a", 0, 100.0), ("a", 2, 200.0), ("b", 0, 900.0)]);
    assert_eq!(set.claim("c", 3, 1, 10, START), denied(3, Some(100)));
    assert_eq!(set.release("a", 9, START), Some(0));
    assert_eq!(set.until, Some(UnixMs(START + 900)));
    assert_eq!(set.claim("c", 2, 1, 10, START), denied(2, Some(200)));
    assert_eq!(set.claim("c", 2, 1, 10, START + 200), Acquired::Granted { in_use: 2 });
    assert_eq!(set.permits().len(), 2);
    // A grant fills the hole, and what was behind it belongs to the owner again.
    let mut set = Set::of(&[("a", 1, 200.0)]);
    assert_eq!(set.claim("a", 9, 1, 500, START), Acquired::Granted { in_use: 2 });
    assert_eq!(set.release("a", 9, START), Some(0));
    // What ended behind a hole does not keep the key.
    let mut set = Set::of(&[("a", 0, 50.0), ("b", 2, 20.0)]);
    assert_eq!(set.release("a", 1, START + 20), Some(0));
    assert_eq!(set.members, []);
    // What is granted at the place of an ended permit stays.
    let mut set = Set::of(&[("a", 1, 200.0)]);
    assert_eq!(set.claim("a", 9, 2, 500, START + 200), Acquired::Granted { in_use: 2 });
    assert_eq!(set.permits(), [700, 700].map(|end| ("a".to_owned(), START + end)));
}

#[test]
fn every_owner_is_listed_with_the_last_of_its_ends() {
    let mut set = Set::of(&[("b", 0, 100.0), ("b", 1, 50.0), ("a", 0, 300.0), ("c", 0, 10.0)]);
    let listed: Vec<_> = owners(&mut set, UnixMs(START + 10)).unwrap().into_iter().collect();
    let owner = |name: &str, permits, end| (name.as_bytes().to_vec(), Owner { permits, until: UnixMs(START + end) });
    assert_eq!(listed, [owner("a", 1, 300), owner("b", 2, 100)]);
}

#[test]
fn a_full_semaphore_of_one_owner_is_decided_in_time() {
    let mut set = Set::default();
    assert_eq!(set.claim("a", 10_000, 10_000, 1000, START), Acquired::Granted { in_use: 10_000 });
    assert_eq!(set.claim("b", 10_000, 10_000, 1000, START), denied(10_000, Some(1000)));
}

#[derive(Debug, Clone)]
enum Step {
    Claim { who: usize, capacity: u64, permits: u64, lease: u64 },
    Release { who: usize, permits: u64 },
    Revoke { who: usize, permits: u64, of: usize },
    Renew { who: usize, lease: u64 },
}

fn step() -> impl Strategy<Value = (i64, Step)> {
    let step = prop_oneof![
        3 => (0..3usize, 1..8u64, 1..5u64, 1..60u64)
            .prop_map(|(who, capacity, permits, lease)| Step::Claim { who, capacity, permits, lease }),
        1 => (0..3usize, 1..5u64).prop_map(|(who, permits)| Step::Release { who, permits }),
        1 => (0..3usize, 1..5u64, 0..8usize).prop_map(|(who, permits, of)| Step::Revoke { who, permits, of }),
        1 => (0..3usize, 1..60u64).prop_map(|(who, lease)| Step::Renew { who, lease }),
    ];
    (-15..30i64, step)
}

/// All permits as owner and end, looked through from scratch on every step. What ended goes with the next change.
#[derive(Default)]
struct Model(Vec<(String, u64)>);

impl Model {
    fn live(&self, now: u64) -> Vec<(String, u64)> {
        let mut live: Vec<_> = self.0.iter().filter(|(_, end)| *end > now).cloned().collect();
        live.sort_by_key(|(_, end)| *end);
        live
    }

    fn claim(&mut self, owner: &str, capacity: u64, permits: u64, lease: u64, now: u64) -> Acquired {
        let mut live = self.live(now);
        let in_use = live.len() as u64;
        if in_use + permits > capacity {
            let fits = |at: &u64| live.iter().filter(|(_, end)| end > at).count() as u64 + permits <= capacity;
            return denied(in_use, live.iter().map(|(_, end)| *end).find(fits).map(|at| at - now));
        }
        live.extend((0..permits).map(|_| (owner.to_owned(), now + lease)));
        self.0 = live;
        Acquired::Granted { in_use: in_use + permits }
    }

    /// Takes away up to `permits` of those that `which` names, the earliest first; how many there were.
    fn take(&mut self, permits: u64, now: u64, which: impl Fn(&(String, u64)) -> bool) -> u64 {
        let mut taken = 0;
        let mut live = self.live(now);
        live.retain(|permit| {
            let goes = which(permit) && taken < permits;
            taken += u64::from(goes);
            !goes
        });
        if taken > 0 {
            self.0 = live;
        }
        taken
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> bool {
        let mut live = self.live(now);
        let owned = live.iter_mut().filter(|(name, _)| name == owner).map(|(_, end)| *end = now + lease).count();
        if owned > 0 {
            self.0 = live;
        }
        owned > 0
    }
}

proptest! {
    #[test]
    fn a_semaphore_behaves_like_a_list_of_permits(steps in prop::collection::vec(step(), 1..80)) {
        let owners = ["a", "b", "c"];
        let (mut set, mut model, mut now) = (Set::default(), Model::default(), START);
        for (wait, step) in steps {
            now = now.checked_add_signed(wait).unwrap();
            match step {
                Step::Claim { who, capacity, permits, lease } => {
                    let mut later = set.clone();
                    let acquired = set.claim(owners[who], capacity, permits, lease, now);
                    prop_assert_eq!(acquired, model.claim(owners[who], capacity, permits, lease, now));
                    if let Acquired::Denied { retry_after: Some(wait), .. } = acquired {
                        let at = now + wait.0;
                        let early = later.claim(owners[who], capacity, permits, lease, at - 1);
                        prop_assert!(matches!(early, Acquired::Denied { .. }), "it fits before {at}");
                        let due = later.claim(owners[who], capacity, permits, lease, at);
                        prop_assert!(matches!(due, Acquired::Granted { .. }), "it does not fit at {at}");
                    }
                }
                Step::Release { who, permits } => {
                    let owned = model.live(now).iter().filter(|(name, _)| name == owners[who]).count() as u64;
                    let taken = model.take(permits, now, |(name, _)| name == owners[who]);
                    prop_assert_eq!(set.release(owners[who], permits, now), (owned > 0).then_some(owned - taken));
                }
                Step::Revoke { who, permits, of } => {
                    let end = model.0.get(of).map_or(now + 1, |(_, end)| *end);
                    let taken = model.take(permits, now, |(name, until)| name == owners[who] && *until == end);
                    prop_assert_eq!(set.revoke(owners[who], permits, end, now), taken);
                }
                Step::Renew { who, lease } => {
                    let renewed = model.renew(owners[who], lease, now);
                    prop_assert_eq!(set.renew(owners[who], lease, now), renewed.then_some(DurationMs(lease)));
                }
            }
            let mut expected = model.0.clone();
            expected.sort();
            prop_assert_eq!(set.permits(), expected);
            prop_assert_eq!(set.until.map(|until| until.0), model.0.iter().map(|(_, end)| *end).max());
        }
    }

    #[test]
    fn any_sorted_set_is_refused_or_understood(
        permits in prop::collection::vec((0..2usize, 0..4u16, prop_oneof![0..40u16, 0..4u16], prop::bool::weighted(0.02)), 0..12),
        claimed in 1..4u64, released in 1..4u64, now in 0..40u64,
    ) {
        let mut set = Set::default();
        for (who, index, end, odd) in permits {
            let member = member(["a", "b"][who].as_bytes(), index);
            if set.score(&member).is_none() {
                set.members.push((member, if odd { f64::from(end) + 0.5 } else { f64::from(end) }));
            }
        }
        let before = set.len();
        let claim = Claim { owner: b"a", capacity: 100, permits: claimed, lease: DurationMs(100) };
        let decided = set.decide(now, |draft, stored| {
            let granted = draft.claim(stored, &claim)?;
            draft.release(stored, b"b", released)?;
            Ok(granted)
        });
        if decided.is_ok() {
            prop_assert!(set.len() <= before + claimed as usize);
            prop_assert!(set.members.iter().all(|(_, end)| *end > now as f64), "what ended is still there");
            let last = set.members.iter().map(|(_, end)| *end).fold(0.0, f64::max);
            prop_assert!(set.until.is_some_and(|until| until.0 as f64 >= last), "the key goes before its permits");
        }
    }

    #[test]
    fn decode_of_any_member_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), score: f64) {
        let _ = decode((bytes.clone(), score));
        let _ = decode(([MAGIC, &bytes].concat(), score));
    }

    #[test]
    fn decode_encode_is_identity(owner in prop::collection::vec(any::<u8>(), 1..=255), index in 0..MAX_PERMITS, end in 0..=MAX_DEADLINE) {
        let decoded = decode((member(&owner, index), end as f64));
        prop_assert_eq!(decoded, Ok((Permit { index, owner }, UnixMs(end))));
    }
}
