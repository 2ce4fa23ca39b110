//! The records of idempotent requests: rules, format, hostile bytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

const NOW: UnixMs = UnixMs(1000);
const LEASE: DurationMs = DurationMs(50);

fn named(name: &str) -> Token {
    Token::Named(name.as_bytes().to_vec())
}

fn held_by(token: Token, deadline: u64) -> Option<Record> {
    Some(Record { fingerprint: b"f".to_vec(), phase: Phase::InFlight { token, deadline: UnixMs(deadline) } })
}

fn flying(number: u64, deadline: u64) -> Option<Record> {
    held_by(Token::Number(number), deadline)
}

fn done_by(token: Option<Token>, until: Option<u64>) -> Option<Record> {
    let phase = Phase::Done { token, response: b"r".to_vec(), until: until.map(UnixMs) };
    Some(Record { fingerprint: b"f".to_vec(), phase })
}

fn done(until: Option<u64>) -> Option<Record> {
    done_by(Some(Token::Number(3)), until)
}

fn held(token: Token, deadline: u64) -> Begun {
    Begun::Held { token, deadline: UnixMs(deadline) }
}

fn stored(effect: &Effect<Bytes>) -> (Record, UnixMs) {
    let Effect::Put { value, expiry: Expiry::At(until) } = effect else { panic!("no record is written: {effect:?}") };
    (Record::decode(value, Some(*until)).unwrap(), *until)
}

fn encode(record: &Record) -> Vec<u8> {
    let bytes = match &record.phase {
        Phase::InFlight { token, deadline } => encode_in_flight(&record.fingerprint, token, *deadline),
        Phase::Done { token: Some(token), response, .. } => encode_done(&record.fingerprint, token, response),
        Phase::Done { token: None, .. } => panic!("version 1 is no longer written"),
    };
    bytes.into_vec()
}

#[test]
fn a_request_begins_if_no_attempt_holds_it() {
    for (rule, record, asked, token) in [
        ("nothing is stored", None, Token::Number(7), Token::Number(7)),
        ("the lease has ended", flying(3, 1000), Token::Number(7), Token::Number(7)),
        ("the lease has ended, and its token was higher", flying(9, 999), Token::Number(7), Token::Number(10)),
        ("the ended attempt had a name", held_by(named("a"), 1000), Token::Number(7), Token::Number(7)),
        ("the name of the ended attempt is the number", held_by(named("7"), 1000), Token::Number(7), Token::Number(8)),
        ("nothing is stored, named", None, named("a"), named("a")),
        ("the lease has ended, named", flying(3, 1000), named("a"), named("a")),
        ("the lease of this attempt has ended", held_by(named("a"), 1000), named("a"), named("a")),
    ] {
        let (begun, effect) = begin(record, b"f", LEASE, asked, NOW);
        assert_eq!(begun, held(token.clone(), 1050), "{rule}");
        assert_eq!(stored(&effect), (held_by(token, 1050).unwrap(), UnixMs(1050)), "{rule}");
    }
    let (begun, effect) = begin(flying(3, 999), b"other", LEASE, Token::Number(7), NOW);
    assert_eq!(
        begun,
        held(Token::Number(7), 1050),
        "an attempt whose lease has ended blocks no request, whatever its fingerprint"
    );
    assert_eq!(stored(&effect).0.fingerprint, b"other");
}

#[test]
fn a_request_in_flight_or_done_does_not_begin_again() {
    let response = |until: Option<u64>| Begun::Done { response: b"r".to_vec(), until: until.map(UnixMs) };
    for (rule, record, fingerprint, expected) in [
        ("in flight", flying(3, 1001), &b"f"[..], Begun::InFlight(UnixMs(1001))),
        ("in flight by a name", held_by(named("a"), 1001), b"f", Begun::InFlight(UnixMs(1001))),
        ("in flight with another fingerprint", flying(3, 1001), b"g", Begun::Mismatch(Some(UnixMs(1001)))),
        ("done", done(Some(2000)), b"f", response(Some(2000))),
        ("done, version 1", done_by(None, Some(2000)), b"f", response(Some(2000))),
        ("done, kept without a limit", done(None), b"f", response(None)),
        ("done with another fingerprint", done(Some(2000)), b"ff", Begun::Mismatch(Some(UnixMs(2000)))),
    ] {
        for token in [Token::Number(3), Token::Number(7), named("b")] {
            assert_eq!(begin(record.clone(), fingerprint, LEASE, token, NOW), (expected.clone(), Effect::Keep), "{rule}");
        }
    }
}

#[test]
fn an_attempt_that_begins_again_keeps_its_token_and_its_lease() {
    for (rule, record, fingerprint, expected) in [
        ("in flight", held_by(named("a"), 1001), &b"f"[..], held(named("a"), 1001)),
        ("in flight by a number", flying(3, 1001), b"f", Begun::InFlight(UnixMs(1001))),
        ("with another fingerprint", held_by(named("a"), 1001), b"g", Begun::Mismatch(Some(UnixMs(1001)))),
        ("another spelling", held_by(named("A"), 1001), b"f", Begun::InFlight(UnixMs(1001))),
        ("another attempt took over", held_by(named("b"), 1001), b"f", Begun::InFlight(UnixMs(1001))),
        ("done", done_by(Some(named("a")), None), b"f", Begun::Done { response: b"r".to_vec(), until: None }),
    ] {
        assert_eq!(begin(record, fingerprint, LEASE, named("a"), NOW), (expected, Effect::Keep), "{rule}");
    }
    let number = begin(flying(3, 1001), b"f", LEASE, named("3"), NOW);
    assert_eq!(number, (held(Token::Number(3), 1001), Effect::Keep), "a client may name the number that it was given");
}

#[test]
fn only_the_token_that_holds_the_request_ends_it() {
    for (rule, record, token, expected) in [
        ("the token", flying(3, 1001), &b"3"[..], Ended::Applied),
        ("another token", flying(3, 1001), b"4", Ended::NotTheToken),
        ("another spelling of the token", flying(3, 1001), b"03", Ended::NotTheToken),
        ("no token", flying(3, 1001), b"", Ended::NotTheToken),
        ("the lease has ended", flying(3, 1000), b"3", Ended::NotTheToken),
        ("a name", held_by(named("a"), 1001), b"a", Ended::Applied),
        ("done by another token", done(None), b"4", Ended::NotTheToken),
        ("done, version 1", done_by(None, None), b"3", Ended::NotTheToken),
        ("nothing is stored", None, b"3", Ended::NoSuchKey),
    ] {
        let (ended, effect) = end(record.clone(), token, b"r", DurationMs(9), NOW);
        let (aborted, deletion) = abort(record, token, NOW);
        assert_eq!((ended, aborted), (expected, expected), "{rule}");
        if expected == Ended::Applied {
            let by = if token == b"a" { named("a") } else { Token::Number(3) };
            assert_eq!(stored(&effect), (done_by(Some(by), Some(1009)).unwrap(), UnixMs(1009)), "{rule}");
            assert_eq!(deletion, Effect::Delete, "{rule}");
        } else {
            assert_eq!((effect, deletion), (Effect::Keep, Effect::Keep), "{rule}");
        }
    }
    assert_eq!([Ended::Applied, Ended::NotTheToken, Ended::NoSuchKey].map(Ended::reply), [1, 0, -1]);
}

#[test]
fn the_attempt_that_stored_the_response_ends_again_and_changes_nothing() {
    for (rule, record, token, ended, aborted) in [
        ("its number", done(None), &b"3"[..], Ended::Applied, Ended::NotTheToken),
        ("its name", done_by(Some(named("a")), Some(2000)), b"a", Ended::Applied, Ended::NotTheToken),
        ("another name", done_by(Some(named("a")), None), b"b", Ended::NotTheToken, Ended::NotTheToken),
        ("no token", done_by(None, None), b"", Ended::NotTheToken, Ended::NotTheToken),
    ] {
        assert_eq!(end(record.clone(), token, b"another response", DurationMs(9), NOW), (ended, Effect::Keep), "{rule}");
        assert_eq!(abort(record, token, NOW), (aborted, Effect::Keep), "{rule}");
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let layout = |record: Option<Record>| encode(&record.unwrap());
    assert_eq!(layout(flying(0x0102, 0x0304)), b"\xa7ID\x02\x00\x01f\x00\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04");
    assert_eq!(layout(held_by(named("ab"), 0x0304)), b"\xa7ID\x02\x00\x01f\x02ab\0\0\0\0\x03\x04");
    assert_eq!(layout(done(None)), b"\xa7ID\x02\x01\x01f\x00\0\0\0\0\0\0\0\x03\0\0\0\0\0\x01r");
    assert_eq!(layout(done_by(Some(named("ab")), None)), b"\xa7ID\x02\x01\x01f\x02ab\0\0\0\0\0\x01r");
}

#[test]
fn records_of_version_1_are_read() {
    for (bytes, record) in [
        (&b"\xa7ID\x01\x00\x01f\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04"[..], flying(0x0102, 0x0304)),
        (b"\xa7ID\x01\x01\x01f\0\0\0\0\0\x01r", done_by(None, Some(9))),
    ] {
        assert_eq!(Record::decode(bytes, Some(UnixMs(9))).ok(), record, "{bytes:?}");
    }
}

#[test]
fn bytes_that_no_encoder_wrote_are_corrupt() {
    let good = encode(&flying(3, 1001).unwrap());
    for bytes in [
        &b""[..],
        b"\xa7ID\x03\x00\x01f\0\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x02\x01f\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x00\x00\0\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x00\x01f\xff\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x01\x01\x01f\0\0\0\0\0\x02r",
        b"\xa7ID\x01\x01\x01f\xff\xff\xff\xff\xff\xffr",
        b"\xa7ID\x02\x02\x01f\x01a\0\0\0\0\x03\x04",
        b"\xa7ID\x02\x00\x00\x01a\0\0\0\0\x03\x04",
        b"\xa7ID\x02\x00\x01f\x02a\0\0\0\0\x03\x04",
        b"\xa7ID\x02\x00\x01f\x00\xff\0\0\0\0\0\x01\x02\0\0\0\0\x03\x04",
        b"\xa7ID\x02\x01\x01f\x01a\0\0\0\0\0\x02r",
        b"\xa7ID\x02\x01\x01f\x01a\xff\xff\xff\xff\xff\xffr",
        &[&good[..], b"x"].concat(),
        &good[..good.len() - 1],
    ] {
        assert_eq!(Record::decode(bytes, None), Err(Corrupt), "{bytes:?}");
    }
}

fn any_token() -> impl Strategy<Value = Token> {
    let name = prop::collection::vec(any::<u8>(), 1..=MAX_TOKEN_BYTES);
    prop_oneof![(0..=MAX_FENCE).prop_map(Token::Number), name.prop_map(Token::Named)]
}

fn any_record() -> impl Strategy<Value = Record> {
    let in_flight =
        (any_token(), 0..1_u64 << 48).prop_map(|(token, deadline)| Phase::InFlight { token, deadline: UnixMs(deadline) });
    let done = (any_token(), prop::collection::vec(any::<u8>(), 0..40), prop::option::of(any::<u64>()))
        .prop_map(|(token, response, until)| Phase::Done { token: Some(token), response, until: until.map(UnixMs) });
    let fingerprint = prop::collection::vec(any::<u8>(), 1..=MAX_FINGERPRINT_BYTES);
    (fingerprint, prop_oneof![in_flight, done]).prop_map(|(fingerprint, phase)| Record { fingerprint, phase })
}

/// The naive model: everything that happened, in order. What holds now is looked for in it each time.
#[derive(Default)]
struct History {
    /// Attempts that began: the token and the end of the lease.
    began: Vec<(Vec<u8>, UnixMs)>,
    /// Positions in `began` of the attempts that were abandoned.
    aborted: Vec<usize>,
    /// Attempts that stored a response: the position in `began`, the response and its end.
    ended: Vec<(usize, Vec<u8>, UnixMs)>,
}

impl History {
    /// The last attempt, unless it ended, was abandoned or outlived its lease.
    fn holder(&self, now: UnixMs) -> Option<&(Vec<u8>, UnixMs)> {
        let at = self.began.len().checked_sub(1)?;
        let over = self.aborted.contains(&at) || self.ended.iter().any(|(by, ..)| *by == at);
        self.began.get(at).filter(|(_, deadline)| !over && *deadline > now)
    }

    fn response(&self, now: UnixMs) -> Option<&(usize, Vec<u8>, UnixMs)> {
        self.ended.last().filter(|(_, _, until)| *until > now)
    }

    /// What `begin` must answer, where a new attempt is `None`.
    fn begin(&self, name: Option<&[u8]>, now: UnixMs) -> Option<Begun> {
        if let Some((_, response, until)) = self.response(now) {
            return Some(Begun::Done { response: response.clone(), until: Some(*until) });
        }
        let (token, deadline) = self.holder(now)?;
        let mine = name == Some(token);
        Some(if mine {
            Begun::Held { token: Token::Named(token.clone()), deadline: *deadline }
        } else {
            Begun::InFlight(*deadline)
        })
    }

    fn end(&mut self, token: &[u8], response: &[u8], until: UnixMs, now: UnixMs) -> Ended {
        if let Some((by, ..)) = self.response(now) {
            return if self.began[*by].0 == token { Ended::Applied } else { Ended::NotTheToken };
        }
        match self.holder(now) {
            None => Ended::NoSuchKey,
            Some((held, _)) if held != token => Ended::NotTheToken,
            Some(_) => {
                self.ended.push((self.began.len() - 1, response.to_vec(), until));
                Ended::Applied
            }
        }
    }

    fn abort(&mut self, token: &[u8], now: UnixMs) -> Ended {
        match self.holder(now) {
            _ if self.response(now).is_some() => Ended::NotTheToken,
            None => Ended::NoSuchKey,
            Some((held, _)) if held != token => Ended::NotTheToken,
            Some(_) => {
                self.aborted.push(self.began.len() - 1);
                Ended::Applied
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// By a client with a name of its own for the attempt, or without one.
    Begin(Option<u8>),
    /// With the token of the attempt that began so many attempts ago.
    End(usize),
    Abort(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::option::of(0..3_u8).prop_map(Step::Begin),
        (0..3_usize).prop_map(Step::End),
        (0..3_usize).prop_map(Step::Abort)
    ]
}

proptest! {
    #[test]
    fn decode_encode_is_identity(record in any_record()) {
        let until = if let Phase::Done { until, .. } = record.phase { until } else { None };
        prop_assert_eq!(Record::decode(&encode(&record), until), Ok(record));
    }

    #[test]
    fn decode_of_any_bytes_never_panics_and_accepts_only_what_encode_writes(tail in prop::collection::vec(any::<u8>(), 0..40)) {
        let bytes = [MAGIC, &tail].concat();
        if let Ok(record) = Record::decode(&bytes, None) {
            prop_assert_eq!(encode(&record), bytes);
        }
        let _ = Record::decode(&[MAGIC_1, &tail].concat(), None);
        let _ = Record::decode(&tail, None);
    }

    /// Any history of begins, ends and aborts, each sent up to three times in a row. The replies are those of the naive model, and a call
    /// that is sent again at once writes nothing.
    #[test]
    fn a_key_answers_as_the_history_says_and_resends_write_nothing(
        steps in prop::collection::vec((any_step(), 0..60_u64, 1..4_u8), 1..40),
    ) {
        let (mut key, mut now, mut number) = (None::<(Vec<u8>, UnixMs)>, UnixMs(1), 0);
        let mut history = History::default();
        for (position, (step, wait, times)) in steps.into_iter().enumerate() {
            now = now.plus(DurationMs(wait));
            let token = |history: &History, ago: usize| history.began.iter().rev().nth(ago).map_or(b"none".to_vec(), |(token, _)| token.clone());
            let token = match &step {
                Step::End(ago) | Step::Abort(ago) => token(&history, *ago),
                Step::Begin(_) => Vec::new(),
            };
            for time in 0..times {
                let live = key.take().filter(|(_, until)| *until > now);
                let record = live.as_ref().map(|(bytes, until)| Record::decode(bytes, Some(*until)).unwrap());
                let effect = match &step {
                    Step::Begin(client) => {
                        number += 1;
                        let name = client.map(|client| vec![b'a' + client]);
                        let asked = name.clone().map_or(Token::Number(number), Token::Named);
                        let (begun, effect) = begin(record, b"f", LEASE, asked.clone(), now);
                        if let Some(expected) = history.begin(name.as_deref(), now) {
                            prop_assert_eq!(begun, expected);
                        } else {
                            prop_assert_eq!(begun, Begun::Held { token: asked.clone(), deadline: now.plus(LEASE) });
                            history.began.push((asked.text(), now.plus(LEASE)));
                        }
                        effect
                    }
                    Step::End(_) => {
                        // A resend may carry another response; the first one stays.
                        let response = [position as u8, time];
                        let (ended, effect) = end(record, &token, &response, DurationMs(100), now);
                        prop_assert_eq!(ended, history.end(&token, &response, now.plus(DurationMs(100)), now));
                        effect
                    }
                    Step::Abort(_) => {
                        let (aborted, effect) = abort(record, &token, now);
                        prop_assert_eq!(aborted, history.abort(&token, now));
                        effect
                    }
                };
                prop_assert!(time == 0 || effect == Effect::Keep, "a resend wrote {:?}", effect);
                key = match effect {
                    Effect::Put { value, expiry: Expiry::At(until) } => Some((value.into_vec(), until)),
                    Effect::Delete => None,
                    _ => live,
                };
            }
        }
    }
}
