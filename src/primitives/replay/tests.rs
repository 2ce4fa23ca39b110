//! The records of commands that run once: rules, format, hostile bytes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn digest(words: &[&str]) -> WordsDigest {
    WordsDigest::of(words.iter().map(|word| word.as_bytes()))
}

fn stored(record: &Record) -> Vec<u8> {
    match record.put(UnixMs(1)) {
        Effect::Put { value, expiry: Expiry::At(UnixMs(1)) } => value.into_vec(),
        other => panic!("{other:?}"),
    }
}

fn bulk(len: usize) -> Vec<u8> {
    [format!("${len}\r\n").as_bytes(), &vec![b'x'; len], b"\r\n"].concat()
}

#[test]
fn a_record_answers_its_own_words_only() {
    let (set, other) = (digest(&["SET", "k", "v"]), digest(&["SET", "k", "w"]));
    let record = Record::new(set, b"+OK\r\n");
    for (rule, stored, words, expected) in [
        ("no record", None, set, Answer::Run),
        ("the same words", Some(record.clone()), set, Answer::Replay(b"+OK\r\n".to_vec())),
        ("other words", Some(record), other, Answer::Mismatch),
        ("a large reply", Some(Record::new(set, &bulk(MAX_REPLY_BYTES))), set, Answer::TooLarge),
        ("other words, a large reply", Some(Record::new(set, &bulk(MAX_REPLY_BYTES))), other, Answer::Mismatch),
    ] {
        assert_eq!(answer(stored, words), expected, "{rule}");
    }
}

#[test]
fn words_differ_by_their_bytes_and_their_borders() {
    let all = [&["a", "b"][..], &["ab"], &["ab", ""], &["", "ab"], &["a", "b", ""], &["A", "b"], &[]];
    for (at, one) in all.iter().enumerate() {
        for (other_at, other) in all.iter().enumerate() {
            assert_eq!(digest(one) == digest(other), at == other_at, "{one:?} {other:?}");
        }
    }
}

#[test]
fn the_largest_reply_is_kept_and_a_larger_or_deeper_one_is_not() {
    // `$1048563\r\n`, the bytes and `\r\n` are the limit.
    let largest = bulk(MAX_REPLY_BYTES - 12);
    assert_eq!(largest.len(), MAX_REPLY_BYTES);
    let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
    for (reply, kept) in
        [(largest, true), (bulk(MAX_REPLY_BYTES - 11), false), (nested(MAX_DEPTH), true), (nested(MAX_DEPTH + 1), false)]
    {
        let record = Record::new(digest(&["x"]), &reply);
        assert_eq!(record.reply.is_some(), kept, "{} bytes", reply.len());
        assert_eq!(Record::decode(&stored(&record)), Ok(record));
    }
}

#[test]
fn other_bytes_are_corrupt() {
    let good = stored(&Record::new(digest(&["x"]), b"*1\r\n:1\r\n"));
    for cut in 0..good.len() {
        assert_eq!(Record::decode(&good[..cut]), Err(Corrupt), "the first {cut} bytes");
    }
    assert_eq!(Record::decode(&[&good[..], b"x"].concat()), Err(Corrupt));
    let head = &good[..MAGIC.len() + 20];
    let with = |text: &[u8]| {
        let len = u32::try_from(text.len()).unwrap().to_be_bytes();
        [head, &[0], &len[1..], text].concat()
    };
    assert!(Record::decode(&with(b":1\r\n")).is_ok());
    for text in [
        &b""[..],
        b"-ERR no\r\n",
        b"!3\r\nERR\r\n",
        b":1\r\n:2\r\n",
        b"*2\r\n:1\r\n",
        b"?1\r\n",
        b"*1048576\r\n",
        &[b"*1\r\n".repeat(200_000), b":1\r\n".to_vec()].concat(),
        &bulk(MAX_REPLY_BYTES),
    ] {
        assert_eq!(Record::decode(&with(text)), Err(Corrupt), "{} bytes", text.len());
    }
    for mark in [2, 255] {
        assert_eq!(Record::decode(&[head, &[mark]].concat()), Err(Corrupt));
    }
    assert_eq!(Record::decode(&[head, &[1, 0]].concat()), Err(Corrupt));
}

proptest! {
    #[test]
    fn decode_of_any_bytes_never_panics_and_returns_what_encode_wrote(
        magic in any::<bool>(), bytes in prop::collection::vec(any::<u8>(), 0..120)
    ) {
        let bytes = if magic { [MAGIC, &bytes].concat() } else { bytes };
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(record.encode().into_vec(), bytes);
        }
    }

    #[test]
    fn a_reply_comes_back_as_it_was(words in prop::collection::vec("[a-c]{0,3}", 0..4), text in prop::collection::vec(any::<u8>(), 0..40)) {
        let words = WordsDigest::of(words.iter().map(|word| word.as_bytes()));
        let reply = [format!("${}\r\n", text.len()).as_bytes(), &text, b"\r\n"].concat();
        let record = Record::decode(&stored(&Record::new(words, &reply))).unwrap();
        prop_assert_eq!(answer(Some(record), words), Answer::Replay(reply));
    }
}
