//! Shared by the commands that take members that are due: their options, their documented arguments and their reply.

use super::spec::Arg;
use super::terms;
use crate::error::{Error, Result};
use crate::primitives::codec::Bytes;
use crate::primitives::due::{MAX_COUNT, Score, Take, Taken, Unit};
use crate::primitives::number::{Digits, whole};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::OwnedStr;
use crate::server::reply::Reply;
use crate::waiting::Terms;

pub const COUNT: Arg = Arg::integer(c"count").after(c"COUNT").optional();
pub const UNIT: Arg = Arg::one_of(c"unit", &[Arg::word(c"ms", c"MS"), Arg::word(c"s", c"S")]).after(c"UNIT").optional();
pub const LEASE: Arg = Arg::integer(c"lease-ms").after(c"LEASE").optional();

/// `[COUNT n] [UNIT MS|S] [LEASE ms] [WAIT ms] [MAXQUEUE n]`
#[derive(Default)]
pub struct Options {
    count: Option<u16>,
    unit: Option<Unit>,
    lease: Option<DurationMs>,
    waiting: terms::Options,
}

impl Options {
    /// Reads `option` if it is one of these except LEASE; a repeated one is refused.
    pub fn read(&mut self, option: &[u8], args: &mut Args<'_>) -> Result<bool> {
        if is(option, "COUNT") {
            let count = args.count("COUNT", 1..=MAX_COUNT.into())?;
            fill(&mut self.count, u16::try_from(count).unwrap_or(MAX_COUNT), option)?;
        } else if is(option, "UNIT") {
            fill(&mut self.unit, unit(args)?, option)?;
        } else {
            return Ok(!is(option, "BIND") && self.waiting.take(option, args)?);
        }
        Ok(true)
    }

    /// Reads `option` if it is LEASE; a repeated one is refused.
    pub fn read_lease(&mut self, option: &[u8], args: &mut Args<'_>) -> Result<bool> {
        if !is(option, "LEASE") {
            return Ok(false);
        }
        fill(&mut self.lease, args.duration("LEASE")?, option)?;
        Ok(true)
    }

    pub fn finish(self) -> Result<(Take, Terms)> {
        let take = Take { count: self.count.unwrap_or(1), unit: self.unit.unwrap_or(Unit::Millis), lease: self.lease };
        Ok((take, self.waiting.terms()?))
    }
}

fn unit(args: &mut Args<'_>) -> Result<Unit> {
    match args.bytes()? {
        word if is(word, "MS") => Ok(Unit::Millis),
        word if is(word, "S") => Ok(Unit::Seconds),
        other => Err(syntax(other)),
    }
}

/// Reads a score, as ZADD does.
pub fn score(args: &mut Args<'_>, argument: &'static str) -> Result<Score> {
    Score::parse(args.bytes()?).ok_or(Error::Argument { argument, expected: "must be a number" })
}

/// A score as the server prints it.
fn text(score: Score) -> Bytes {
    match whole(score.value()) {
        Some(whole) => Bytes::from_slice(Digits::new(whole).as_bytes()),
        None => Bytes::from_slice(OwnedStr::double(score.value()).as_str().bytes()),
    }
}

/// `[member, score, ...]`, each score as the server prints it.
pub fn reply(taken: &[Taken]) -> Reply {
    let mut strings = Vec::with_capacity(taken.len().saturating_mul(2));
    for taken in taken {
        strings.push(Bytes::from_slice(&taken.member));
        strings.push(text(taken.score()));
    }
    Reply::Strings(strings)
}
