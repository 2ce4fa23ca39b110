//! The stored format of locks: damaged and crafted values, and locks of several owners.

use super::{Reply, denied, lock};
use crate::commands::{OTHER_TYPES, WRONGTYPE, changes_nothing, expect_refused, micros};
use crate::support::locks::{self, Holder};
use crate::support::{Value, each_server};

const DAMAGED: &str = "WRONGTYPE key does not hold a lock (format LK1)";

/// A lock in its stored format, whose holders all have its fence.
fn stored(mode: u8, fence: u64, holders: &[(&[u8], u32, i64)]) -> Vec<u8> {
    let holders: Vec<Holder<'_>> = holders.iter().map(|(owner, holds, deadline)| (*owner, *holds, *deadline, fence)).collect();
    locks::stored(mode, fence, &holders)
}

#[test]
fn a_damaged_lock_is_refused_and_kept() {
    let later = 4_102_444_800_000;
    let good = stored(0, 7, &[(b"me", 1, later)]);
    let damaged = [
        good[..4].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], b"\0"].concat(),
        stored(2, 7, &[(b"me", 1, later)]),
        stored(0, (1 << 62) + 1, &[(b"me", 1, later)]),
        stored(0, 7, &[]),
        stored(0, 7, &[(b"me", 1, later), (b"you", 1, later)]),
        stored(0, 7, &[(b"me", 0, later)]),
        stored(1, 7, &[(b"", 1, later)]),
    ];
    let attempts = [
        "ATOMIC.LOCK k me 60000",
        "ATOMIC.UNLOCK k me",
        "ATOMIC.UNLOCK k me ALL",
        "ATOMIC.LOCKRENEW k me 60000",
        "ATOMIC.LOCKINFO k",
    ];
    each_server(|server| {
        server.call(&[b"SET", &b"k"[..], &good]);
        assert_eq!(
            server.run("ATOMIC.LOCKRENEW k me 60000"),
            Value::Integer(60_000),
            "the lock that the rows damage is not valid"
        );
        for state in &damaged {
            server.call(&[b"SET", &b"k"[..], state, b"PX", b"60000000"]);
            expect_refused(server, &attempts.map(|attempt| (attempt, DAMAGED)));
        }
        for setup in OTHER_TYPES {
            server.run("DEL k");
            server.run(setup);
            expect_refused(server, &attempts.map(|attempt| (attempt, WRONGTYPE)));
        }
    });
}

#[test]
fn a_fence_is_above_every_fence_seen_in_a_stored_lock() {
    each_server(|server| {
        let ahead = u64::try_from(micros(&mut server.connect()) + 3_600_000_000).unwrap();
        // The lease ended, the key did not: the next fence must be above this one.
        server.call(&[b"SET", &b"k"[..], &stored(0, ahead, &[(b"you", 1, 1000)])]);
        let fence = lock(server, "k me 60000").fence;
        assert_eq!(fence, ahead.cast_signed() + 1);
        assert_eq!(lock(server, "other me 60000").fence, fence + 1);
        // A denial sees the fence, too.
        server.call(&[b"SET", &b"k"[..], &stored(0, ahead + 100, &[(b"you", 1, 4_102_444_800_000)])]);
        assert!(!lock(server, "k me 60000").granted);
        assert_eq!(lock(server, "third me 60000").fence, ahead.cast_signed() + 101);
    });
}

#[test]
fn a_crafted_fence_does_not_exhaust_the_fences_of_other_locks() {
    each_server(|server| {
        for crafted in [1_u64 << 62, (1 << 61) + 2] {
            server.call(&[b"SET", &b"k"[..], &stored(0, crafted, &[(b"you", 1, 4_102_444_800_000)])]);
            assert!(!lock(server, "k me 60000").granted);
            assert!(lock(server, "other me 60000").fence < 1 << 52);
            server.run("DEL other");
            // The same lock still gets a higher fence.
            let ended = crafted - 1;
            server.call(&[b"SET", &b"k"[..], &stored(0, ended, &[(b"you", 1, 1000)])]);
            assert_eq!(lock(server, "k me 60000").fence, ended.cast_signed() + 1);
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(0));
        }
    });
}

#[test]
fn a_stored_lock_of_several_readers_is_read() {
    each_server(|server| {
        let later = 4_102_444_800_000;
        let shared = stored(1, 7, &[(b"a", 1, later), (b"b", 2, later + 5), (b"ended", 1, 1000)]);
        server.call(&[b"SET", &b"k"[..], &shared]);
        let info = server.run("ATOMIC.LOCKINFO k");
        assert_eq!(info.field("mode"), Some(Value::bulk("shared")));
        let owners = info.field("owners").unwrap();
        let names: Vec<String> = owners.array().iter().map(|owner| owner.array()[0].text()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!Reply::read(&changes_nothing(server, "ATOMIC.LOCK k c 60000")).granted);
        let upgrade = Reply::read(&changes_nothing(server, "ATOMIC.LOCK k a 60000 WAIT 0"));
        assert_eq!(upgrade, denied(upgrade.ttl));
        assert!(!Reply::read(&changes_nothing(server, "ATOMIC.LOCK k b 60000 REENTRANT")).granted);
        assert_eq!(changes_nothing(server, "ATOMIC.UNLOCK k ended"), Value::Integer(-1));
        assert_eq!(server.run("ATOMIC.UNLOCK k b"), Value::Integer(1));
        assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(later + 5), "the key lives as long as the last lease");
        assert_eq!(server.run("ATOMIC.UNLOCK k b"), Value::Integer(0));
        assert_eq!(server.run("PEXPIRETIME k"), Value::Integer(later));
        assert_eq!(server.run("ATOMIC.UNLOCK k a"), Value::Integer(0));
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}

#[test]
fn a_stored_lock_with_several_holds_is_read_and_released_one_by_one() {
    each_server(|server| {
        let later = 4_102_444_800_000;
        server.call(&[b"SET", &b"k"[..], &stored(0, 7, &[(b"me", 3, later)]), b"PXAT", later.to_string().as_bytes()]);
        let again = Reply::read(&changes_nothing(server, "ATOMIC.LOCK k me 60000"));
        assert_eq!((again.granted, again.fence, again.holds), (true, 7, 3));
        assert_eq!(lock(server, "k me 60000 REENTRANT").holds, 4);
        for left in (0..4).rev() {
            assert_eq!(server.run("ATOMIC.UNLOCK k me"), Value::Integer(left));
        }
        assert_eq!(server.run("EXISTS k"), Value::Integer(0));
    });
}
