//! Lock decisions: a table of the rules, then random programs against a model that is naive on purpose.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const START: u64 = 1_700_000_000_000;

/// A lock whose state goes through its stored bytes on every step. Keys do not expire here: the decision alone must be right.
#[derive(Default)]
struct Key {
    value: Option<Vec<u8>>,
    until: Option<UnixMs>,
    last_fence: u64,
}

impl Key {
    fn stored(&self) -> Option<Stored> {
        self.value.as_deref().map(|bytes| Stored::decode(bytes, self.until).unwrap())
    }

    fn apply(&mut self, effect: Effect<Vec<u8>>) {
        match effect {
            Effect::Keep => {}
            Effect::Put { value, expiry: Expiry::At(at) } => (self.value, self.until) = (Some(value), Some(at)),
            Effect::Expire(at) => self.until = Some(at),
            Effect::Delete => (self.value, self.until) = (None, None),
            other => panic!("a lock without a TTL: {other:?}"),
        }
    }

    fn acquire(&mut self, owner: &str, lease: u64, now: u64) -> Acquired {
        let (acquired, effect) =
            acquire(self.stored(), owner.as_bytes(), DurationMs(lease), (self.last_fence + 1).max(now * 1000), UnixMs(now))
                .unwrap();
        self.apply(effect);
        if let Acquired::Granted { fence, .. } = acquired {
            self.last_fence = self.last_fence.max(fence);
        }
        acquired
    }

    fn release(&mut self, owner: &str, how: Release, now: u64) -> Option<u32> {
        let (left, effect) = release(self.stored(), owner.as_bytes(), how, UnixMs(now));
        self.apply(effect);
        left
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> Option<u64> {
        let (ttl, effect) = renew(self.stored(), owner.as_bytes(), DurationMs(lease), UnixMs(now));
        self.apply(effect);
        ttl.map(|ttl| ttl.0)
    }
}

fn fence_of(acquired: Acquired) -> u64 {
    let Acquired::Granted { fence, .. } = acquired else { panic!("not granted: {acquired:?}") };
    fence
}

#[test]
fn a_lock_excludes_until_it_is_released() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    assert_eq!(key.acquire("you", 1000, START + 10), Acquired::Held { ttl: Some(DurationMs(990)) });
    assert_eq!(key.release("you", Release::All, START), None);
    assert_eq!(key.release("me", Release::One, START), Some(0));
    assert_eq!(key.value, None);
    assert!(fence_of(key.acquire("you", 1000, START)) > fence);
}

#[test]
fn re_entry_counts_keeps_the_fence_and_never_shortens_the_lease() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    let again = key.acquire("me", 10, START + 100);
    assert_eq!(again, Acquired::Granted { fence, ttl: DurationMs(900), holds: 2 });
    assert_eq!(key.acquire("me", 5000, START + 100), Acquired::Granted { fence, ttl: DurationMs(5000), holds: 3 });
    assert_eq!(key.release("me", Release::One, START + 100), Some(2));
    assert_eq!(key.release("me", Release::All, START + 100), Some(0));
    assert_eq!(key.release("me", Release::One, START + 100), None);
}

#[test]
fn an_expired_holder_is_not_the_owner_any_more() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    let end = START + 1000;
    assert_eq!(key.renew("me", 1000, end), None);
    assert_eq!(key.release("me", Release::One, end), None);
    let again = key.acquire("me", 1000, end);
    assert!(matches!(again, Acquired::Granted { holds: 1, fence: new, .. } if new > fence), "{again:?}");
}

#[test]
fn renew_sets_the_lease_in_both_directions() {
    let mut key = Key::default();
    key.acquire("me", 1000, START);
    assert_eq!(key.renew("me", 5000, START + 500), Some(5000));
    assert_eq!(key.until, Some(UnixMs(START + 5500)));
    assert_eq!(key.renew("me", 10, START + 500), Some(10));
    assert_eq!(key.until, Some(UnixMs(START + 510)));
    assert_eq!(key.renew("you", 10, START + 500), None);
}

#[test]
fn another_clients_string_lock_is_respected_renewed_and_released_by_its_token() {
    let foreign = |until| Key { value: Some(b"token".to_vec()), until, last_fence: 0 };
    let mut key = foreign(Some(UnixMs(START + 700)));
    assert_eq!(key.acquire("token", 1000, START), Acquired::Held { ttl: Some(DurationMs(700)) });
    assert_eq!(key.renew("other", 1000, START), None);
    assert_eq!(key.renew("token", 1000, START), Some(1000));
    assert_eq!((key.value.as_deref(), key.until), (Some(&b"token"[..]), Some(UnixMs(START + 1000))));
    assert_eq!(key.release("other", Release::All, START), None);
    assert_eq!(key.release("token", Release::One, START), Some(0));
    assert_eq!(key.value, None);
    assert_eq!(foreign(None).acquire("me", 1, START), Acquired::Held { ttl: None });
}

#[test]
fn fences_grow_above_what_the_state_has_seen() {
    let mut old = Key { last_fence: START * 1000 + 5_000_000, ..Key::default() };
    let seen = fence_of(old.acquire("me", 10, START));
    // Another process, whose clock and memory are behind, finds the expired state.
    let mut new = Key { value: old.value, until: old.until, last_fence: 0 };
    assert!(fence_of(new.acquire("you", 10, START + 10)) > seen);
}

#[test]
fn damaged_locks_are_corrupt_and_other_strings_are_foreign() {
    let mut key = Key::default();
    key.acquire("me", 1000, START);
    let value = key.value.unwrap();
    for cut in MAGIC.len()..value.len() {
        assert_eq!(Stored::decode(&value[..cut], None), Err(Corrupt), "cut at {cut}");
    }
    for cut in 0..MAGIC.len() {
        assert!(matches!(Stored::decode(&value[..cut], None), Ok(Stored::Foreign { .. })), "cut at {cut}");
    }
    assert_eq!(Stored::decode(&[&value[..], b"\0"].concat(), None), Err(Corrupt));
    for (at, byte) in [(4, 2), (5, 0xff), (13, 9), (14, 2), (15, 0)] {
        let mut damaged = value.clone();
        damaged[at] = byte;
        assert_eq!(Stored::decode(&damaged, None), Err(Corrupt), "byte {at} is {byte}");
    }
}

#[test]
fn no_fence_beyond_the_highest_is_ever_issued() {
    let lock = |fence| Lock {
        mode: Mode::Exclusive,
        fence,
        holders: vec![Holder { owner: b"x".to_vec(), holds: 1, deadline: UnixMs(1) }],
    };
    let next = |fence| {
        acquire(Some(Stored::Ours(lock(fence))), b"me", DurationMs(1), 1, UnixMs(2)).map(|(acquired, _)| fence_of(acquired))
    };
    assert_eq!(next(MAX_FENCE - 1), Ok(MAX_FENCE));
    assert_eq!(next(MAX_FENCE), Err(Corrupt));
}

#[derive(Debug, Clone)]
enum Step {
    Acquire(usize, u64),
    Release(usize, bool),
    Renew(usize, u64),
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let step = prop_oneof![
        (0..3usize, 1..100u64).prop_map(|(who, lease)| Step::Acquire(who, lease)),
        (0..3usize, any::<bool>()).prop_map(|(who, all)| Step::Release(who, all)),
        (0..3usize, 1..100u64).prop_map(|(who, lease)| Step::Renew(who, lease)),
    ];
    (0..40u64, step)
}

proptest! {
    /// The model: each owner's holds and deadline, looked through from scratch on every step.
    #[test]
    fn a_lock_behaves_like_its_history(steps in prop::collection::vec(step(), 1..80)) {
        let owners = ["a", "b", "c"];
        let mut key = Key::default();
        let mut model = HashMap::<usize, (u32, u64)>::new();
        let (mut now, mut last_fence) = (START, 0);
        for (wait, step) in steps {
            now += wait;
            model.retain(|_, (_, deadline)| *deadline > now);
            prop_assert!(model.len() <= 1, "two owners");
            match step {
                Step::Acquire(who, lease) => {
                    let mine = model.get(&who).copied();
                    let acquired = key.acquire(owners[who], lease, now);
                    if mine.is_some() || model.is_empty() {
                        let (holds, deadline) = mine.unwrap_or((0, 0));
                        let deadline = deadline.max(now + lease);
                        model.insert(who, (holds + 1, deadline));
                        let Acquired::Granted { fence, ttl, holds: counted } = acquired else { panic!("{acquired:?}") };
                        prop_assert_eq!((ttl.0, counted), (deadline - now, holds + 1));
                        let kept_or_grown = if mine.is_some() { fence == last_fence } else { fence > last_fence };
                        prop_assert!(kept_or_grown);
                        last_fence = fence;
                    } else {
                        let ttl = model.values().map(|(_, deadline)| deadline - now).max().unwrap();
                        prop_assert_eq!(acquired, Acquired::Held { ttl: Some(DurationMs(ttl)) });
                    }
                }
                Step::Release(who, all) => {
                    let left = model.get(&who).map(|(holds, _)| if all { 0 } else { holds - 1 });
                    prop_assert_eq!(key.release(owners[who], if all { Release::All } else { Release::One }, now), left);
                    match left {
                        Some(0) => drop(model.remove(&who)),
                        Some(left) => model.get_mut(&who).unwrap().0 = left,
                        None => {}
                    }
                }
                Step::Renew(who, lease) => {
                    let owned = model.get_mut(&who).map(|(_, deadline)| *deadline = now + lease);
                    prop_assert_eq!(key.renew(owners[who], lease, now), owned.map(|()| lease));
                }
            }
        }
    }

    #[test]
    fn decode_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Stored::decode(&bytes, None);
        let _ = Stored::decode(&[MAGIC, &bytes].concat(), None);
    }

    #[test]
    fn decode_encode_is_identity(fence in 0..=MAX_FENCE, shared in any::<bool>(), holders in prop::collection::vec(
        (prop::collection::vec(any::<u8>(), 1..=255), 1..=u32::MAX, 0..1u64 << 48), 1..5)) {
        let holders: Vec<_> = holders.into_iter()
            .map(|(owner, holds, deadline)| Holder { owner, holds, deadline: UnixMs(deadline) })
            .take(if shared { 5 } else { 1 }).collect();
        let lock = Lock { mode: if shared { Mode::Shared } else { Mode::Exclusive }, fence, holders };
        prop_assert_eq!(Stored::decode(&lock.encode(), None), Ok(Stored::Ours(lock)));
    }
}
