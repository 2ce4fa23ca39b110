//! Idempotency records: an attempt at a request in flight, or the response.
//!
//! A record is one string: the fingerprint of the request, then either the token and the deadline of the attempt, or the response. The
//! key expires at the deadline of the attempt, or when the response need not be kept any longer.
//!
//! Invariants: a request has at most one attempt with a valid lease; only that attempt stores a response, once; a stored response never
//! changes; a request with another fingerprint never gets the response.

use super::codec::{Corrupt, Reader, put_uint};
use super::effect::{Effect, Expiry};
use super::lock::MAX_FENCE;
use super::time::{DurationMs, UnixMs};

#[cfg(test)]
mod tests;

/// The name of this format in error messages.
pub const FORMAT: &str = "an idempotency record (format ID1)";

pub const MAX_FINGERPRINT_BYTES: usize = 255;

const MAGIC: &[u8] = b"\xa7ID\x01";

/// Identifies one attempt at a request. Each number is higher than every earlier one of this process and of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(pub u64);

impl Token {
    /// The form that clients get and send.
    #[must_use]
    pub fn text(self) -> Vec<u8> {
        self.0.to_string().into_bytes()
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
        response: Vec<u8>,
        /// The expiry time of the key, which is not part of the value.
        until: Option<UnixMs>,
    },
}

impl Record {
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

    /// Whether this token holds the request now.
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

/// The outcome of [`begin`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// A new attempt has begun.
    New(Token),
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

/// Begins an attempt with a `lease`, unless the request is in flight or done. The token is `number`, or the next above the token in the
/// record if that is higher.
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

/// Stores the response of the attempt `token` and keeps it for `keep`.
#[must_use]
pub fn end(stored: Option<Record>, token: &[u8], response: &[u8], keep: DurationMs, now: UnixMs) -> (Ended, Effect<Vec<u8>>) {
    when_held(stored, token, now, |record| {
        let until = now.plus(keep);
        let phase = Phase::Done { response: response.to_vec(), until: Some(until) };
        Record { fingerprint: record.fingerprint, phase }.put(until)
    })
}

/// Abandons the attempt `token`, so that the request can be retried.
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
