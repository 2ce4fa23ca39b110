//! Idempotency records: who is working on a request, and what came of it.
//!
//! A record is one string: the fingerprint of the request, then either the token and the deadline of the one who works on it, or
//! the response. The key's TTL is the deadline, then whatever the response is kept for.
//!
//! What must stay true: a request has at most one worker whose lease lasts; only that one stores a response, once; a stored
//! response never changes; a request with another fingerprint never gets a response that is not its own.

use super::codec::{Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::lock::MAX_FENCE;
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// What an error calls this format.
pub const FORMAT: &str = "an idempotency record (format ID1)";

/// The longest fingerprint.
pub const MAX_FINGERPRINT_BYTES: usize = 255;

const MAGIC: &[u8] = b"\xa7ID\x01";

/// What names one attempt at a request: above every earlier number of this process and of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

impl Token {
    /// The token as clients see it.
    #[must_use]
    pub fn text(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the client recognises the request by, 1 to [`MAX_FINGERPRINT_BYTES`] bytes.
    pub fingerprint: Vec<u8>,
    /// How far it is.
    pub phase: Phase,
}

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Somebody works on it.
    InFlight {
        /// The attempt.
        token: Token,
        /// The end of the attempt's lease.
        deadline: UnixMs,
    },
    /// It has a response.
    Done {
        /// Any bytes.
        response: Vec<u8>,
        /// The end of the key, which is not part of the value.
        until: Option<UnixMs>,
    },
}

impl Record {
    /// Reads a record.
    pub fn decode(bytes: &[u8], until: Option<UnixMs>) -> Result<Self, Corrupt> {
        let mut reader = Reader::new(bytes);
        reader.literal(MAGIC)?;
        let phase = reader.u64(1)?;
        let fingerprint = counted(&mut reader, 1)?;
        let phase = match phase {
            0 => Phase::InFlight { token: Token(reader.u64(8)?), deadline: UnixMs(reader.u64(6)?) },
            1 => Phase::Done { response: counted(&mut reader, 6)?, until },
            _ => return Err(Corrupt),
        };
        reader.finish()?;
        let crafted = matches!(phase, Phase::InFlight { token: Token(token), .. } if token > MAX_FENCE);
        if fingerprint.is_empty() || crafted { Err(Corrupt) } else { Ok(Self { fingerprint, phase }) }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_uint(&mut out, u128::from(matches!(self.phase, Phase::Done { .. })), 1);
        put_counted(&mut out, &self.fingerprint, 1);
        match &self.phase {
            Phase::InFlight { token, deadline } => {
                put_uint(&mut out, token.0.into(), 8);
                put_uint(&mut out, deadline.0.into(), 6);
            }
            Phase::Done { response, .. } => put_counted(&mut out, response, 6),
        }
        out
    }

    fn put(&self, until: UnixMs) -> Effect<Vec<u8>> {
        Effect::Put { value: self.encode(), expiry: Expiry::At(until) }
    }

    /// Whether this token's attempt is the one that works on the request now.
    fn is_held_by(&self, given: &[u8], now: UnixMs) -> bool {
        matches!(self.phase, Phase::InFlight { token, deadline } if deadline > now && token.text() == given)
    }
}

fn counted(reader: &mut Reader, width: usize) -> Result<Vec<u8>, Corrupt> {
    let len = usize::try_from(reader.u64(width)?).map_err(|_| Corrupt)?;
    Ok(reader.bytes(len)?.to_vec())
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8], width: usize) {
    put_uint(out, u128::try_from(bytes.len()).unwrap_or(0), width);
    out.extend(bytes);
}

/// The answer to who begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// The caller works on the request from now on.
    New(Token),
    /// Somebody else does, until then.
    InFlight(UnixMs),
    /// This is the response.
    Done {
        /// As it was stored.
        response: Vec<u8>,
        /// How long it is kept; `None` without an end.
        until: Option<UnixMs>,
    },
    /// The key belongs to another request, until then.
    Mismatch(Option<UnixMs>),
}

/// Begins a request for `lease`, unless it is in flight or done. `number` is the token that a new attempt gets, unless the record
/// has seen a higher one.
#[must_use]
pub fn begin(
    stored: Option<Record>,
    fingerprint: &[u8],
    lease: DurationMs,
    number: u64,
    now: UnixMs,
) -> (Begun, Effect<Vec<u8>>) {
    let mismatch = stored.as_ref().is_some_and(|record| record.fingerprint != fingerprint);
    let begun = match stored.map(|record| record.phase) {
        Some(Phase::InFlight { token, deadline }) if deadline <= now => {
            return started(fingerprint, lease, number.max(token.0.saturating_add(1)), now);
        }
        None => return started(fingerprint, lease, number, now),
        Some(Phase::InFlight { deadline, .. }) if mismatch => Begun::Mismatch(Some(deadline)),
        Some(Phase::InFlight { deadline, .. }) => Begun::InFlight(deadline),
        Some(Phase::Done { until, .. }) if mismatch => Begun::Mismatch(until),
        Some(Phase::Done { response, until }) => Begun::Done { response, until },
    };
    (begun, Effect::Keep)
}

fn started(fingerprint: &[u8], lease: DurationMs, number: u64, now: UnixMs) -> (Begun, Effect<Vec<u8>>) {
    let (token, deadline) = (Token(number), now.plus(lease));
    let record = Record { fingerprint: fingerprint.to_vec(), phase: Phase::InFlight { token, deadline } };
    (Begun::New(token), record.put(deadline))
}

/// What an attempt is told that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is done.
    Applied,
    /// The record is not, or not any more, in the hands of this token.
    NotTheToken,
    /// There is no record.
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

/// Stores the response of the attempt `token`, for `keep`.
#[must_use]
pub fn end(stored: Option<Record>, token: &[u8], response: &[u8], keep: DurationMs, now: UnixMs) -> (Ended, Effect<Vec<u8>>) {
    when_held(stored, token, now, |record| {
        let until = now.plus(keep);
        let phase = Phase::Done { response: response.to_vec(), until: Some(until) };
        Record { fingerprint: record.fingerprint, phase }.put(until)
    })
}

/// Gives the request up, so that the next one can begin.
#[must_use]
pub fn abort(stored: Option<Record>, token: &[u8], now: UnixMs) -> (Ended, Effect<Vec<u8>>) {
    when_held(stored, token, now, |_| Effect::Delete)
}

fn when_held(
    stored: Option<Record>,
    token: &[u8],
    now: UnixMs,
    effect: impl FnOnce(Record) -> Effect<Vec<u8>>,
) -> (Ended, Effect<Vec<u8>>) {
    match stored {
        None => (Ended::NoSuchKey, Effect::Keep),
        Some(record) if record.is_held_by(token, now) => (Ended::Applied, effect(record)),
        Some(_) => (Ended::NotTheToken, Effect::Keep),
    }
}
