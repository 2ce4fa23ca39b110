//! Random programs against a naive model, and any bytes as a stored lock.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

proptest! {
    /// Many readers, with names of a few lengths, acquire, renew and release. The lock matches a list of them, and no writer gets in.
    #[test]
    fn many_readers_match_a_list(steps in prop::collection::vec((0..60usize, 0..4u8, 1..3_000u64, 0..20u64), 1..300)) {
        let name = |reader: usize| format!("{reader:0width$}", width = 2 + reader % 3);
        let mut key = Key::default();
        let mut model = HashMap::<usize, u64>::new();
        let mut now = START;
        for reader in 0..40 {
            fence_of(key.read(&name(reader), 2_000, now));
            model.insert(reader, now + 2_000);
        }
        for (reader, what, lease, wait) in steps {
            now += wait;
            model.retain(|_, end| *end > now);
            let held = model.get(&reader).copied();
            match what {
                0 | 1 => {
                    fence_of(key.read(&name(reader), lease, now));
                    model.insert(reader, held.unwrap_or(0).max(now + lease));
                }
                2 => {
                    prop_assert_eq!(key.renew(&name(reader), lease, now), held.map(|_| lease));
                    held.map(|_| model.insert(reader, now + lease));
                }
                _ => {
                    prop_assert_eq!(key.release(&name(reader), Release::All, now), held.map(|_| 0));
                    model.remove(&reader);
                }
            }
            let Some(Stored::Ours(mut lock)) = key.stored() else {
                prop_assert!(model.is_empty());
                continue;
            };
            prop_assert!(lock.holders.len() < 2 * LARGE + 2 * lock.taken().count(), "{} places", lock.holders.len());
            prop_assert_eq!(lock.retain_valid(UnixMs(now)), !lock.holders.is_empty());
            let of = |holder: &Holder| std::str::from_utf8(&holder.owner).unwrap().parse().unwrap();
            let readers: HashMap<usize, u64> = lock.holders.iter().map(|holder| (of(holder), holder.deadline.0)).collect();
            prop_assert_eq!(&readers, &model);
            prop_assert_eq!(key.until.map(|until| until.0), model.values().copied().max().or(key.until.map(|until| until.0)));
            let expected = if model.is_empty() { None } else { Some(Claimed::Held) };
            let asked = key.decide(now, |draft| draft.free_at(Mode::Exclusive)).map(|_| Claimed::Held);
            prop_assert_eq!(asked, expected);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Claim(usize, Mode, Again, u64),
    Release(usize, bool),
    Renew(usize, u64),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let mode = prop_oneof![Just(Mode::Exclusive), Just(Mode::Shared)];
    let again = prop_oneof![2 => Just(Again::Keep), 1 => Just(Again::Count), 1 => Just(Again::Renumber)];
    let step = prop_oneof![
        3 => (0..3usize, mode, again, 1..100u64).prop_map(|(client, mode, again, lease)| Step::Claim(client, mode, again, lease)),
        1 => (0..3usize, any::<bool>()).prop_map(|(client, all)| Step::Release(client, all)),
        1 => (0..3usize, 1..100u64).prop_map(|(client, lease)| Step::Renew(client, lease)),
    ];
    (0..40u64, step)
}

#[derive(Clone, Copy)]
struct Owned {
    mode: Mode,
    holds: u32,
    deadline: u64,
    fence: u64,
}

proptest! {
    /// The model: each owner's holds, deadline and fence, in a plain map.
    #[test]
    fn a_lock_matches_the_naive_model(steps in prop::collection::vec(step(), 1..80)) {
        let owners = ["a", "b", "c"];
        let mut key = Key::default();
        let mut model = HashMap::<usize, Owned>::new();
        let (mut now, mut last_fence) = (START, 0);
        for (wait, step) in steps {
            now += wait;
            model.retain(|_, owned| owned.deadline > now);
            prop_assert!(model.len() <= 1 || model.values().all(|owned| owned.mode == Mode::Shared), "a writer beside others");
            match step {
                Step::Claim(client, mode, again, lease) => {
                    let (before, stored) = (model.get(&client).copied(), key.value.clone());
                    let claimed = key.claim(owners[client], mode, again, lease, now);
                    let others = model.iter().filter(|(owner, _)| **owner != client);
                    let last = others.map(|(_, owned)| owned.deadline).max();
                    let upgrades = before.is_some_and(|mine| mine.mode == Mode::Shared) && mode == Mode::Exclusive;
                    let expected = match (before, last) {
                        (Some(_), Some(until)) if upgrades => Claimed::HeldTogether { until: UnixMs(until) },
                        (None, Some(_)) if model.values().any(|owned| owned.mode == Mode::Exclusive || mode == Mode::Exclusive) => Claimed::Held,
                        _ => {
                            let fence = fence_of(claimed);
                            let is_new = before.is_none() || upgrades || again == Again::Renumber;
                            let right = if is_new { fence > last_fence } else { before.is_some_and(|mine| mine.fence == fence) };
                            prop_assert!(right, "fence {} after {}, new: {}", fence, last_fence, is_new);
                            last_fence = last_fence.max(fence);
                            let added = u32::from(before.is_none() || again == Again::Count);
                            let mine = Owned {
                                mode: if upgrades { Mode::Exclusive } else { before.map_or(mode, |mine| mine.mode) },
                                holds: before.map_or(0, |mine| mine.holds) + added,
                                deadline: before.map_or(0, |mine| mine.deadline).max(now + lease),
                                fence,
                            };
                            model.insert(client, mine);
                            let same = before.is_some_and(|old| (old.holds, old.deadline, is_new) == (mine.holds, mine.deadline, false));
                            prop_assert_eq!(same, key.value == stored, "a write without a change, or none with one");
                            granted(fence, mine.deadline - now, mine.holds, added)
                        }
                    };
                    prop_assert_eq!(claimed, expected);
                }
                Step::Release(client, all) => {
                    let left = model.get(&client).map(|owned| if all { 0 } else { owned.holds - 1 });
                    prop_assert_eq!(key.release(owners[client], if all { Release::All } else { Release::One }, now), left);
                    match left {
                        Some(0) => drop(model.remove(&client)),
                        Some(left) => model.get_mut(&client).unwrap().holds = left,
                        None => {}
                    }
                }
                Step::Renew(client, lease) => {
                    let owned = model.get_mut(&client).map(|owned| owned.deadline = now + lease);
                    prop_assert_eq!(key.renew(owners[client], lease, now), owned.map(|()| lease));
                }
            }
            prop_assert_eq!(key.ttl(now), Some(model.values().map(|owned| owned.deadline.saturating_sub(now)).max().unwrap_or(0)));
        }
    }

    #[test]
    fn decode_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Stored::decode(&bytes, || None);
        let _ = Stored::decode(&[MAGIC, &bytes].concat(), || None);
    }

    #[test]
    fn decode_encode_is_identity(fence in 0..=MAX_FENCE, shared in any::<bool>(), holders in prop::collection::vec(
        (prop::collection::vec(any::<u8>(), 1..=255), any::<u32>(), 0..1u64 << 48), 1..5)) {
        let holders: Vec<Holder> = holders.into_iter()
            .map(|(owner, holds, deadline)| Holder { owner: Name::from_vec(owner), holds, deadline: UnixMs(deadline), fence: fence / 2 })
            .take(if shared { 5 } else { 1 }).collect();
        let held = holders.iter().any(|holder| holder.holds > 0) && (shared || holders.len() == 1);
        let holders = smallvec::SmallVec::from_vec(holders);
        let lock = Lock { mode: if shared { Mode::Shared } else { Mode::Exclusive }, fence, holders };
        let decoded = Stored::decode(&lock.encode(), || None);
        prop_assert_eq!(decoded, if held { Ok(Stored::Ours(lock)) } else { Err(Corrupt) });
    }
}
