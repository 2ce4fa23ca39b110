//! The records of idempotent requests: rules, format, hostile bytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const NOW: UnixMs = UnixMs(1000);
const LEASE: DurationMs = DurationMs(50);

fn flying(token: u64, deadline: u64) -> Option<Record> {
    let phase = Phase::InFlight { token: Token(token), deadline: UnixMs(deadline) };
    Some(Record { fingerprint: b"f".to_vec(), phase })
}

fn done(until: Option<u64>) -> Option<Record> {
    Some(Record { fingerprint: b"f".to_vec(), phase: Phase::Done { response: b"r".to_vec(), until: until.map(UnixMs) } })
}

fn stored(effect: &Effect<Vec<u8>>) -> (Record, UnixMs) {
    let Effect::Put { value, expiry: Expiry::At(until) } = effect else { panic!("no record is written: {effect:?}") };
    (Record::decode(value, Some(*until)).unwrap(), *until)
}

#[test]
fn a_request_begins_if_no_attempt_holds_it() {
    for (rule, record, token) in [
        ("nothing is stored", None, 7),
        ("the lease has ended", flying(3, 1000), 7),
        ("the lease has ended, and its token was higher", flying(9, 999), 10),
    ] {
        let (begun, effect) = begin(record, b"f", LEASE, 7, NOW);
        assert_eq!(begun, Begun::New(Token(token)), "{rule}");
        assert_eq!(stored(&effect), (flying(token, 1050).unwrap(), UnixMs(1050)), "{rule}");
    }
    let (begun, effect) = begin(flying(3, 999), b"other", LEASE, 7, NOW);
    assert_eq!(begun, Begun::New(Token(7)), "an attempt whose lease has ended blocks no request, whatever its fingerprint");
    assert_eq!(stored(&effect).0.fingerprint, b"other");
}

#[test]
fn a_request_in_flight_or_done_does_not_begin_again() {
    for (rule, record, fingerprint, expected) in [
        ("in flight", flying(3, 1001), &b"f"[..], Begun::InFlight(UnixMs(1001))),
        ("in flight with another fingerprint", flying(3, 1001), b"g", Begun::Mismatch(Some(UnixMs(1001)))),
        ("done", done(Some(2000)), b"f", Begun::Done { response: b"r".to_vec(), until: Some(UnixMs(2000)) }),
        ("done, kept without a limit", done(None), b"f", Begun::Done { response: b"r".to_vec(), until: None }),
        ("done with another fingerprint", done(Some(2000)), b"ff", Begun::Mismatch(Some(UnixMs(2000)))),
    ] {
        assert_eq!(begin(record, fingerprint, LEASE, 7, NOW), (expected, Effect::Keep), "{rule}");
    }
}

#[test]
fn only_the_token_that_holds_the_request_ends_it() {
    for (rule, record, token, expected) in [
        ("the token", flying(3, 1001), &b"3"[..], Ended::Applied),
        ("another token", flying(3, 1001), b"4", Ended::NotTheToken),
        ("another spelling of the token", flying(3, 1001), b"03", Ended::NotTheToken),
        ("no token", flying(3, 1001), b"", Ended::NotTheToken),
        ("the lease has ended", flying(3, 1000), b"3", Ended::NotTheToken),
        ("done", done(None), b"3", Ended::NotTheToken),
        ("nothing is stored", None, b"3", Ended::NoSuchKey),
    ] {
        let (ended, effect) = end(record.clone(), token, b"r", DurationMs(9), NOW);
        let (aborted, deletion) = abort(record, token, NOW);
        assert_eq!((ended, aborted), (expected, expected), "{rule}");
        if expected == Ended::Applied {
            assert_eq!(stored(&effect), (done(Some(1009)).unwrap(), UnixMs(1009)), "{rule}");
            assert_eq!(deletion, Effect::Delete, "{rule}");
        } else {
            assert_eq!((effect, deletion), (Effect::Keep, Effect::Keep), "{rule}");
        }
    }
    assert_eq!([Ended::Applied, Ended::NotTheToken, Ended::NoSuchKey].map(Ended::reply), [1, 0, -1]);
}

#[test]
fn the_layout_is_the_documented_one() {
    let record = flying(0x0102, 0x0304).unwrap();
    assert_eq!(record.encode(), b"\xa7ID\x01\x00\x01f\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04");
    assert_eq!(done(None).unwrap().encode(), b"\xa7ID\x01\x01\x01f\0\0\0\0\0\x01r");
}

#[test]
fn bytes_that_no_encoder_wrote_are_corrupt() {
    let good = flying(3, 1001).unwrap().encode();
    for bytes in [
        &b""[..],
        b"\xa7ID\x02\x00\x01f\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x02\x01f\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x00\x00\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x00\x01f\xff\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x01\x01f\0\0\0\0\0\x02r",
        b"\xa7ID\x01\x01\x01f\xff\xff\xff\xff\xff\xffr",
        &[&good[..], b"x"].concat(),
        &good[..good.len() - 1],
    ] {
        assert_eq!(Record::decode(bytes, None), Err(Corrupt), "{bytes:?}");
    }
}

fn any_record() -> impl Strategy<Value = Record> {
    let in_flight = (0..=MAX_FENCE, 0..1_u64 << 48)
        .prop_map(|(token, deadline)| Phase::InFlight { token: Token(token), deadline: UnixMs(deadline) });
    let done = (prop::collection::vec(any::<u8>(), 0..40), prop::option::of(any::<u64>()))
        .prop_map(|(response, until)| Phase::Done { response, until: until.map(UnixMs) });
    let fingerprint = prop::collection::vec(any::<u8>(), 1..=MAX_FINGERPRINT_BYTES);
    (fingerprint, prop_oneof![in_flight, done]).prop_map(|(fingerprint, phase)| Record { fingerprint, phase })
}

proptest! {
    #[test]
    fn decode_encode_is_identity(record in any_record()) {
        let until = if let Phase::Done { until, .. } = record.phase { until } else { None };
        prop_assert_eq!(Record::decode(&record.encode(), until), Ok(record));
    }

    #[test]
    fn decode_of_any_bytes_never_panics_and_accepts_only_what_encode_writes(tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [MAGIC, &tail].concat();
        if let Ok(record) = Record::decode(&bytes, None) {
            prop_assert_eq!(record.encode(), bytes);
        }
        let _ = Record::decode(&tail, None);
    }

    /// Any history of begins, ends and aborts by clients that remember all their tokens. A key gets one response until it expires, and two
    /// attempts never hold the request at the same time.
    #[test]
    fn only_the_attempt_that_holds_a_request_answers_it_once(
        steps in prop::collection::vec((0..3_u8, 0..4_usize, 0..60_u64), 1..40),
    ) {
        let (mut key, mut now, mut number) = (None::<(Vec<u8>, UnixMs)>, UnixMs(1), 0);
        let mut tokens: Vec<(Vec<u8>, UnixMs)> = Vec::new();
        let mut answered = false;
        for (step, client, wait) in steps {
            now = now.plus(DurationMs(wait));
            if key.as_ref().is_some_and(|(_, until)| *until <= now) {
                (key, answered) = (None, false);
            }
            let record = key.as_ref().map(|(bytes, until)| Record::decode(bytes, Some(*until)).unwrap());
            let token = tokens.iter().rev().nth(client).map_or(b"none".to_vec(), |(token, _)| token.clone());
            let effect = match step {
                0 => {
                    number += 1;
                    let (begun, effect) = begin(record, b"f", LEASE, number, now);
                    if let Begun::New(token) = begun {
                        prop_assert!(!answered && tokens.iter().all(|(_, deadline)| *deadline <= now));
                        tokens.push((token.text(), now.plus(LEASE)));
                    }
                    effect
                }
                1 => {
                    let (ended, effect) = end(record, &token, b"r", DurationMs(100), now);
                    if ended == Ended::Applied {
                        prop_assert!(!answered);
                        answered = true;
                    }
                    effect
                }
                _ => {
                    let (aborted, effect) = abort(record, &token, now);
                    if aborted == Ended::Applied {
                        tokens.iter_mut().filter(|(known, _)| *known == token).for_each(|(_, deadline)| *deadline = now);
                    }
                    effect
                }
            };
            match effect {
                Effect::Put { value, expiry: Expiry::At(until) } => key = Some((value, until)),
                Effect::Delete => key = None,
                _ => {}
            }
        }
    }
}
