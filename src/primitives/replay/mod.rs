//! The stored reply of a command that must run once.
//!
//! A record is one string: a digest of the command's words, then either the protocol text of its reply or a mark that the reply was too
//! large to keep. The key expires when the record need not be kept any longer.
//!
//! Invariants: a record answers the words that made it and no others; it never changes; a kept reply is exactly one value of the
//! protocol, no error, and within the limits on size and nesting, so that every reader of it is bounded.

use sha1::{Digest as _, Sha1};

use super::codec::{Bytes, Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::resp::is_one_value;
use super::time::UnixMs;

#[cfg(test)]
mod tests;

/// The name of this format in error messages.
pub const FORMAT: &str = "a stored reply (format RP1)";

/// The largest reply that is kept, as protocol text.
pub const MAX_REPLY_BYTES: usize = 1 << 20;

/// The deepest nesting that is kept. The server's own script engine reads replies recursively.
pub const MAX_DEPTH: usize = 128;

const MAGIC: &[u8] = b"\xa7RP\x01";

const REPLY: u128 = 0;
const TOO_LARGE: u128 = 1;

/// A digest of a command's words, byte for byte: SHA1 of each word after its length.
///
/// It guards against a key that is used for two commands by mistake. Two commands that collide on purpose only hurt the client that sends
/// them, so SHA1 is strong enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordsDigest([u8; 20]);

impl WordsDigest {
    #[must_use]
    pub fn of<'w>(words: impl Iterator<Item = &'w [u8]>) -> Self {
        let mut sha1 = Sha1::new();
        for word in words {
            sha1.update(u64::try_from(word.len()).unwrap_or(u64::MAX).to_be_bytes());
            sha1.update(word);
        }
        Self(sha1.finalize().into())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    words: WordsDigest,
    /// `None` if the reply was too large to keep.
    reply: Option<Vec<u8>>,
}

impl Record {
    /// The record of a command that has run. Its `reply` is protocol text, and not an error.
    #[must_use]
    pub fn new(words: WordsDigest, reply: &[u8]) -> Self {
        Self { words, reply: is_kept(reply).then(|| reply.to_vec()) }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.literal(MAGIC)?;
        let words = WordsDigest(reader.bytes(20)?.try_into().map_err(|_| Corrupt)?);
        let reply = match reader.uint(1)? {
            REPLY => {
                let len = usize::try_from(reader.u64(3)?).map_err(|_| Corrupt)?;
                let text = reader.bytes(len)?;
                if text.starts_with(b"-") || text.starts_with(b"!") || !is_kept(text) {
                    return Err(Corrupt);
                }
                Some(text.to_vec())
            }
            TOO_LARGE => None,
            _ => return Err(Corrupt),
        };
        reader.finish()?;
        Ok(Self { words, reply })
    }

    fn encode(&self) -> Bytes {
        let mut out = Bytes::from_slice(MAGIC);
        out.extend_from_slice(&self.words.0);
        match &self.reply {
            Some(text) => {
                put_uint(&mut out, REPLY, 1);
                put_uint(&mut out, u128::try_from(text.len()).unwrap_or(0), 3);
                out.extend_from_slice(text);
            }
            None => put_uint(&mut out, TOO_LARGE, 1),
        }
        out
    }

    /// Stores the record until then.
    #[must_use]
    pub fn put(&self, until: UnixMs) -> Effect<Bytes> {
        Effect::Put { value: self.encode(), expiry: Expiry::At(until) }
    }
}

/// Whether a record keeps this reply.
fn is_kept(text: &[u8]) -> bool {
    text.len() <= MAX_REPLY_BYTES && is_one_value(text, MAX_DEPTH)
}

/// What to do with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has not run.
    Run,
    /// It has run, and this was its reply.
    Replay(Vec<u8>),
    /// It has run, and its reply was not kept.
    TooLarge,
    /// The key belongs to another command.
    Mismatch,
}

/// Answers a command by the record at its key.
#[must_use]
pub fn answer(stored: Option<Record>, words: WordsDigest) -> Answer {
    match stored {
        None => Answer::Run,
        Some(record) if record.words != words => Answer::Mismatch,
        Some(Record { reply: Some(text), .. }) => Answer::Replay(text),
        Some(Record { reply: None, .. }) => Answer::TooLarge,
    }
}
