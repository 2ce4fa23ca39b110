//! The record of a run: its calls, and the keys that it used.

use std::time::Duration;

use crate::error::{QUOTED_BYTES, printable};
use crate::primitives::resp::{Part, Reader};
use crate::server::reply::{Reply, number};

/// The most calls that are recorded, and keys of each kind. Further ones are counted.
const MOST: usize = 1000;

/// The most words of a call that are shown.
const WORDS: usize = 32;

/// About the most bytes of a reply that are shown.
const REPLY_BYTES: usize = 2 * QUOTED_BYTES;

struct Call {
    line: u32,
    took: Duration,
    words: Vec<Vec<u8>>,
    reply: String,
    failed: bool,
}

#[derive(Default)]
pub struct Trace {
    calls: Vec<Call>,
    /// Calls that are not recorded.
    more: u64,
    written: Vec<Vec<u8>>,
    undeclared: Vec<Vec<u8>>,
}

impl Trace {
    /// Records a call and its reply, which is protocol text.
    pub fn called(&mut self, line: u32, took: Duration, argv: &[&[u8]], reply: &[u8]) {
        if self.calls.len() >= MOST {
            self.more = self.more.saturating_add(1);
            return;
        }
        let mut words: Vec<_> = argv.iter().take(WORDS).map(|word| shortened(word)).collect();
        if argv.len() > WORDS {
            words.push(b"...".to_vec());
        }
        let failed = reply.first() == Some(&b'-');
        self.calls.push(Call { line, took, words, reply: shown(reply), failed });
    }

    pub fn wrote(&mut self, key: &[u8]) {
        add(&mut self.written, key);
    }

    pub fn used_undeclared(&mut self, key: &[u8]) {
        add(&mut self.undeclared, key);
    }

    /// The fields of the report that follow the result of the run.
    pub fn fields(self, took: Duration, memory: usize) -> Vec<(&'static str, Reply)> {
        let bulks = |list: Vec<Vec<u8>>| Reply::Array(list.into_iter().map(Reply::Bulk).collect());
        vec![
            ("us", microseconds(took)),
            ("memory", Reply::Integer(number(memory))),
            ("calls", Reply::Array(self.calls.into_iter().map(Call::report).collect())),
            ("more-calls", Reply::Integer(number(self.more))),
            ("written", bulks(self.written)),
            ("undeclared", bulks(self.undeclared)),
        ]
    }
}

/// Names of the fields that [`Trace::fields`] returns, and of the result before them.
pub const FIELDS: usize = 7;

impl Call {
    fn report(self) -> Reply {
        Reply::Map(vec![
            ("line", Reply::Integer(self.line.into())),
            ("us", microseconds(self.took)),
            ("command", Reply::Array(self.words.into_iter().map(Reply::Bulk).collect())),
            (if self.failed { "error" } else { "reply" }, Reply::Bulk(self.reply.into_bytes())),
        ])
    }
}

/// Rounded up, so that no call seems to have taken no time.
fn microseconds(took: Duration) -> Reply {
    Reply::Integer(number(took.as_nanos().div_ceil(1000)))
}

fn add(list: &mut Vec<Vec<u8>>, key: &[u8]) {
    if list.len() < MOST && !list.iter().any(|known| known == key) {
        list.push(key.to_vec());
    }
}

/// At most [`QUOTED_BYTES`] of a word. Dots mark a cut.
fn shortened(word: &[u8]) -> Vec<u8> {
    match word.get(..QUOTED_BYTES) {
        Some(start) if word.len() > QUOTED_BYTES => [start, b"..."].concat(),
        _ => word.to_vec(),
    }
}

/// A reply on one line: `1`, `OK`, `"text"`, `nil`, `["a", 1]`.
fn shown(reply: &[u8]) -> String {
    let mut text = String::new();
    let mut reader = Reader::new(reply);
    show(&mut reader, &mut text);
    text
}

/// Appends the next value. Stops in the middle of a long aggregate, so the reader is not used after that.
fn show(reader: &mut Reader<'_>, text: &mut String) {
    let Some(part) = reader.part() else { return };
    let values = match part {
        Part::Status(line) | Part::Error(line) => return text.push_str(&printable(line, REPLY_BYTES)),
        Part::Integer(value) => return text.push_str(&value.to_string()),
        Part::Bulk(bytes) | Part::Verbatim { text: bytes, .. } => {
            return text.push_str(&format!("\"{}\"", printable(bytes, QUOTED_BYTES)));
        }
        Part::Double(digits) | Part::BigNumber(digits) => return text.push_str(&printable(digits, QUOTED_BYTES)),
        Part::Bool(value) => return text.push_str(&value.to_string()),
        Part::Absent | Part::AbsentArray | Part::Null => return text.push_str("nil"),
        Part::Array(len) | Part::Set(len) | Part::Push(len) => len,
        Part::Map(pairs) | Part::Attributes(pairs) => pairs.saturating_mul(2),
    };
    text.push('[');
    for index in 0..values {
        if index > 0 {
            text.push_str(", ");
        }
        if text.len() >= REPLY_BYTES {
            text.push_str("...");
            break;
        }
        show(reader, text);
    }
    text.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_shown_on_one_line() {
        let long = format!("*300\r\n{}", ":12345\r\n".repeat(300));
        for (reply, expected) in [
            ("+OK\r\n", "OK"),
            ("-ERR no\r\n", "ERR no"),
            (":-5\r\n", "-5"),
            ("$3\r\na\r\n\r\n", "\"a\\r\\n\""),
            ("$-1\r\n", "nil"),
            ("*2\r\n$1\r\na\r\n*1\r\n:1\r\n", "[\"a\", [1]]"),
            ("*0\r\n", "[]"),
            ("%1\r\n+k\r\n#t\r\n", "[k, true]"),
        ] {
            assert_eq!(shown(reply.as_bytes()), expected);
        }
        let long = shown(long.as_bytes());
        assert!(long.len() < 2 * REPLY_BYTES && long.ends_with(", ...]"), "{long}");
        // Nested deeply: each bracket before the cut is closed after it.
        let deep = shown("*1\r\n".repeat(10_000).as_bytes());
        assert_eq!(deep, format!("{}...{}", "[".repeat(REPLY_BYTES), "]".repeat(REPLY_BYTES)));
    }

    #[test]
    fn words_and_calls_beyond_the_limits_are_cut() {
        let mut trace = Trace::default();
        let long = [b'x'; QUOTED_BYTES + 1];
        let words: Vec<&[u8]> = std::iter::repeat_n(long.as_slice(), WORDS + 1).collect();
        for _ in 0..MOST + 2 {
            trace.called(1, Duration::ZERO, &words, b":1\r\n");
            trace.wrote(b"k");
        }
        let first = trace.calls.first().map(|call| (call.words.len(), call.words.first().map(Vec::len)));
        assert_eq!(first, Some((WORDS + 1, Some(QUOTED_BYTES + 3))));
        assert_eq!((trace.calls.len(), trace.more, trace.written.len()), (MOST, 2, 1));
        assert_eq!(trace.fields(Duration::ZERO, 0).len() + 1, FIELDS);
    }
}
