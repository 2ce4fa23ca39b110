//! The stored bytes: their layout, round trips, and hostile bytes.

use proptest::prelude::*;

use super::*;
use crate::primitives::ratelimit::state::{Record, Stored, begin, put_record};

fn encoded(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = begin();
    records.iter().for_each(|record| put_record(&mut out, *record));
    out.into_vec()
}

#[test]
fn states_have_the_documented_length() {
    let sizes = [
        (bucket(10, 5, 1000), 25),
        (fixed(10, 1000), 15),
        (aligned(10, 1000), 15),
        (sliding(10, 1000), 21),
        (log(10, 1000), 1 + 4 + 10 + 10),
    ];
    for (kind, size) in sizes {
        let mut limiter = Limiter::new(kind);
        limiter.ask(1, START);
        assert_eq!(limiter.state.unwrap().len(), size, "{kind:?}");
    }
}

#[test]
fn the_largest_debts_of_the_largest_limits_are_stored() {
    let (most, year) = (MAX_LIMIT.unsigned_abs(), 31_536_000_000);
    let log_most = MAX_LOG.unsigned_abs();
    for kind in [bucket(most, most, year), fixed(most, year), aligned(most, year), sliding(most, year), log(log_most, year)] {
        let mut limiter = Limiter::new(kind);
        let limit = kind.limit();
        assert_eq!(
            (limiter.run(Force(limit), START).granted, limiter.run(Force(limit), START).granted),
            (limit, limit),
            "{kind:?}"
        );
        assert_eq!(limiter.look(START).remaining(0), -(limit as i64), "{kind:?}");
        assert_eq!(limiter.run(Force(1), START).granted, 0, "{kind:?}");
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn single_records_have_the_documented_layout() {
    let since = UnixMicros(0x0006_0a24_ec3f_407b);
    for (stored, expected) in [
        (
            Stored::Bucket { since, level: 1_000_615, period: DurationMs(1000) },
            "a106060a24ec3f407b0000000000000000 0f44a700000003e8",
        ),
        (Stored::Fixed { start: since, used: 2 }, "a107060a24ec3f407b000000000002"),
        (Stored::Sliding { start: since, previous: 3, current: 2 }, "a108060a24ec3f407b000000000003000000000002"),
    ] {
        assert_eq!(encoded(&[Record { name: None, in_debt: false, stored }]), hex(&expected.replace(' ', "")));
    }
}

/// States of builds that stored times in milliseconds: a bucket with 1 of 10 used, windows with 2 of 3 used.
#[test]
fn records_with_times_in_milliseconds_are_read() {
    for (state, kind, left, reset) in [
        ("a101018bcfe5680000000000000000000f44a700000003e8", bucket(10, 5, 1000), 9, 200),
        ("a102018bcfe56801000000000002", fixed(3, 1000), 1, 1001),
        ("a103018bcfe56801000000000000000000000002", sliding(3, 1000), 1, 2001),
    ] {
        let mut limiter = Limiter { state: Some(hex(state)), policies: vec![unnamed(kind)] };
        let seen = limiter.look(START);
        assert_eq!((seen.remaining(0), seen.reset_after()), (left, DurationMs(reset)), "{kind:?}");
        assert_eq!(limiter.ask(1, START).granted, 1);
        assert_eq!(limiter.look(START).remaining(0), left - 1);
        let tag = limiter.state.unwrap()[1];
        assert!([6, 7, 8].contains(&tag), "{kind:?} is rewritten in the old layout");
    }
}

#[test]
fn foreign_and_damaged_states_are_corrupt() {
    let mut limiter = Limiter::of(&[named(bucket(10, 5, 1000), "b"), unnamed(sliding(9, 1000)), named(log(9, 1000), "l")]);
    limiter.ask(1, START);
    let value = limiter.state.unwrap();
    // A state may end after any record before the first LOG, which needs a ring.
    let ends = [1 + 1 + 2 + 23, 1 + 1 + 2 + 23 + 20];
    for cut in 0..value.len() {
        assert_eq!(State::decode(&value[..cut]).is_err(), !ends.contains(&cut), "cut at {cut}");
    }
    assert!(State::decode(&[&value[..], b"\0"].concat()).is_err());
    for foreign in
        [&b""[..], b"1", b"hello", b"\xa1", b"\xa1\x06", b"\xa1\x09", &[0xa1; 25], &[0xff; 25], b"\xa1\x05\0\0\0\0\0\x01\0\0\0"]
    {
        assert!(State::decode(foreign).is_err(), "{foreign:?}");
    }
    let level = |level, period, in_debt| {
        encoded(&[Record {
            name: None,
            in_debt,
            stored: Stored::Bucket { since: UnixMicros(1), level, period: DurationMs(period) },
        }])
    };
    assert!(State::decode(&level(5, 0, false)).is_err(), "no period");
    assert!(State::decode(&level(1 << 87, 1, true)).is_err(), "beyond every level");
    let counted =
        |used, in_debt| encoded(&[Record { name: None, in_debt, stored: Stored::Fixed { start: UnixMicros(1), used } }]);
    assert!(
        State::decode(&counted(1_000_000_000_001, false)).is_err() && State::decode(&counted(1_000_000_000_001, true)).is_ok()
    );
    let twice = Record { name: Some(b"n"), in_debt: false, stored: Stored::Fixed { start: UnixMicros(1), used: 1 } };
    assert!(State::decode(&encoded(&[twice, twice])).is_err(), "a name twice");
    let nine = [Record { name: None, ..twice }; 9];
    assert!(State::decode(&encoded(&nine)).is_err() && State::decode(&encoded(&nine[..8])).is_ok());
}

fn record() -> impl Strategy<Value = (Option<Vec<u8>>, bool, Stored)> {
    let at = || (0..1u64 << 56).prop_map(UnixMicros);
    let count = || 0..=1_000_000_000_000u64;
    let stored = prop_oneof![
        (at(), 0..1u128 << 80, 1..=31_536_000_000u64).prop_map(|(since, level, period)| {
            Stored::Bucket { since, level: level.min(u128::from(period) * 1_000_000_000_000_000), period: DurationMs(period) }
        }),
        (at(), count()).prop_map(|(start, used)| Stored::Fixed { start, used }),
        (at(), count(), count()).prop_map(|(start, previous, current)| Stored::Sliding { start, previous, current }),
    ];
    (prop::option::of(prop::collection::vec(any::<u8>(), 1..=64)), any::<bool>(), stored)
}

proptest! {
    #[test]
    fn decode_encode_is_identity(records in prop::collection::vec(record(), 1..=8)) {
        let records: Vec<Record<'_>> =
            records.iter().map(|(name, in_debt, stored)| Record { name: name.as_deref(), in_debt: *in_debt, stored: *stored }).collect();
        let named = || records.iter().filter_map(|record| record.name);
        prop_assume!(named().enumerate().all(|(at, name)| named().take(at).all(|other| other != name)));
        let bytes = encoded(&records);
        prop_assert_eq!(&State::decode(&bytes).unwrap().records[..], &records[..]);
    }

    #[test]
    fn any_bytes_decode_and_decide_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..120), tag in any::<u8>(), ring in (0..4u16, 0..6u16, 0..6u16),
        now in prop_oneof![0..1u64 << 57, any::<u64>()], amount in prop_oneof![1..20u64, 1..=1_000_000_000_000u64],
        limit in prop_oneof![1..20u64, 1..=1_000_000_000_000u64], refill in 1..=1_000_000_000_000u64, period in 1..=31_536_000_000u64,
    ) {
        let shaped = |kind: u8, length: usize| {
            let tail = bytes.iter().copied().chain(std::iter::repeat(0)).take(length);
            [0xa1, kind | (tag & 0x40)].into_iter().chain(tail).collect::<Vec<u8>>()
        };
        let (head, count, modulus) = ring;
        let ring = [head, count, modulus].into_iter().flat_map(u16::to_be_bytes).chain(bytes.iter().copied().take(3 + 10 * 5));
        let logged: Vec<u8> = shaped(4, 3).into_iter().chain([5]).chain(ring).collect();
        for state in [
            bytes.clone(),
            shaped(1, 22),
            shaped(2, 12),
            shaped(3, 18),
            shaped(6, 23),
            shaped(7, 13),
            shaped(8, 19),
            logged,
        ] {
            for kind in [
                bucket(limit, refill, period), fixed(limit, period), aligned(limit, period), sliding(limit, period),
                log(limit.min(10_000), period),
            ] {
                for request in [Charge(0), Charge(amount), UpTo(amount), Force(amount), Refund(amount), Reset] {
                    let Ok((decision, effect)) = decide(Some(&state), &[unnamed(kind)], request, UnixMicros(now)) else { continue };
                    prop_assert!(decision.remaining(0) <= kind.limit() as i64);
                    match effect {
                        Effect::Put { value, .. } => prop_assert!(State::decode(&value).is_ok()),
                        Effect::Patch { parts, .. } => {
                            let mut state = state.clone();
                            patch(&mut state, &parts);
                            prop_assert!(State::decode(&state).is_ok());
                        }
                        Effect::Delete | Effect::Keep => {}
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
            }
        }
    }
}
