//! Random programs against a naive model, and any sorted set as a semaphore.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Claim { client: usize, capacity: u64, amount: Amount, lease: u64 },
    Release { client: usize, permits: u64 },
    Renew { client: usize, lease: u64 },
}

fn step() -> impl Strategy<Value = (i64, Step)> {
    let amount = (any::<bool>(), 1..5u64).prop_map(|(adds, permits)| if adds { More(permits) } else { AtLeast(permits) });
    let step = prop_oneof![
        3 => (0..3usize, 1..8u64, amount, 1..60u64)
            .prop_map(|(client, capacity, amount, lease)| Step::Claim { client, capacity, amount, lease }),
        1 => (0..3usize, 1..5u64).prop_map(|(client, permits)| Step::Release { client, permits }),
        1 => (0..3usize, 1..60u64).prop_map(|(client, lease)| Step::Renew { client, lease }),
    ];
    (-15..30i64, step)
}

/// A list of all permits, each with its owner and its end. The next change removes ended permits.
#[derive(Default)]
struct Model(Vec<(String, u64)>);

impl Model {
    fn live(&self, now: u64) -> Vec<(String, u64)> {
        self.0.iter().filter(|(_, end)| *end > now).cloned().collect()
    }

    fn claim(&mut self, owner: &str, capacity: u64, amount: Amount, lease: u64, now: u64) -> Acquired {
        let mut live = self.live(now);
        let in_use = live.len() as u64;
        let at = |at: u64| live.iter().filter(move |(_, end)| *end > at);
        let lacks = |when: u64| match amount {
            More(permits) => permits,
            AtLeast(permits) => permits.saturating_sub(at(when).filter(|(name, _)| name == owner).count() as u64),
        };
        let fits = |when: &u64| lacks(*when) == 0 || at(*when).count() as u64 + lacks(*when) <= capacity;
        if !fits(&now) {
            let mut ends: Vec<_> = live.iter().map(|(_, end)| *end).collect();
            ends.sort_unstable();
            return denied(in_use, ends.into_iter().find(fits).map(|at| at - now));
        }
        let added = lacks(now);
        live.extend((0..added).map(|_| (owner.to_owned(), now + lease)));
        let until = live.iter().filter(|(name, _)| name == owner).map(|(_, end)| (*end).max(now + lease)).max().unwrap();
        live.iter_mut().filter(|(name, _)| name == owner).for_each(|(_, end)| *end = until);
        // Only a change removes ended permits.
        if live.iter().any(|permit| !self.0.contains(permit)) || added > 0 {
            self.0 = live;
        }
        Acquired::Granted { in_use: in_use + added, added, until: UnixMs(until) }
    }

    /// Removes up to `permits` of the owner's and returns how many are left; `None` if it had none.
    fn release(&mut self, owner: &str, permits: u64, now: u64) -> Option<u64> {
        let mut live = self.live(now);
        let owned = live.iter().filter(|(name, _)| name == owner).count() as u64;
        let mut taken = 0;
        live.retain(|(name, _)| {
            let goes = name == owner && taken < permits;
            taken += u64::from(goes);
            !goes
        });
        if owned > 0 {
            self.0 = live;
        }
        (owned > 0).then_some(owned - taken)
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> bool {
        let mut live = self.live(now);
        let owned = live.iter_mut().filter(|(name, _)| name == owner).map(|(_, end)| *end = now + lease).count();
        if owned > 0 {
            self.0 = live;
        }
        owned > 0
    }

    fn owned(&self) -> Vec<(String, u64, u64)> {
        let mut owned = BTreeMap::new();
        self.0.iter().for_each(|(owner, end)| {
            let entry = owned.entry(owner.clone()).or_insert((0, *end));
            entry.0 += 1;
            assert_eq!(entry.1, *end);
        });
        owned.into_iter().map(|(owner, (permits, end))| (owner, permits, end)).collect()
    }
}

proptest! {
    #[test]
    fn a_semaphore_matches_a_list_of_permits(steps in prop::collection::vec(step(), 1..80)) {
        let owners = ["a", "b", "c"];
        let (mut set, mut model, mut now) = (Set::default(), Model::default(), START);
        for (wait, step) in steps {
            now = now.checked_add_signed(wait).unwrap();
            match step {
                Step::Claim { client, capacity, amount, lease } => {
                    let mut later = set.clone();
                    let acquired = set.claim(owners[client], capacity, amount, lease, now);
                    prop_assert_eq!(acquired, model.claim(owners[client], capacity, amount, lease, now));
                    if let Acquired::Denied { retry_after: Some(wait), .. } = acquired {
                        let at = now + wait.0;
                        let early = later.claim(owners[client], capacity, amount, lease, at - 1);
                        prop_assert!(matches!(early, Acquired::Denied { .. }), "it fits before {at}");
                        let due = later.claim(owners[client], capacity, amount, lease, at);
                        prop_assert!(matches!(due, Acquired::Granted { .. }), "it does not fit at {at}");
                    }
                }
                Step::Release { client, permits } => {
                    prop_assert_eq!(set.release(owners[client], permits, now), model.release(owners[client], permits, now));
                }
                Step::Renew { client, lease } => {
                    let renewed = model.renew(owners[client], lease, now);
                    prop_assert_eq!(set.renew(owners[client], lease, now), renewed.then_some(DurationMs(lease)));
                }
            }
            prop_assert_eq!(set.owned(), model.owned());
            prop_assert_eq!(set.until.map(|until| until.0), model.0.iter().map(|(_, end)| *end).max());
        }
    }

    #[test]
    fn any_sorted_set_is_refused_or_decided_on_safely(
        members in prop::collection::vec((0..4usize, 0..3usize, prop_oneof![-5..40i64, Just(-3)], prop::bool::weighted(0.02)), 0..12),
        claimed in 1..4u64, adds in any::<bool>(), released in 1..4u64, now in 0..40u64,
    ) {
        let mut set = Set::default();
        for (what, client, score, odd) in members {
            let owner = ["a", "b", "c"][client];
            let (member, score) = match what {
                0 | 1 => (lease(owner), score),
                2 => (counted(owner), -score.abs()),
                _ => (Bytes::from_slice(TOTAL), -score.abs()),
            };
            if set.score(&member).is_none() {
                set.members.push((member, if odd { score as f64 + 0.5 } else { score as f64 }));
            }
        }
        let amount = if adds { More(claimed) } else { AtLeast(claimed) };
        let claim = Claim { owner: b"a", capacity: 100, amount, lease: DurationMs(100) };
        let mut draft = match Draft::read(&mut set, UnixMs(now)) { Ok(draft) => draft, Err(Corrupt) => return Ok(()) };
        let _ = owners(&mut set, UnixMs(now));
        if draft.claim(&mut set, &claim).is_err() || draft.release(&set, b"b", released).is_err() {
            return Ok(());
        }
        prop_assert!(draft.in_use() <= 100);
        let Ok(Effect::Members { set: written, removed, until }) = draft.effect(&mut set) else { return Ok(()) };
        for (member, score) in written {
            set.members.retain(|(known, _)| *known != member);
            set.members.push((member, score as f64));
        }
        set.members.retain(|(known, _)| !removed.contains(known));
        let leases: Vec<_> = set.members.iter().filter(|(_, score)| *score >= 0.0).map(|(_, end)| *end).collect();
        prop_assert!(leases.iter().all(|end| *end > now as f64), "an ended lease is still stored");
        let last = leases.into_iter().fold(0.0, f64::max);
        prop_assert!(until.is_some_and(|until| until.0 as f64 >= last), "the key expires before its permits");
    }

    #[test]
    fn decode_of_any_member_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), score: f64) {
        let _ = decode((Bytes::from_slice(&bytes), score));
        let _ = decode((Bytes::from_vec([MAGIC, &bytes].concat()), score));
        let _ = permits_of(score);
    }

    #[test]
    fn decode_encode_is_identity(owner in prop::collection::vec(any::<u8>(), 1..=255), end in 0..=MAX_DEADLINE) {
        prop_assert_eq!(decode((member(LEASE, &owner), end as f64)), Ok((Name::from_vec(owner), UnixMs(end))));
    }
}
