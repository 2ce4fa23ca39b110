//! Semaphore decisions: a table of the rules. Random programs are in [`random`].
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::Amount::{AtLeast, More};
use super::*;

mod random;

const START: u64 = 1_700_000_000_000;

/// A sorted set in the order of a server, and the expiry time of its key. Keys do not expire here: the decisions alone must be right.
#[derive(Debug, Default, Clone)]
struct Set {
    members: Vec<(Bytes, f64)>,
    until: Option<UnixMs>,
}

impl Permits for Set {
    fn len(&self) -> usize {
        self.members.len()
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        self.members.iter().find(|(known, _)| **known == *member).map(|(_, score)| *score)
    }

    fn ascending(&mut self, from: f64) -> impl Iterator<Item = (Bytes, f64)> {
        self.members.sort_by(|(a, x), (b, y)| x.total_cmp(y).then_with(|| a.cmp(b)));
        self.members.iter().filter(move |(_, score)| *score >= from || score.is_nan()).cloned()
    }

    fn descending(&mut self) -> impl Iterator<Item = (Bytes, f64)> {
        self.ascending(f64::NEG_INFINITY).collect::<Vec<_>>().into_iter().rev()
    }
}

fn lease(owner: &str) -> Bytes {
    member(LEASE, owner.as_bytes())
}

fn counted(owner: &str) -> Bytes {
    member(COUNT, owner.as_bytes())
}

impl Set {
    /// Takes owners, their permits and the ends of their leases after [`START`].
    fn of(owners: &[(&str, u64, u64)]) -> Self {
        let mut members: Vec<_> = owners.iter().map(|(owner, _, end)| (lease(owner), (START + end) as f64)).collect();
        let several = owners.iter().filter(|(_, permits, _)| *permits > 1);
        members.extend(several.clone().map(|(owner, permits, _)| (counted(owner), -(*permits as f64))));
        if several.count() > 0 {
            members.push((Bytes::from_slice(TOTAL), -(owners.iter().map(|(_, permits, _)| *permits).sum::<u64>() as f64)));
        }
        Self { members, until: None }
    }

    /// Applies an effect and asserts that no part of it is a no-op.
    fn apply(&mut self, effect: Effect<Bytes>) {
        let (set, removed, until) = match effect {
            Effect::Keep => return,
            Effect::Members { set, removed, until } => (set, removed, until),
            other => panic!("not about members: {other:?}"),
        };
        for (member, score) in set {
            assert!(!removed.contains(&member), "set and removed");
            assert_ne!(self.score(&member), Some(score as f64), "set to its own score");
            self.members.retain(|(known, _)| *known != member);
            self.members.push((member, score as f64));
        }
        for member in removed {
            assert!(self.score(&member).is_some(), "removed a missing member");
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

    fn claim(&mut self, owner: &str, capacity: u64, amount: Amount, lease: u64, now: u64) -> Acquired {
        let claim = Claim { owner: owner.as_bytes(), capacity, amount, lease: DurationMs(lease) };
        self.decide(now, |draft, stored| draft.claim(stored, &claim)).unwrap()
    }

    /// Acquires `permits` more.
    fn add(&mut self, owner: &str, capacity: u64, permits: u64, lease: u64, now: u64) -> Acquired {
        self.claim(owner, capacity, More(permits), lease, now)
    }

    /// Acquires what the owner lacks of `permits`.
    fn have(&mut self, owner: &str, capacity: u64, permits: u64, lease: u64, now: u64) -> Acquired {
        self.claim(owner, capacity, AtLeast(permits), lease, now)
    }

    fn release(&mut self, owner: &str, permits: u64, now: u64) -> Option<u64> {
        self.decide(now, |draft, stored| draft.release(stored, owner.as_bytes(), permits)).unwrap()
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> Option<DurationMs> {
        self.decide(now, |draft, stored| draft.renew(stored, owner.as_bytes(), DurationMs(lease))).unwrap()
    }

    /// The stored owners, permits and ends, by name. Panics if the counts are inconsistent.
    fn owned(&mut self) -> Vec<(String, u64, u64)> {
        let total = self.score(TOTAL);
        let mut owned: Vec<_> = self
            .ascending(FIRST_LEASE)
            .map(|found| decode(found).unwrap())
            .collect::<Vec<_>>()
            .into_iter()
            .map(|(owner, until)| {
                let permits = self.score(&member(COUNT, &owner)).map_or(1, |score| -score as u64);
                (String::from_utf8(owner.into_vec()).unwrap(), permits, until.0)
            })
            .collect();
        owned.sort();
        let several = owned.iter().filter(|(_, permits, _)| *permits > 1).count();
        assert_eq!(self.len(), owned.len() + several + usize::from(total.is_some()), "a count without an owner");
        assert!(several == 0 || total.is_some(), "no total");
        let all = owned.iter().map(|(_, permits, _)| *permits as f64).sum::<f64>();
        assert!(total.is_none_or(|total| -total == all), "{total:?} is not the total of {all}");
        owned
    }
}

fn owner(name: &str, permits: u64, end: u64) -> (String, u64, u64) {
    (name.to_owned(), permits, START + end)
}

fn granted(in_use: u64, added: u64, end: u64) -> Acquired {
    Acquired::Granted { in_use, added, until: UnixMs(START + end) }
}

fn denied(in_use: u64, retry_after: Option<u64>) -> Acquired {
    Acquired::Denied { in_use, retry_after: retry_after.map(DurationMs) }
}

#[test]
fn permits_are_granted_up_to_the_capacity_of_the_request() {
    let mut set = Set::default();
    assert_eq!(set.have("a", 3, 2, 1000, START), granted(2, 2, 1000));
    assert_eq!(set.have("b", 3, 2, 500, START), denied(2, Some(1000)));
    assert_eq!(set.have("b", 3, 1, 500, START), granted(3, 1, 500));
    assert_eq!(set.have("c", 3, 1, 500, START), denied(3, Some(500)));
    assert_eq!(set.add("a", 3, 1, 500, START), denied(3, Some(500)), "an owner needs room for more permits, too");
    assert_eq!(set.have("a", 3, 3, 500, START), denied(3, Some(500)), "and for missing ones");
    assert_eq!(set.have("c", 3, 2, 500, START), denied(3, Some(1000)), "the lease of the others ends later");
    assert_eq!(set.have("c", 2, 1, 500, START), denied(3, Some(1000)), "another capacity");
    assert_eq!(set.have("c", 4, 1, 500, START), granted(4, 1, 500));
    assert_eq!(set.have("c", 1, 2, 500, START), denied(4, None), "never");
    assert_eq!(set.until, Some(UnixMs(START + 1000)));
}

#[test]
fn a_request_that_is_sent_again_takes_nothing_and_needs_no_room() {
    let mut set = Set::default();
    assert_eq!(set.have("a", 3, 2, 1000, START), granted(2, 2, 1000));
    assert_eq!(set.have("b", 3, 1, 1000, START), granted(3, 1, 1000));
    for capacity in [1, 2, 3, 9] {
        assert_eq!(set.have("a", capacity, 2, 1000, START), granted(3, 0, 1000), "capacity {capacity}");
    }
    assert_eq!(set.have("a", 3, 2, 1500, START + 100), granted(3, 0, 1600), "the lease is renewed");
    assert_eq!(set.have("a", 3, 2, 10, START + 100), granted(3, 0, 1600), "and gets no shorter");
    assert_eq!(set.have("a", 3, 1, 10, START), granted(3, 0, 1600), "no permit is taken away");
    assert_eq!(set.have("a", 4, 3, 10, START), granted(4, 1, 1600), "one was missing");
    assert_eq!(set.owned(), [owner("a", 3, 1600), owner("b", 1, 1000)]);
    // At the end of the lease all of them are missing.
    assert_eq!(set.have("a", 4, 3, 10, START + 1600), granted(3, 3, 1610));
}

#[test]
fn a_denial_of_missing_permits_does_not_count_the_end_of_the_owners_own_lease() {
    // `a` lacks one of three permits. When its lease ends it lacks three, so that does not help it.
    let mut set = Set::of(&[("a", 2, 100), ("b", 1, 300), ("c", 1, 200)]);
    assert_eq!(set.have("a", 4, 3, 10, START), denied(4, Some(200)));
    assert_eq!(set.have("a", 4, 4, 10, START), denied(4, Some(300)));
    assert_eq!(set.add("a", 4, 2, 10, START), denied(4, Some(100)));
    assert_eq!(set.have("a", 4, 5, 10, START), denied(4, None));
    assert_eq!(set.add("a", 4, 5, 10, START), denied(4, None));
    let mut later = set.clone();
    assert_eq!(later.have("a", 4, 3, 10, START + 199), denied(2, Some(1)), "also after the end of its lease");
    assert_eq!(later.have("a", 4, 3, 10, START + 200), granted(4, 3, 210));
    // In one draft, as in a queue.
    let mut draft = Draft::read(&mut set, UnixMs(START)).unwrap();
    assert_eq!(draft.renew(&set, b"a", DurationMs(50)), Ok(Some(DurationMs(50))));
    let claim = |amount| Claim { owner: b"a", capacity: 4, amount, lease: DurationMs(10) };
    let mut retry = |amount| draft.retry_at(&mut set, &claim(amount)).unwrap().map(|at| at.0 - START);
    assert_eq!([AtLeast(2), AtLeast(3), More(1), More(2)].map(&mut retry), [Some(0), Some(200), Some(50), Some(50)]);
}

#[test]
fn an_owner_has_one_lease_that_acquiring_more_never_shortens() {
    let mut set = Set::default();
    assert_eq!(set.add("a", 3, 1, 1000, START), granted(1, 1, 1000));
    assert_eq!(set.add("a", 3, 1, 500, START), granted(2, 1, 1000));
    assert_eq!(set.add("a", 3, 1, 1500, START + 100), granted(3, 1, 1600));
    assert_eq!(set.add("b", 3, 1, 100, START + 1599), denied(3, Some(1)));
    assert_eq!(set.add("b", 3, 1, 100, START + 1600), granted(1, 1, 1700));
    assert_eq!(set.owned(), [owner("b", 1, 1700)]);
    assert_eq!(set.release("a", 1, START + 1600), None, "it has ended");
    // An ended lease does not extend the next one.
    assert_eq!(set.add("b", 3, 2, 50, START + 1800), granted(2, 2, 1850));
}

#[test]
fn permits_are_released_and_the_key_ends_with_the_last_lease() {
    let mut set = Set::of(&[("a", 3, 600), ("b", 1, 500)]);
    assert_eq!(set.release("a", 1, START), Some(2));
    assert_eq!(set.until, Some(UnixMs(START + 600)));
    assert_eq!(set.owned(), [owner("a", 2, 600), owner("b", 1, 500)]);
    assert_eq!(set.release("a", 9, START), Some(0));
    assert_eq!(set.until, Some(UnixMs(START + 500)));
    assert_eq!(set.release("a", 1, START), None);
    assert_eq!(set.release("b", 1, START), Some(0));
    assert_eq!(set.members, []);
}

#[test]
fn renewing_moves_the_lease_of_one_owner() {
    let mut set = Set::of(&[("a", 2, 600), ("b", 1, 500)]);
    assert_eq!(set.renew("a", 900, START + 10), Some(DurationMs(900)));
    assert_eq!((set.owned(), set.until), (vec![owner("a", 2, 910), owner("b", 1, 500)], Some(UnixMs(START + 910))));
    assert_eq!(set.renew("a", 100, START + 10), Some(DurationMs(100)));
    assert_eq!((set.owned(), set.until), (vec![owner("a", 2, 110), owner("b", 1, 500)], Some(UnixMs(START + 500))));
    assert_eq!((set.renew("a", 100, START + 110), set.renew("c", 100, START)), (None, None));
}

#[test]
fn decisions_write_as_little_as_possible() {
    let mut set = Set::of(&[("a", 3, 300), ("b", 1, 100)]);
    let effect = |set: &mut Set, now, decide: &dyn Fn(&mut Draft, &mut Set)| {
        let mut draft = Draft::read(set, UnixMs(START + now)).unwrap();
        decide(&mut draft, set);
        draft.effect(set).unwrap()
    };
    let at = |end| (START + end) as i64;
    let members = |set: &[(Bytes, i64)], removed: &[Bytes], end| Effect::Members {
        set: set.to_vec(),
        removed: removed.to_vec(),
        until: Some(UnixMs(START + end)),
    };
    let claim = |owner, capacity, permits, lease| Claim { owner, capacity, amount: AtLeast(permits), lease: DurationMs(lease) };
    let released = effect(&mut set, 0, &|draft, set| assert!(draft.release(set, b"a", 1).is_ok()));
    assert_eq!(released, members(&[(counted("a"), -2), (Bytes::from_slice(TOTAL), -3)], &[], 300));
    let single = effect(&mut set, 0, &|draft, set| assert!(draft.release(set, b"a", 2).is_ok()));
    assert_eq!(single, members(&[(Bytes::from_slice(TOTAL), -2)], &[counted("a")], 300));
    let renewed = effect(&mut set, 0, &|draft, set| assert!(draft.renew(set, b"a", DurationMs(900)).is_ok()));
    assert_eq!(renewed, members(&[(lease("a"), at(900))], &[], 900));
    // The claim removes ended leases. An owner that acquires again reuses its member.
    let claimed = effect(&mut set, 100, &|draft, set| assert!(draft.claim(set, &claim(b"c", 9, 1, 400)).is_ok()));
    assert_eq!(claimed, members(&[(lease("c"), at(500))], &[lease("b")], 500));
    let again = effect(&mut set, 100, &|draft, set| assert!(draft.claim(set, &claim(b"b", 9, 1, 400)).is_ok()));
    assert_eq!(again, members(&[(lease("b"), at(500))], &[], 500));
    let denial = effect(&mut set, 0, &|draft, set| assert!(draft.claim(set, &claim(b"c", 3, 1, 400)).is_ok()));
    assert_eq!(denial, Effect::Keep);
    let nothing = effect(&mut set, 250, &|draft, set| assert!(draft.release(set, b"nobody", 1).is_ok()));
    assert_eq!(nothing, Effect::Keep);
    // A request that is sent again changes at most the lease, and restores the TTL of the key.
    let same = effect(&mut set, 0, &|draft, set| assert_eq!(draft.claim(set, &claim(b"a", 1, 3, 300)), Ok(granted(4, 0, 300))));
    assert_eq!(same, members(&[], &[], 300));
    let kept = effect(&mut set, 100, &|draft, set| assert!(draft.claim(set, &claim(b"a", 1, 2, 100)).is_ok()));
    assert_eq!(kept, members(&[], &[], 300), "an ended lease is no reason to write");
    let longer = effect(&mut set, 0, &|draft, set| assert!(draft.claim(set, &claim(b"a", 1, 3, 301)).is_ok()));
    assert_eq!(longer, members(&[(lease("a"), at(301))], &[], 301));
    // Several decisions are one change: a release and an equal claim cancel out.
    let handed = effect(&mut set, 0, &|draft, set| {
        assert_eq!(draft.release(set, b"b", 1), Ok(Some(0)));
        assert_eq!(draft.claim(set, &claim(b"b", 4, 1, 100)), Ok(granted(4, 1, 100)));
    });
    assert_eq!(handed, members(&[], &[], 300));
    // Owners with one permit each need no counts, and the last release leaves nothing.
    let mut single = Set::of(&[("a", 1, 300)]);
    let second = effect(&mut single, 0, &|draft, set| assert!(draft.claim(set, &claim(b"b", 9, 1, 400)).is_ok()));
    assert_eq!(second, members(&[(lease("b"), at(400))], &[], 400));
    let both = effect(&mut single, 0, &|draft, set| assert!(draft.claim(set, &claim(b"b", 9, 2, 400)).is_ok()));
    assert_eq!(both, members(&[(lease("b"), at(400)), (counted("b"), -2), (Bytes::from_slice(TOTAL), -3)], &[], 400));
    let mut last = Set::of(&[("a", 2, 300)]);
    let gone = effect(&mut last, 0, &|draft, set| assert!(draft.release(set, b"a", 2).is_ok()));
    let all = vec![lease("a"), counted("a"), Bytes::from_slice(TOTAL)];
    assert_eq!(gone, Effect::Members { set: Vec::new(), removed: all, until: None });
}

#[test]
fn a_draft_sees_its_own_decisions() {
    let mut set = Set::of(&[("a", 1, 100), ("b", 1, 200), ("c", 1, 300)]);
    let mut draft = Draft::read(&mut set, UnixMs(START)).unwrap();
    let retry = |draft: &Draft, set: &mut Set, permits| {
        let claim = Claim { owner: b"other", capacity: 3, amount: AtLeast(permits), lease: DurationMs(50) };
        draft.retry_at(set, &claim).unwrap().map(|at| at.0 - START)
    };
    assert_eq!(
        (retry(&draft, &mut set, 1), retry(&draft, &mut set, 3), retry(&draft, &mut set, 4)),
        (Some(100), Some(300), None)
    );
    assert_eq!(draft.renew(&set, b"a", DurationMs(250)), Ok(Some(DurationMs(250))));
    assert_eq!((retry(&draft, &mut set, 1), retry(&draft, &mut set, 2)), (Some(200), Some(250)));
    assert_eq!(draft.release(&set, b"b", 1), Ok(Some(0)));
    assert_eq!((retry(&draft, &mut set, 1), draft.in_use()), (Some(0), 2), "it fits now");
    assert_eq!((retry(&draft, &mut set, 2), retry(&draft, &mut set, 3)), (Some(250), Some(300)));
    let claim = |owner| Claim { owner, capacity: 3, amount: AtLeast(1), lease: DurationMs(50) };
    assert_eq!(draft.claim(&mut set, &claim(b"d")), Ok(granted(3, 1, 50)));
    assert_eq!((draft.permits(&set, b"d"), draft.permits(&set, b"c"), draft.permits(&set, b"b")), (Ok(1), Ok(1), Ok(0)));
    assert_eq!(draft.claim(&mut set, &claim(b"e")), Ok(denied(3, Some(50))));
    assert_eq!(draft.release(&set, b"d", 1), Ok(Some(0)));
    let effect = draft.effect(&mut set).unwrap();
    set.apply(effect);
    assert_eq!(set.owned(), [owner("a", 1, 250), owner("c", 1, 300)]);
}

#[test]
fn a_denial_counts_all_permits_of_the_leases_that_must_end() {
    let mut set = Set::of(&[("a", 4, 300), ("b", 1, 100), ("c", 3, 200)]);
    let mut retry = |permits| match set.have("d", 8, permits, 10, START) {
        Acquired::Denied { in_use: 8, retry_after } => retry_after.map(|after| after.0),
        other => panic!("{other:?}"),
    };
    let waits: Vec<_> = (1..=9).map(&mut retry).collect();
    assert_eq!(waits, [Some(100), Some(200), Some(200), Some(200), Some(300), Some(300), Some(300), Some(300), None]);
}

#[test]
fn other_sorted_sets_are_corrupt() {
    let good = (lease("a"), START as f64);
    let named = |name: &[u8]| vec![(Bytes::from_slice(name), START as f64), good.clone()];
    let scored = |score| vec![(lease("a"), score)];
    let totalled = |score| vec![(Bytes::from_slice(TOTAL), score), good.clone()];
    for (what, members) in [
        ("a name", named(b"v")),
        ("an empty name", named(b"")),
        ("no owner", named(b"\xa7SM\x01\0")),
        ("another version", named(b"\xa7SM\x02\0a")),
        ("another kind", named(b"\xa7SM\x01\x03a")),
        ("a count among the leases", named(&counted("a"))),
        ("an owner too long", named(&member(LEASE, &[b'a'; 256]))),
        ("a fraction", scored(0.5)),
        ("a negative score", scored(-1.0)),
        ("more than a whole number", scored(9_007_199_254_740_994.0)),
        ("infinity", scored(f64::INFINITY)),
        ("negative infinity", scored(f64::NEG_INFINITY)),
        ("not a number", scored(f64::NAN)),
        ("a total of nothing", totalled(0.0)),
        ("a total of a part", totalled(-1.5)),
        ("a total that is too much", totalled(-10_001.0)),
        ("a count without a total", vec![(counted("a"), -2.0), good.clone()]),
        ("a total below its members", vec![(Bytes::from_slice(TOTAL), -1.0), (lease("b"), START as f64), good.clone()]),
        ("a total alone", vec![(Bytes::from_slice(TOTAL), -1.0)]),
    ] {
        for now in [0, START, START + 1000] {
            let mut set = Set { members: members.clone(), until: None };
            assert!(Draft::read(&mut set, UnixMs(now)).is_err(), "{what} at {now}");
        }
    }
    let mut longest = Set { members: vec![(member(LEASE, &[b'a'; 255]), 9_007_199_254_740_992.0)], until: None };
    assert_eq!(Draft::read(&mut longest, UnixMs(0)).unwrap().in_use(), 1);
    // A foreign member in the middle is found once a decision reads that far.
    let mut hidden = Set::of(&[("a", 1, 100), ("b", 1, 300)]);
    hidden.members.push((Bytes::from_slice(b"v"), START as f64 + 200.0));
    assert_eq!(hidden.have("c", 3, 1, 10, START), denied(3, Some(100)));
    let two = Claim { owner: b"c", capacity: 3, amount: AtLeast(2), lease: DurationMs(10) };
    assert_eq!(hidden.decide(START, |draft, stored| draft.retry_at(stored, &two)), Err(Corrupt));
    assert!(Draft::read(&mut hidden, UnixMs(START + 200)).is_err());
    let mut count = Set::of(&[("a", 2, 100), ("b", 1, 300)]);
    count.members.iter_mut().filter(|(name, _)| *name == counted("a")).for_each(|(_, score)| *score = -0.5);
    assert_eq!(count.decide(START, |draft, stored| draft.renew(stored, b"a", DurationMs(1))), Err(Corrupt));
    assert!(owners(&mut count, UnixMs(START)).is_err());
}

#[test]
fn an_edited_count_affects_only_its_owner_and_is_removed_with_it() {
    // A count above the total: a release never frees more permits than are in use.
    let mut set = Set::of(&[("a", 2, 100), ("b", 1, 200)]);
    set.members.iter_mut().filter(|(name, _)| *name == counted("a")).for_each(|(_, score)| *score = -9.0);
    assert_eq!(set.release("a", 9, START), Some(0));
    assert_eq!(set.have("c", 3, 2, 10, START), granted(3, 2, 10), "the total is right again");
    // A count without a lease belongs to the next lease of its owner.
    let mut set = Set::of(&[("a", 2, 100), ("b", 1, 200)]);
    set.members.retain(|(name, _)| *name != lease("a"));
    assert_eq!(set.have("a", 9, 1, 50, START), granted(4, 1, 50));
    assert_eq!(set.score(&counted("a")), None);
    let mut set = Set::of(&[("a", 10_000, 100)]);
    set.members.iter_mut().filter(|(name, _)| **name == *TOTAL).for_each(|(_, score)| *score = -5.0);
    let claim = Claim { owner: b"a", capacity: 9, amount: More(1), lease: DurationMs(1) };
    assert_eq!(set.decide(START, |draft, stored| draft.claim(stored, &claim)), Err(Corrupt));
}

#[test]
fn every_owner_is_listed_with_the_end_of_its_lease() {
    let mut set = Set::of(&[("b", 2, 100), ("a", 1, 300), ("c", 5, 10)]);
    let listed: Vec<_> = owners(&mut set, UnixMs(START + 10)).unwrap().into_iter().collect();
    let owner = |name: &str, permits, end| (Name::from_slice(name.as_bytes()), Owner { permits, until: UnixMs(START + end) });
    assert_eq!(listed, [owner("a", 1, 300), owner("b", 2, 100)]);
}
