//! The reply of a command as a value, and its transmission.
//!
//! A handler returns its reply, and nothing is sent before the handler returns, so a panic can still become one clean error. User bytes
//! are bulk strings, and counts are integers; no simple string contains data. The server converts a map to a flat array for RESP2.

use std::borrow::Cow;
use std::ffi::{CString, c_long};
use std::io::Write as _;

use super::module_api::{Ctx, api};
use crate::error::{Error, UNCUT, printable};
use crate::primitives::codec::Bytes;
use crate::primitives::resp::{Part, Reader};
use crate::primitives::time::UnixMs;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Integer(i64),
    /// The null of the client's protocol.
    Null,
    Bulk(Vec<u8>),
    /// An array of strings. Short ones have no allocation of their own.
    Strings(Vec<Bytes>),
    /// An array of a number, perhaps a second one, and a string.
    Found(i64, Option<i64>, Bytes),
    /// A short array of integers, the most common reply.
    Integers(Integers),
    Array(Vec<Reply>),
    /// A map with constant names.
    Map(Vec<(&'static str, Reply)>),
    /// A map with dynamic names.
    Pairs(Vec<(Reply, Reply)>),
    /// `+OK`
    Ok,
    /// An array of constant lines, the reply of HELP.
    Lines(&'static [&'static str]),
    /// The handler has sent exactly one complete reply itself (the result of a script).
    Sent,
    /// The client waits; its reply follows later.
    Later,
}

/// Up to six integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Integers {
    values: [i64; 6],
    len: usize,
}

impl<const N: usize> From<[i64; N]> for Reply {
    fn from(source: [i64; N]) -> Self {
        const { assert!(N <= 6, "more integers than the short form holds") };
        let mut values = [0; 6];
        for (to, from) in values.iter_mut().zip(source) {
            *to = from;
        }
        Self::Integers(Integers { values, len: N })
    }
}

impl Reply {
    /// A bulk string of constant text.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    pub fn send(&self, ctx: Ctx) {
        match self {
            Self::Integer(value) => ctx.reply_integer(*value),
            Self::Null => ctx.reply_null(),
            Self::Bulk(bytes) => ctx.reply_bulk(bytes),
            Self::Strings(strings) => {
                ctx.reply_array(strings.len());
                strings.iter().for_each(|string| ctx.reply_bulk(string));
            }
            Self::Found(first, second, string) => {
                ctx.reply_array(if second.is_some() { 3 } else { 2 });
                [Some(*first), *second].into_iter().flatten().for_each(|number| ctx.reply_integer(number));
                ctx.reply_bulk(string);
            }
            Self::Integers(Integers { values, len }) => {
                ctx.reply_array(*len);
                values.iter().take(*len).for_each(|value| ctx.reply_integer(*value));
            }
            Self::Array(replies) => {
                ctx.reply_array(replies.len());
                replies.iter().for_each(|reply| reply.send(ctx));
            }
            Self::Map(pairs) => {
                ctx.reply_map(pairs.len());
                for (name, reply) in pairs {
                    ctx.reply_bulk(name.as_bytes());
                    reply.send(ctx);
                }
            }
            Self::Pairs(pairs) => {
                ctx.reply_map(pairs.len());
                pairs.iter().for_each(|(name, reply)| [name, reply].into_iter().for_each(|reply| reply.send(ctx)));
            }
            Self::Ok => ctx.reply_ok(),
            Self::Lines(lines) => {
                ctx.reply_array(lines.len());
                lines.iter().for_each(|line| ctx.reply_status(line));
            }
            Self::Sent | Self::Later => {}
        }
    }

    /// Appends the reply as protocol text, as `send` would send it to a RESP3 or a RESP2 client.
    pub fn encode(&self, resp3: bool, text: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => head(text, ':', value),
            Self::Null => text.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" }),
            Self::Bulk(bytes) => encode_bulk(bytes, text),
            Self::Strings(strings) => {
                head(text, '*', strings.len());
                strings.iter().for_each(|string| encode_bulk(string, text));
            }
            Self::Found(first, second, string) => {
                head(text, '*', if second.is_some() { 3 } else { 2 });
                [Some(*first), *second].into_iter().flatten().for_each(|number| head(text, ':', number));
                encode_bulk(string, text);
            }
            Self::Integers(Integers { values, len }) => {
                head(text, '*', len);
                values.iter().take(*len).for_each(|value| head(text, ':', value));
            }
            Self::Array(replies) => {
                head(text, '*', replies.len());
                replies.iter().for_each(|reply| reply.encode(resp3, text));
            }
            Self::Map(pairs) => {
                map_head(resp3, pairs.len(), text);
                for (name, reply) in pairs {
                    encode_bulk(name.as_bytes(), text);
                    reply.encode(resp3, text);
                }
            }
            Self::Pairs(pairs) => {
                map_head(resp3, pairs.len(), text);
                pairs.iter().for_each(|(name, reply)| [name, reply].into_iter().for_each(|reply| reply.encode(resp3, text)));
            }
            Self::Ok => text.extend_from_slice(b"+OK\r\n"),
            Self::Lines(lines) => {
                head(text, '*', lines.len());
                lines.iter().for_each(|line| text.extend_from_slice(format!("+{line}\r\n").as_bytes()));
            }
            Self::Sent | Self::Later => {}
        }
    }
}

/// A line of the protocol: its type and a number.
fn head(text: &mut Vec<u8>, kind: char, number: impl std::fmt::Display) {
    // Writing into a Vec cannot fail.
    let _ = write!(text, "{kind}{number}\r\n");
}

fn map_head(resp3: bool, pairs: usize, text: &mut Vec<u8>) {
    if resp3 { head(text, '%', pairs) } else { head(text, '*', pairs.saturating_mul(2)) }
}

fn encode_bulk(bytes: &[u8], text: &mut Vec<u8>) {
    head(text, '$', bytes.len());
    text.extend_from_slice(bytes);
    text.extend_from_slice(b"\r\n");
}

/// A count, an index or a fence as a reply integer. Every value of this module fits.
#[must_use]
pub fn number(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

/// A TTL as a reply integer: milliseconds, -1 for none.
#[must_use]
pub fn ttl(until: Option<UnixMs>, now: UnixMs) -> i64 {
    until.map_or(-1, |until| until.since(now).reply())
}

/// A length for the server. Every reply is short enough.
fn length(len: usize) -> c_long {
    c_long::try_from(len).unwrap_or(c_long::MAX)
}

impl Ctx {
    /// `:value`
    pub fn reply_integer(self, value: i64) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithLongLong)(self.raw(), value) };
    }

    /// `$len bytes`
    pub fn reply_bulk(self, bytes: &[u8]) {
        // SAFETY: the context belongs to the running command; the server copies the bytes.
        unsafe { api!(RedisModule_ReplyWithStringBuffer)(self.raw(), bytes.as_ptr().cast(), bytes.len()) };
    }

    /// `*len`
    pub fn reply_array(self, len: usize) {
        // SAFETY: the context belongs to the running command; the caller sends `len` replies next.
        unsafe { api!(RedisModule_ReplyWithArray)(self.raw(), length(len)) };
    }

    /// `%len`, or `*2len` in RESP2.
    pub fn reply_map(self, len: usize) {
        // SAFETY: the context belongs to the running command; the caller sends `len` pairs of replies next.
        unsafe { api!(RedisModule_ReplyWithMap)(self.raw(), length(len)) };
    }

    /// `~len`, or `*len` in RESP2.
    pub fn reply_set(self, len: usize) {
        // SAFETY: the context belongs to the running command; the caller sends `len` replies next.
        unsafe { api!(RedisModule_ReplyWithSet)(self.raw(), length(len)) };
    }

    /// `#t` or `#f`, an integer in RESP2.
    pub fn reply_bool(self, value: bool) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithBool)(self.raw(), value.into()) };
    }

    /// The null of the client's protocol.
    pub fn reply_null(self) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithNull)(self.raw()) };
    }

    /// The null array of RESP2, or the null of RESP3.
    pub fn reply_null_array(self) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithNullArray)(self.raw()) };
    }

    /// `,value`, or a bulk string in RESP2.
    pub fn reply_double(self, value: f64) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithDouble)(self.raw(), value) };
    }

    /// `(digits`, or a bulk string in RESP2. RESP3 sends the digits unescaped, so a line break, which would start another reply, becomes
    /// a space.
    pub fn reply_big_number(self, digits: &[u8]) {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let digits: Cow<'_, [u8]> = if digits.iter().any(is_break) {
            digits.iter().map(|byte| if is_break(byte) { b' ' } else { *byte }).collect()
        } else {
            digits.into()
        };
        // SAFETY: the context belongs to the running command; the server copies the bytes.
        unsafe { api!(RedisModule_ReplyWithBigNumber)(self.raw(), digits.as_ptr().cast(), digits.len()) };
    }

    /// `=len fmt:bytes`, or a bulk string in RESP2. The format has three letters; a shorter one is filled up with spaces.
    pub fn reply_verbatim(self, format: &[u8], bytes: &[u8]) {
        let mut name = *b"   \0";
        for (to, from) in name.iter_mut().take(3).zip(format) {
            *to = *from;
        }
        let format = name;
        // SAFETY: the context belongs to the running command; the server copies the bytes and three letters of the format.
        unsafe {
            api!(RedisModule_ReplyWithVerbatimStringType)(self.raw(), bytes.as_ptr().cast(), bytes.len(), format.as_ptr().cast())
        };
    }

    /// `+OK`
    pub fn reply_ok(self) {
        // SAFETY: the context belongs to the running command, and the text is a constant C string.
        unsafe { api!(RedisModule_ReplyWithSimpleString)(self.raw(), c"OK".as_ptr()) };
    }

    /// `+text`; every caller passes printable ASCII.
    pub fn reply_status(self, text: &str) {
        let Ok(text) = CString::new(text) else { return self.reply_null() };
        // SAFETY: the context belongs to the running command; the server copies the C string, which has no line break.
        unsafe { api!(RedisModule_ReplyWithSimpleString)(self.raw(), text.as_ptr()) };
    }

    /// `-CODE text`, from the one renderer.
    pub fn reply_error(self, error: &Error) {
        self.reply_error_text(&error.wire());
    }

    /// `-text`; the text comes from the one renderer.
    pub fn reply_error_text(self, text: &str) {
        let text = CString::new(text).unwrap_or_else(|_| c"ERR unprintable error".to_owned());
        // SAFETY: the context belongs to the running command; the server copies the C string of printable ASCII.
        unsafe { api!(RedisModule_ReplyWithError)(self.raw(), text.as_ptr()) };
    }

    /// `ERR wrong number of arguments for '...' command`, the server's own text.
    pub fn reply_wrong_arity(self) {
        // SAFETY: the context belongs to the running command.
        unsafe { api!(RedisModule_WrongArity)(self.raw()) };
    }
}

impl Ctx {
    /// Sends the reply of a command from its protocol text, which must be one whole value. To a client of the other protocol it is sent as
    /// the server sends such values there: only heads and scalars change. Attributes are dropped.
    pub fn reply_protocol(self, text: &[u8]) {
        let mut reader = Reader::new(text);
        while let Some(part) = reader.part() {
            match part {
                Part::Status(text) => self.reply_status(&printable(text, UNCUT)),
                Part::Error(text) => self.reply_error_text(&printable(text, UNCUT)),
                Part::Integer(value) => self.reply_integer(value),
                Part::Bulk(bytes) => self.reply_bulk(bytes),
                Part::Absent | Part::Null => self.reply_null(),
                Part::AbsentArray => self.reply_null_array(),
                Part::Bool(value) => self.reply_bool(value),
                Part::Double(digits) => match std::str::from_utf8(digits).map(str::parse) {
                    Ok(Ok(value)) => self.reply_double(value),
                    _ => self.reply_bulk(digits),
                },
                Part::BigNumber(digits) => self.reply_big_number(digits),
                Part::Verbatim { format, text } => self.reply_verbatim(format, text),
                Part::Array(len) | Part::Push(len) => self.reply_array(len),
                Part::Set(len) => self.reply_set(len),
                Part::Map(pairs) => self.reply_map(pairs),
                Part::Attributes(pairs) => {
                    reader.skip(pairs.saturating_mul(2));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocol_text_is_that_of_the_protocol() {
        let map = Reply::Map(vec![("a", Reply::Null), ("b", Reply::Array(vec![]))]);
        for (reply, resp2, resp3) in [
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::text(""), "$0\r\n\r\n", "$0\r\n\r\n"),
            (Reply::text("a\r\nb"), "$4\r\na\r\nb\r\n", "$4\r\na\r\nb\r\n"),
            (Reply::from([1, -2]), "*2\r\n:1\r\n:-2\r\n", "*2\r\n:1\r\n:-2\r\n"),
            (Reply::Ok, "+OK\r\n", "+OK\r\n"),
            (Reply::Strings(vec![Bytes::from_slice(b"a")]), "*1\r\n$1\r\na\r\n", "*1\r\n$1\r\na\r\n"),
            (Reply::Found(1, None, Bytes::new()), "*2\r\n:1\r\n$0\r\n\r\n", "*2\r\n:1\r\n$0\r\n\r\n"),
            (Reply::Found(0, Some(-1), Bytes::new()), "*3\r\n:0\r\n:-1\r\n$0\r\n\r\n", "*3\r\n:0\r\n:-1\r\n$0\r\n\r\n"),
            (map.clone(), "*4\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n*0\r\n", "%2\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n*0\r\n"),
            (
                Reply::Array(vec![map]),
                "*1\r\n*4\r\n$1\r\na\r\n$-1\r\n$1\r\nb\r\n*0\r\n",
                "*1\r\n%2\r\n$1\r\na\r\n_\r\n$1\r\nb\r\n*0\r\n",
            ),
        ] {
            for (protocol, expected) in [(false, resp2), (true, resp3)] {
                let mut text = Vec::new();
                reply.encode(protocol, &mut text);
                assert_eq!(String::from_utf8_lossy(&text), expected);
            }
        }
    }
}
