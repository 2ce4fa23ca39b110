//! Idempotency records: an attempt at a request in flight, or the response.
//!
//! A record is one string: the fingerprint of the request and the token of its attempt, then either the deadline of the attempt, or the
//! response that it stored. The key expires at the deadline of the attempt, or when the response need not be kept any longer.
//!
//! Invariants: a request has at most one attempt with a valid lease; only that attempt stores a response, once; a stored response never
//! changes; a request with another fingerprint never gets the response. A client that sends a request again, because its reply was lost,
//! gets the same answer if it named its attempt, and its lease does not get longer.

use super::codec::{Bytes, Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::lock::MAX_FENCE;
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// The name of this format in error messages.
pub const FORMAT: &str = "an idempotency record (format ID2)";

pub const MAX_FINGERPRINT_BYTES: usize = 255;
pub const MAX_TOKEN_BYTES: usize = 255;

const MAGIC: &[u8] = b"\xa7ID\x02";
/// The magic of records that are still read, but no longer written. They have numbers as tokens, and none with a response.
const MAGIC_1: &[u8] = b"\xa7ID\x01";

const IN_FLIGHT: u8 = 0;
const DONE: u8 = 1;

/// Identifies one attempt at a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// Made by the server. Each number is higher than every earlier one of this process and of the record.
    Number(u64),
    /// Chosen by the client, 1 to [`MAX_TOKEN_BYTES`] bytes.
    Named(Vec<u8>),
}

impl Token {
    /// The form that clients get and send.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Named(name) => name.clone(),
        }
    }

    /// This token for a new attempt after the one of `earlier`, which must not be able to end it.
    fn after(self, earlier: &Self) -> Self {
        match (self, earlier) {
            (Self::Number(number), Self::Number(last)) => Self::Number(number.max(last.saturating_add(1))),
            (Self::Number(number), name) if name.text() == number.to_string().as_bytes() => {
                Self::Number(number.saturating_add(1))
            }
            (token, _) => token,
        }
    }

    fn decode(reader: &mut Reader) -> Result<Self, Corrupt> {
        let name = counted(reader, 1)?;
        if name.is_empty() { Self::decode_number(reader) } else { Ok(Self::Named(name)) }
    }

    fn decode_number(reader: &mut Reader) -> Result<Self, Corrupt> {
        let number = reader.u64(8)?;
        if number <= MAX_FENCE { Ok(Self::Number(number)) } else { Err(Corrupt) }
    }

    fn encode(&self, out: &mut Bytes) {
        match self {
            Self::Number(number) => {
                put_counted(out, b"", 1);
                put_uint(out, (*number).into(), 8);
            }
            Self::Named(name) => put_counted(out, name, 1),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Identifies the request, 1 to [`MAX_FINGERPRINT_BYTES`] bytes.
    pub fingerprint: Vec<u8>,
    pub phase: Phase,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    InFlight {
        token: Token,
        /// The end of the attempt's lease.
        deadline: UnixMs,
    },
    Done {
        /// The attempt that stored the response; records of version 1 do not know it.
        token: Option<Token>,
        response: Vec<u8>,
        /// The expiry time of the key, which is not part of the value.
        until: Option<UnixMs>,
    },
}

impl Record {
    pub fn decode(bytes: &[u8], until: Option<UnixMs>) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        let numbers_only = match reader.bytes(MAGIC.len())? {
            MAGIC => false,
            MAGIC_1 => true,
            _ => return Err(Corrupt),
        };
        let done = match reader.bytes(1)? {
            [IN_FLIGHT] => false,
            [DONE] => true,
            _ => return Err(Corrupt),
        };
        let fingerprint = counted(&mut reader, 1)?;
        let token = match (numbers_only, done) {
            (false, _) => Some(Token::decode(&mut reader)?),
            (true, false) => Some(Token::decode_number(&mut reader)?),
            (true, true) => None,
        };
        let phase = match token {
            Some(token) if !done => Phase::InFlight { token, deadline: UnixMs(reader.u64(6)?) },
            token => Phase::Done { token, response: counted(&mut reader, 6)?, until },
        };
        reader.finish()?;
        if fingerprint.is_empty() { Err(Corrupt) } else { Ok(Self { fingerprint, phase }) }
    }
}

fn encode_in_flight(fingerprint: &[u8], token: &Token, deadline: UnixMs) -> Bytes {
    let mut out = head(IN_FLIGHT, fingerprint, token);
    put_uint(&mut out, deadline.0.into(), 6);
    out
}

fn encode_done(fingerprint: &[u8], token: &Token, response: &[u8]) -> Bytes {
    let mut out = head(DONE, fingerprint, token);
    put_counted(&mut out, response, 6);
    out
}

fn head(phase: u8, fingerprint: &[u8], token: &Token) -> Bytes {
    let mut out = Bytes::from_slice(MAGIC);
    out.push(phase);
    put_counted(&mut out, fingerprint, 1);
    token.encode(&mut out);
    out
}

fn counted(reader: &mut Reader, width: usize) -> Result<Vec<u8>, Corrupt> {
    let len = usize::try_from(reader.u64(width)?).map_err(|_| Corrupt)?;
    Ok(reader.bytes(len)?.to_vec())
}

fn put_counted(out: &mut Bytes, bytes: &[u8], width: usize) {
    put_uint(out, u128::try_from(bytes.len()).unwrap_or(0), width);
    out.extend_from_slice(bytes);
}

/// The outcome of [`begin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The caller's attempt holds the request until the deadline: it is new, or it is the one that the caller named.
    Held { token: Token, deadline: UnixMs },
    /// Another attempt holds the request until then.
    InFlight(UnixMs),
    Done {
        response: Vec<u8>,
        /// When the record expires; `None` means never.
        until: Option<UnixMs>,
    },
    /// The key belongs to another request until then.
    Mismatch(Option<UnixMs>),
}

/// Begins an attempt with a `lease`, unless the request is in flight or done. A number as `token` is raised above the one in the record.
#[must_use]
pub fn begin(stored: Option<Record>, fingerprint: &[u8], lease: DurationMs, token: Token, now: UnixMs) -> (Begun, Effect<Bytes>) {
    let mismatch = stored.as_ref().is_some_and(|record| record.fingerprint != fingerprint);
    let begun = match stored.map(|record| record.phase) {
        Some(Phase::InFlight { token: last, deadline }) if deadline <= now => {
            return started(fingerprint, lease, token.after(&last), now);
        }
        None => return started(fingerprint, lease, token, now),
        Some(Phase::InFlight { deadline, .. }) if mismatch => Begun::Mismatch(Some(deadline)),
        Some(Phase::InFlight { token: held, deadline }) => match token {
            Token::Named(name) if held.text() == name => Begun::Held { token: held, deadline },
            _ => Begun::InFlight(deadline),
        },
        Some(Phase::Done { until, .. }) if mismatch => Begun::Mismatch(until),
        Some(Phase::Done { response, until, .. }) => Begun::Done { response, until },
    };
    (begun, Effect::Keep)
}

fn started(fingerprint: &[u8], lease: DurationMs, token: Token, now: UnixMs) -> (Begun, Effect<Bytes>) {
    let deadline = now.plus(lease);
    let value = encode_in_flight(fingerprint, &token, deadline);
    (Begun::Held { token, deadline }, Effect::Put { value, expiry: Expiry::At(deadline) })
}

/// The outcome of [`end`] and [`abort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Applied,
    /// This token does not hold the request, or no longer holds it.
    NotTheToken,
    NoSuchKey,
}

impl Ended {
    /// The reply: 1, 0 or -1.
    #[must_use]
    pub fn reply(self) -> i64 {
        match self {
            Self::Applied => 1,
            Self::NotTheToken => 0,
            Self::NoSuchKey => -1,
        }
    }
}

/// Stores the response of the attempt `given` and keeps it for `keep`. The attempt that has stored one already has ended: nothing changes.
#[must_use]
pub fn end(stored: Option<Record>, given: &[u8], response: &[u8], keep: DurationMs, now: UnixMs) -> (Ended, Effect<Bytes>) {
    match stored {
        None => (Ended::NoSuchKey, Effect::Keep),
        Some(Record { fingerprint, phase: Phase::InFlight { token, deadline } }) if deadline > now && token.text() == given => {
            let value = encode_done(&fingerprint, &token, response);
            (Ended::Applied, Effect::Put { value, expiry: Expiry::At(now.plus(keep)) })
        }
        Some(Record { phase: Phase::Done { token: Some(token), .. }, .. }) if token.text() == given => {
            (Ended::Applied, Effect::Keep)
        }
        Some(_) => (Ended::NotTheToken, Effect::Keep),
    }
}

/// Abandons the attempt `given`, so that the request can be retried.
#[must_use]
pub fn abort(stored: Option<Record>, given: &[u8], now: UnixMs) -> (Ended, Effect<Bytes>) {
    match stored {
        None => (Ended::NoSuchKey, Effect::Keep),
        Some(Record { phase: Phase::InFlight { token, deadline }, .. }) if deadline > now && token.text() == given => {
            (Ended::Applied, Effect::Delete)
        }
        Some(_) => (Ended::NotTheToken, Effect::Keep),
    }
}
