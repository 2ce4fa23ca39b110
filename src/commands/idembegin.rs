//! `ATOMIC.IDEMBEGIN key fingerprint lease-ms [TOKEN t]`: starts a request that must run only once, or returns its response.
//!
//! `key` names the request. `fingerprint` (1 to 255 bytes) identifies its content, for example by a digest. `lease-ms` is
//! 1..=31536000000: if neither `ATOMIC.IDEMEND` nor `ATOMIC.IDEMABORT` arrives in this time, the next call starts a new attempt.
//! `TOKEN` (1 to 255 bytes) is the caller's own id of this attempt. A call that is sent again with it, because its reply was lost, gets
//! 1 and the rest of its lease. Without `TOKEN` the server makes a number, and a call that is sent again gets 2.
//! Reply: `[1, ttl-ms, token]` the request is the caller's: run it, then end it with the token; `[2, ttl-ms, nil]` in flight: another
//! attempt is running, for at most ttl-ms; `[3, ttl-ms, response]` done; `[4, ttl-ms, nil]` mismatch: the key belongs to a request with
//! another fingerprint.
//! TTL: the lease. Replicates: `SET key state PXAT t` for a new attempt, else nothing.
//! Errors: WRONGTYPE when the key holds anything but an idempotency record; `fingerprint must be 1 to 255 bytes`; `TOKEN must be 1 to
//! 255 bytes`; lease out of range; syntax error.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{Found, Keyspace, fence};
use crate::primitives::idem::{Begun, FORMAT, MAX_FINGERPRINT_BYTES, MAX_TOKEN_BYTES, Record, Token, begin};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, ttl};

pub struct IdemBegin;

pub struct Request<'a> {
    key: Str<'a>,
    fingerprint: &'a [u8],
    lease: DurationMs,
    token: Option<&'a [u8]>,
}

impl Command for IdemBegin {
    const SPEC: Spec = Spec {
        name: c"atomic.idembegin",
        flags: c"write deny-oom fast",
        categories: c"string",
        summary: c"Starts a request that must run only once, or returns its response.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg::string(c"fingerprint"),
            Arg::integer(c"lease-ms"),
            Arg::string(c"token").after(c"TOKEN").optional(),
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        let fingerprint = args.token("fingerprint", MAX_FINGERPRINT_BYTES, "must be 1 to 255 bytes")?;
        let lease = args.duration("lease-ms")?;
        let mut token = None;
        while let Some(option) = args.take_if_any() {
            if !is(option.bytes(), "TOKEN") {
                return Err(syntax(option.bytes()));
            }
            fill(&mut token, args.token("TOKEN", MAX_TOKEN_BYTES, "must be 1 to 255 bytes")?, option.bytes())?;
        }
        Ok(Request { key, fingerprint, lease, token })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let begun = keyspace.transact(request.key, decode, |stored, now| {
            let token = request.token.map_or_else(|| Token::Number(fence::next(now)), |name| Token::Named(name.to_vec()));
            Ok(begin(stored, request.fingerprint, request.lease, token, now.floor_ms()))
        })?;
        let now = keyspace.now().floor_ms();
        let (phase, until, value) = match begun {
            Begun::Held { token, deadline } => {
                if let Token::Number(number) = token {
                    fence::observe(number);
                }
                (1, Some(deadline), Reply::Bulk(token.text()))
            }
            Begun::InFlight(deadline) => (2, Some(deadline), Reply::Null),
            Begun::Done { response, until } => (3, until, Reply::Bulk(response)),
            Begun::Mismatch(until) => (4, until, Reply::Null),
        };
        Ok(Reply::Array(vec![Reply::Integer(phase), Reply::Integer(ttl(until, now)), value]))
    }
}

pub(super) fn decode(mut found: Found<'_>) -> Result<Record> {
    let until = found.until();
    Record::decode(found.bytes(), until).map_err(|_| Error::ForeignValue { expected: FORMAT })
}
