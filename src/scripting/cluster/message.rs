//! The format of the messages between nodes.
//!
//! ```text
//! magic    8   "ATOMICsc"
//! version  1   1
//! kind     1   a letter
//! digest  20   the SHA1 of a script
//! check    4   the first bytes of the SHA1 of all before
//! source   n   in a message of the kind `S` only: the script with this digest, at most 256 KiB
//! ```
//!
//! A message with another magic or version is foreign: another module sent it, or another version of this one. Any other message that does
//! not have this format is malformed. So a changed bit is always noticed, also in the digest and in the source.

use crate::lua::Digest;

/// A longer script is not sent: the connection between two nodes carries their heartbeats, too.
pub const MAX_SOURCE: usize = 256 << 10;

const MAGIC: [u8; 8] = *b"ATOMICsc";
const VERSION: u8 = 1;

/// The lengths of what comes before the check, and before the source.
const CHECKED: usize = 30;
const HEAD: usize = 34;

/// A message about the script with a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub digest: Digest,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Whether the receiver has the script.
    Ask,
    /// The sender has it.
    Have,
    /// The sender does not have it, or cannot send it.
    Lack,
    /// The receiver is to send it.
    Fetch,
    /// The script itself.
    Source(Vec<u8>),
    /// The sender has fetched it, and can take the next one.
    Got,
    /// The sender lacked it, and has it now.
    Loaded,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// They are not meant for this version of this module.
    Foreign,
    Malformed,
}

impl Body {
    fn kind(&self) -> u8 {
        match self {
            Self::Ask => b'A',
            Self::Have => b'H',
            Self::Lack => b'L',
            Self::Fetch => b'F',
            Self::Source(_) => b'S',
            Self::Got => b'G',
            Self::Loaded => b'N',
        }
    }

    /// The inverse of [`Body::kind`], for a message that ends with these bytes.
    fn read(kind: u8, rest: &[u8]) -> Option<Self> {
        let body = match kind {
            b'S' if rest.len() <= MAX_SOURCE => return Some(Self::Source(rest.to_vec())),
            b'A' => Self::Ask,
            b'H' => Self::Have,
            b'L' => Self::Lack,
            b'F' => Self::Fetch,
            b'G' => Self::Got,
            b'N' => Self::Loaded,
            _ => return None,
        };
        rest.is_empty().then_some(body)
    }
}

fn check(head: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = Digest::of(head).bytes();
    [a, b, c, d]
}

impl Message {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let source = if let Body::Source(source) = &self.body { source.as_slice() } else { &[] };
        let mut bytes = Vec::with_capacity(HEAD.saturating_add(source.len()));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&[VERSION, self.body.kind()]);
        bytes.extend_from_slice(&self.digest.bytes());
        bytes.extend_from_slice(&check(&bytes));
        bytes.extend_from_slice(source);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        let (magic, rest) = bytes.split_first_chunk().ok_or(Refusal::Foreign)?;
        let (version, rest) = rest.split_first().ok_or(Refusal::Foreign)?;
        if *magic != MAGIC || *version != VERSION {
            return Err(Refusal::Foreign);
        }
        let read = || {
            let (kind, rest) = rest.split_first()?;
            let (digest, rest) = rest.split_first_chunk()?;
            let (sum, rest) = rest.split_first_chunk()?;
            let digest = Digest::from_bytes(*digest);
            let body = Body::read(*kind, rest)?;
            let is_whole = check(bytes.get(..CHECKED)?) == *sum;
            let is_the_script = !matches!(&body, Body::Source(source) if Digest::of(source) != digest);
            (is_whole && is_the_script).then_some(Self { digest, body })
        };
        read().ok_or(Refusal::Malformed)
    }
}

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &[u8] = b"return 1";

    fn messages() -> Vec<Message> {
        let bodies = [Body::Ask, Body::Have, Body::Lack, Body::Fetch, Body::Source(SCRIPT.to_vec()), Body::Got, Body::Loaded];
        bodies.into_iter().map(|body| Message { digest: Digest::of(SCRIPT), body }).collect()
    }

    /// What is not recognized as a message of this module is foreign.
    fn expected(position: usize) -> Err {
        Err(if position < MAGIC.len() + 1 { Refusal::Foreign } else { Refusal::Malformed })
    }

    type Err = Result<Message, Refusal>;

    #[test]
    fn a_message_reads_back_as_it_was() {
        for message in messages() {
            assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let ask = Message { digest: Digest::of(SCRIPT), body: Body::Ask }.encode();
        assert_eq!(ask.len(), HEAD);
        assert_eq!(ask[..10], *b"ATOMICsc\x01A");
        assert_eq!(ask[10..30], Digest::of(SCRIPT).bytes());
        assert_eq!(ask[30..], Digest::of(&ask[..30]).bytes()[..4]);
        let source = Message { digest: Digest::of(SCRIPT), body: Body::Source(SCRIPT.to_vec()) }.encode();
        assert_eq!(source[34..], *SCRIPT);
    }

    #[test]
    fn every_truncation_is_noticed() {
        for bytes in messages().iter().map(Message::encode) {
            for length in 0..bytes.len() {
                assert_eq!(Message::decode(&bytes[..length]), expected(length), "{length}");
            }
        }
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        for bytes in messages().iter().map(Message::encode) {
            for position in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[position] ^= 1 << bit;
                    assert_eq!(Message::decode(&changed), expected(position), "byte {position}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn other_bytes_are_no_message() {
        let encode = |digest, body| Message { digest, body }.encode();
        let long = vec![b' '; MAX_SOURCE + 1];
        let [most, too_long] = [&long[1..], &long].map(|source| encode(Digest::of(source), Body::Source(source.to_vec())));
        assert!(Message::decode(&most).is_ok());
        let longer = [encode(Digest::of(SCRIPT), Body::Ask), vec![0]].concat();
        let another = encode(Digest::of(b"return 2"), Body::Source(SCRIPT.to_vec()));
        let unknown = {
            let mut head = encode(Digest::of(SCRIPT), Body::Ask)[..30].to_vec();
            head[9] = b'a';
            [head.clone(), check(&head).to_vec()].concat()
        };
        for (what, bytes) in [("too long", too_long), ("a body", longer), ("another script", another), ("a kind", unknown)] {
            assert_eq!(Message::decode(&bytes), Err(Refusal::Malformed), "{what}");
        }
        for bytes in [&b""[..], b"ATOMICsc", b"ATOMICsc\x02A", b"atomicsc\x01A", &[0; 100]] {
            assert_eq!(Message::decode(bytes), Err(Refusal::Foreign));
        }
    }
}
