//! Lock decisions: a table of the rules. Random programs are in [`random`].
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::primitives::effect::{Expiry, Part};
use crate::primitives::time::DurationMs;
use smallvec::smallvec;

mod random;

const START: u64 = 1_700_000_000_000;

/// A lock that is decoded and encoded on every step. Keys do not expire here: the decision alone must be right.
#[derive(Default)]
struct Key {
    value: Option<Vec<u8>>,
    until: Option<UnixMs>,
    last_fence: u64,
}

impl Key {
    fn stored(&self) -> Option<Stored> {
        self.value.as_deref().map(|bytes| Stored::decode(bytes, || self.until).unwrap())
    }

    fn apply(&mut self, effect: Effect<Bytes>) {
        match effect {
            Effect::Keep => {}
            Effect::Put { value, expiry: Expiry::At(at) } => (self.value, self.until) = (Some(value.into_vec()), Some(at)),
            Effect::Patch { parts, until } => {
                let value = self.value.as_mut().unwrap();
                for Part { offset, bytes } in parts {
                    assert!(offset <= value.len(), "a hole");
                    value.resize(value.len().max(offset + bytes.len()), 0);
                    value[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
                self.until = Some(until);
            }
            Effect::Expire(at) => self.until = Some(at),
            Effect::Delete => (self.value, self.until) = (None, None),
            other => panic!("a lock without a TTL: {other:?}"),
        }
    }

    fn decide<R>(&mut self, now: u64, decide: impl FnOnce(&mut Draft) -> R) -> R {
        let mut draft = Draft::new(self.stored(), UnixMs(now));
        let outcome = decide(&mut draft);
        self.apply(draft.effect());
        outcome
    }

    fn claim(&mut self, owner: &str, mode: Mode, again: Again, lease: u64, now: u64) -> Claimed {
        let claim = Claim { owner: owner.as_bytes(), mode, lease: DurationMs(lease), again };
        let fence = (self.last_fence + 1).max(now * 1000);
        let until = self.until;
        let claimed = self.decide(now, |draft| draft.claim(claim, fence, || until).unwrap());
        if let Claimed::Granted { fence, .. } = claimed {
            self.last_fence = self.last_fence.max(fence);
        }
        claimed
    }

    fn acquire(&mut self, owner: &str, lease: u64, now: u64) -> Claimed {
        self.claim(owner, Mode::Exclusive, Again::Keep, lease, now)
    }

    fn read(&mut self, owner: &str, lease: u64, now: u64) -> Claimed {
        self.claim(owner, Mode::Shared, Again::Keep, lease, now)
    }

    /// Acquires it once more.
    fn enter(&mut self, owner: &str, lease: u64, now: u64) -> Claimed {
        self.claim(owner, Mode::Exclusive, Again::Count, lease, now)
    }

    /// The change that an exclusive claim makes. The change is not applied.
    fn change(&self, owner: &str, again: Again, lease: u64, now: u64) -> Effect<Bytes> {
        let claim = Claim { owner: owner.as_bytes(), mode: Mode::Exclusive, lease: DurationMs(lease), again };
        let mut draft = Draft::new(self.stored(), UnixMs(now));
        fence_of(draft.claim(claim, 1, || self.until).unwrap());
        draft.effect()
    }

    fn ttl(&mut self, now: u64) -> Option<u64> {
        self.decide(now, |draft| draft.ttl()).map(|ttl| ttl.0)
    }

    fn release(&mut self, owner: &str, how: Release, now: u64) -> Option<u32> {
        self.decide(now, |draft| draft.release(owner.as_bytes(), how))
    }

    fn renew(&mut self, owner: &str, lease: u64, now: u64) -> Option<u64> {
        self.decide(now, |draft| draft.renew(owner.as_bytes(), DurationMs(lease))).map(|ttl| ttl.0)
    }
}

fn fence_of(acquired: Claimed) -> u64 {
    let Claimed::Granted { fence, .. } = acquired else { panic!("not granted: {acquired:?}") };
    fence
}

#[test]
fn a_lock_excludes_until_it_is_released() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    assert_eq!(key.acquire("you", 1000, START + 10), Claimed::Held);
    assert_eq!(key.read("you", 1000, START + 10), Claimed::Held);
    assert_eq!(key.ttl(START + 10), Some(990));
    assert_eq!(key.release("you", Release::All, START), None);
    assert_eq!(key.release("me", Release::One, START), Some(0));
    assert_eq!(key.value, None);
    assert!(fence_of(key.acquire("you", 1000, START)) > fence);
}

fn granted(fence: u64, ttl: u64, holds: u32, added: u32) -> Claimed {
    Claimed::Granted { fence, ttl: DurationMs(ttl), holds, added }
}

#[test]
fn a_request_that_is_sent_again_keeps_hold_and_fence_and_never_shortens_the_lease() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    assert_eq!(key.acquire("me", 1000, START), granted(fence, 1000, 1, 0));
    assert_eq!(key.acquire("me", 10, START + 100), granted(fence, 900, 1, 0));
    assert_eq!(key.acquire("me", 5000, START + 100), granted(fence, 5000, 1, 0));
    assert_eq!(key.read("me", 1, START + 100), granted(fence, 5000, 1, 0), "it stays exclusive");
    assert_eq!(key.read("you", 1, START + 100), Claimed::Held);
    assert_eq!(key.release("me", Release::One, START + 100), Some(0), "one release is enough");
}

#[test]
fn a_request_that_changes_nothing_writes_nothing() {
    let mut key = Key::default();
    key.acquire("me", 1000, START);
    for lease in [1, 1000] {
        assert_eq!(key.change("me", Again::Keep, lease, START), Effect::Keep);
    }
    assert_eq!(key.change("me", Again::Keep, 900, START + 100), Effect::Keep);
    for (again, lease) in [(Again::Keep, 1001), (Again::Count, 1), (Again::Renumber, 1)] {
        assert!(matches!(key.change("me", again, lease, START), Effect::Put { .. }), "{again:?}");
    }
    // Another client has changed the TTL, and the reply must be true.
    for until in [None, Some(UnixMs(START + 10)), Some(UnixMs(START + 9000))] {
        key.until = until;
        let Effect::Put { expiry, .. } = key.change("me", Again::Keep, 1, START) else { panic!("{until:?} stays") };
        assert_eq!(expiry, Expiry::At(UnixMs(START + 1000)));
    }
}

#[test]
fn a_reentrant_request_counts_keeps_the_fence_and_never_shortens_the_lease() {
    let mut key = Key::default();
    let fence = fence_of(key.enter("me", 1000, START));
    assert_eq!(key.enter("me", 10, START + 100), granted(fence, 900, 2, 1));
    assert_eq!(key.enter("me", 5000, START + 100), granted(fence, 5000, 3, 1));
    assert_eq!(key.acquire("me", 10, START + 100), granted(fence, 5000, 3, 0), "the holds that it has");
    assert_eq!(key.release("me", Release::One, START + 100), Some(2));
    assert_eq!(key.release("me", Release::All, START + 100), Some(0));
    assert_eq!(key.release("me", Release::One, START + 100), None);
    let most = Holder { owner: Name::from_slice(b"me"), holds: u32::MAX, deadline: UnixMs(START + 1000), fence };
    let lock = Lock { mode: Mode::Exclusive, fence, holders: smallvec![most] };
    let mut key = Key { value: Some(lock.encode().into_vec()), until: Some(UnixMs(START + 1000)), last_fence: fence };
    assert_eq!(key.enter("me", 1, START), granted(fence, 1000, u32::MAX, 0));
}

#[test]
fn a_new_fence_for_a_held_lock_keeps_its_holds() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    key.enter("me", 1000, START);
    assert_eq!(key.claim("me", Mode::Exclusive, Again::Renumber, 10, START), granted(fence + 1, 1000, 2, 0));
    assert_eq!(key.decide(START, |draft| draft.exclusive_fence(b"me")), Some(fence + 1));
    assert_eq!(key.decide(START, |draft| draft.next_fence(1)), fence + 2);
    assert_eq!(key.release("me", Release::All, START), Some(0));
    assert_eq!(key.claim("me", Mode::Exclusive, Again::Renumber, 10, START), granted(key.last_fence, 10, 1, 1), "a free lock");
}

#[test]
fn an_expired_holder_is_no_longer_the_owner() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    let end = START + 1000;
    assert_eq!(key.renew("me", 1000, end), None);
    assert_eq!(key.release("me", Release::One, end), None);
    let again = key.acquire("me", 1000, end);
    assert!(matches!(again, Claimed::Granted { holds: 1, fence: new, .. } if new > fence), "{again:?}");
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
fn a_foreign_lock_is_respected_and_its_token_renews_and_releases_it() {
    let foreign = |until| Key { value: Some(b"token".to_vec()), until, last_fence: 0 };
    let mut key = foreign(Some(UnixMs(START + 700)));
    assert_eq!(key.acquire("token", 1000, START), Claimed::Held);
    assert_eq!(key.ttl(START), Some(700));
    assert_eq!(key.renew("other", 1000, START), None);
    assert_eq!(key.renew("token", 1000, START), Some(1000));
    assert_eq!((key.value.as_deref(), key.until), (Some(&b"token"[..]), Some(UnixMs(START + 1000))));
    assert_eq!(key.release("other", Release::All, START), None);
    assert_eq!(key.release("token", Release::One, START), Some(0));
    assert_eq!(key.value, None);
    assert_eq!(foreign(None).acquire("me", 1, START), Claimed::Held);
    assert_eq!(foreign(None).ttl(START), None);
}

#[test]
fn a_new_fence_is_above_the_stored_one() {
    let mut old = Key { last_fence: START * 1000 + 5_000_000, ..Key::default() };
    let seen = fence_of(old.acquire("me", 10, START));
    // Another process, whose clock and last fence are behind, finds the expired lock.
    let mut new = Key { value: old.value, until: old.until, last_fence: 0 };
    assert!(fence_of(new.acquire("you", 10, START + 10)) > seen);
}

#[test]
fn damaged_locks_are_corrupt_and_other_strings_are_foreign() {
    let mut key = Key::default();
    key.acquire("me", 1000, START);
    let value = key.value.unwrap();
    for cut in MAGIC.len()..value.len() {
        assert_eq!(Stored::decode(&value[..cut], || None), Err(Corrupt), "cut at {cut}");
    }
    for cut in 0..MAGIC.len() {
        assert!(matches!(Stored::decode(&value[..cut], || None), Ok(Stored::Foreign { .. })), "cut at {cut}");
    }
    assert_eq!(Stored::decode(&[&value[..], b"\0"].concat(), || None), Err(Corrupt));
    for (at, byte) in [(4, 2), (5, 0xff), (13, 9), (14, 2), (15, 0)] {
        let mut damaged = value.clone();
        damaged[at] = byte;
        assert_eq!(Stored::decode(&damaged, || None), Err(Corrupt), "byte {at} is {byte}");
    }
}

#[test]
fn no_fence_above_the_highest_is_issued() {
    let ended = |fence| Lock {
        mode: Mode::Exclusive,
        fence,
        holders: smallvec![Holder { owner: Name::from_slice(b"x"), holds: 1, deadline: UnixMs(1), fence }],
    };
    let claim = Claim { owner: b"me", mode: Mode::Exclusive, lease: DurationMs(1), again: Again::Keep };
    let next = |fence| Draft::new(Some(Stored::Ours(ended(fence))), UnixMs(2)).claim(claim, 1, || None).map(fence_of);
    assert_eq!(next(MAX_FENCE - 1), Ok(MAX_FENCE));
    assert_eq!(next(MAX_FENCE), Err(Corrupt));
}

#[test]
fn readers_share_a_lock_and_a_writer_excludes_all_others() {
    let mut key = Key::default();
    let first = fence_of(key.read("a", 1000, START));
    let second = fence_of(key.read("b", 3000, START));
    assert!(second > first, "each reader has a fence of its own");
    assert_eq!(key.acquire("w", 1000, START), Claimed::Held);
    assert_eq!(key.ttl(START), Some(3000));
    assert_eq!(key.until, Some(UnixMs(START + 3000)));
    assert_eq!(key.read("a", 1, START), granted(first, 1000, 1, 0));
    assert_eq!(key.claim("a", Mode::Shared, Again::Count, 1, START), granted(first, 1000, 2, 1));
    assert_eq!(key.release("b", Release::One, START), Some(0));
    assert_eq!(key.acquire("w", 1000, START + 999), Claimed::Held);
    assert!(fence_of(key.acquire("w", 1000, START + 1000)) > second);
    assert_eq!(key.read("w", 1, START + 1000), granted(key.last_fence, 1000, 1, 0));
    assert_eq!(key.read("a", 1, START + 1000), Claimed::Held, "the writer that reads is still alone");
}

#[test]
fn the_only_reader_becomes_the_writer_with_a_new_fence() {
    for (again, holds, added) in [(Again::Keep, 1, 0), (Again::Count, 2, 1), (Again::Renumber, 1, 0)] {
        let mut key = Key::default();
        let first = fence_of(key.read("a", 1000, START));
        assert_eq!(key.decide(START, |draft| draft.exclusive_fence(b"a")), None);
        let upgraded = key.claim("a", Mode::Exclusive, again, 10, START);
        assert_eq!(upgraded, granted(first + 1, 1000, holds, added), "{again:?}");
        assert_eq!(key.read("b", 1, START), Claimed::Held);
        assert_eq!(key.acquire("a", 10, START), granted(first + 1, 1000, holds, 0), "{again:?}: sent again");
        // The hold that it had as a reader is not part of what the upgrade added.
        key.decide(START, |draft| draft.take_back(b"a", first + 1, added));
        assert_eq!(key.release("a", Release::One, START), Some(0));
    }
}

#[test]
fn a_reader_beside_others_is_not_upgraded_until_they_are_gone() {
    let mut key = Key::default();
    key.read("a", 5000, START);
    key.read("b", 1000, START);
    key.read("c", 2000, START);
    let before = key.value.clone();
    let denied = |end| Claimed::HeldTogether { until: UnixMs(START + end) };
    assert_eq!(key.acquire("a", 1000, START), denied(2000), "the owner's own lease is not in the way");
    assert_eq!(key.acquire("b", 1000, START), denied(5000));
    assert_eq!(key.value, before);
    key.release("c", Release::All, START);
    assert_eq!(key.acquire("a", 1000, START + 999), denied(1000));
    assert!(matches!(key.acquire("a", 1000, START + 1000), Claimed::Granted { holds: 1, .. }), "the others have ended");
    // A lock that had many readers has one place after the upgrade.
    let mut key = Key::default();
    for reader in 0..2 * LARGE {
        fence_of(key.read(&format!("r{reader:02}"), 1000 + reader as u64, START));
    }
    let end = START + 1000 + 2 * LARGE as u64 - 2;
    let last = format!("r{}", 2 * LARGE - 1);
    assert!(matches!(key.acquire(&last, 1, end - 1), Claimed::HeldTogether { .. }));
    fence_of(key.acquire(&last, 1, end));
    let Some(Stored::Ours(lock)) = key.stored() else { panic!("no lock") };
    assert_eq!((lock.mode, lock.holders.len(), lock.fence), (Mode::Exclusive, 1, key.last_fence));
}

#[test]
fn an_upgrade_and_a_new_fence_stop_at_the_highest_fence() {
    for (mode, again) in [(Mode::Shared, Again::Keep), (Mode::Exclusive, Again::Renumber)] {
        let me = Holder { owner: Name::from_slice(b"me"), holds: 1, deadline: UnixMs(START + 1000), fence: 5 };
        let draft = |fence| {
            let lock = Lock { mode, fence, holders: smallvec![me.clone()] };
            Draft::new(Some(Stored::Ours(lock)), UnixMs(START))
        };
        let expires = Some(UnixMs(START + 1000));
        let claim = Claim { owner: b"me", mode: Mode::Exclusive, lease: DurationMs(1), again };
        assert_eq!(draft(MAX_FENCE - 1).claim(claim, 1, || expires).map(fence_of), Ok(MAX_FENCE));
        let mut full = draft(MAX_FENCE);
        assert_eq!(full.claim(claim, 1, || expires), Err(Corrupt));
        assert_eq!(full.effect(), Effect::Keep);
    }
}

#[test]
fn readers_are_bounded_and_the_first_lease_to_end_makes_room() {
    let mut key = Key::default();
    for reader in 0..MAX_HOLDERS {
        fence_of(key.read(&format!("r{reader}"), 1000 + reader as u64, START));
    }
    assert_eq!(key.read("late", 1, START), Claimed::Held);
    let free_at = |key: &mut Key, mode| key.decide(START, |draft| draft.free_at(mode));
    assert_eq!(free_at(&mut key, Mode::Shared), Some(UnixMs(START + 1000)));
    assert_eq!(free_at(&mut key, Mode::Exclusive), Some(UnixMs(START + 1000 + 1023)));
    fence_of(key.read("late", 1, START + 1000));
}

/// The size of a decision's write: bytes, and commands for the replicas.
fn written(key: &mut Key, now: u64, decide: impl FnOnce(&mut Draft)) -> (usize, usize) {
    let mut draft = Draft::new(key.stored(), UnixMs(now));
    decide(&mut draft);
    let effect = draft.effect();
    let size = match &effect {
        Effect::Put { value, .. } => (value.len(), 1),
        Effect::Patch { parts, .. } => (parts.iter().map(|part| part.bytes.len()).sum(), parts.len() + 1),
        other => panic!("{other:?}"),
    };
    key.apply(effect);
    size
}

#[test]
fn the_write_for_one_reader_does_not_grow_with_the_readers() {
    let name = |reader: usize| format!("{reader:0254}").into_bytes();
    let mut key = Key::default();
    for reader in 0..MAX_HOLDERS {
        fence_of(key.read(std::str::from_utf8(&name(reader)).unwrap(), 1_000_000, START));
    }
    let claim = |owner: &[u8]| {
        let owner = owner.to_vec();
        move |draft: &mut Draft| {
            let claim = Claim { owner: &owner, mode: Mode::Shared, lease: DurationMs(2_000_000), again: Again::Count };
            fence_of(draft.claim(claim, 1, || None).unwrap());
        }
    };
    for _ in 0..3 {
        let renewed = written(&mut key, START, |draft| assert!(draft.renew(&name(500), DurationMs(3_000_000)).is_some()));
        let entered = written(&mut key, START, claim(&name(7)));
        let left = written(&mut key, START, |draft| assert_eq!(draft.release(&name(500), Release::All), Some(0)));
        let joined = written(&mut key, START, claim(&name(500)));
        for (what, (bytes, commands)) in [("renewed", renewed), ("entered", entered), ("left", left), ("joined", joined)] {
            assert!(bytes <= 500 && commands <= 5, "{what}: {bytes} bytes in {commands} commands");
        }
    }
    assert_eq!(key.value.as_ref().map(Vec::len), Some(15 + MAX_HOLDERS * (1 + 254 + 18)), "the place was reused");
    // A reader that releases leaves a free place. Once most places are free, the lock is written without them.
    for reader in 0..=MAX_HOLDERS / 2 {
        written(&mut key, START, |draft| assert!(draft.release(&name(reader), Release::All).is_some()));
    }
    let Some(Stored::Ours(lock)) = key.stored() else { panic!("no lock") };
    assert_eq!((lock.taken().count(), lock.holders.len()), (MAX_HOLDERS / 2 - 1, MAX_HOLDERS / 2 - 1));
    // The leases of all others end: the lock is small again and written whole.
    written(&mut key, START, |draft| assert!(draft.renew(&name(MAX_HOLDERS - 1), DurationMs(9_000_000)).is_some()));
    assert_eq!(written(&mut key, START + 5_000_000, claim(b"late")), (15 + 273 + 23, 1));
    assert_eq!(key.until, Some(UnixMs(START + 9_000_000)));
}

#[test]
fn take_back_affects_only_the_ownership_that_was_granted() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    key.enter("me", 1000, START);
    let take_back = |key: &mut Key, fence| key.decide(START, |draft| draft.take_back(b"me", fence, 1));
    take_back(&mut key, fence - 1);
    key.decide(START, |draft| draft.take_back(b"me", fence, 0));
    take_back(&mut key, fence);
    assert_eq!(key.release("me", Release::One, START), Some(0), "one of two holds was taken back");
    key.acquire("me", 1000, START);
    take_back(&mut key, fence);
    assert_eq!(key.release("me", Release::One, START), Some(0), "the old fence takes nothing from the new ownership");
}

#[test]
fn a_release_and_the_next_claim_are_one_write() {
    let mut key = Key::default();
    let fence = fence_of(key.acquire("me", 1000, START));
    let claim = Claim { owner: b"you", mode: Mode::Exclusive, lease: DurationMs(10), again: Again::Keep };
    let next = key.decide(START, |draft| {
        draft.release(b"me", Release::One);
        draft.claim(claim, 1, || None).unwrap()
    });
    assert_eq!(next, granted(fence + 1, 10, 1, 1));
    assert_eq!(key.until, Some(UnixMs(START + 10)));
}
