//! Shared by INCRBY and HINCRBY: the options for the limits, and the reply.

use super::spec::Arg;
use crate::error::{Error, Result};
use crate::primitives::counter::{Beyond, Count, Rule};
use crate::primitives::time::UnixMs;
use crate::server::args::{Args, fill, is, parse_i64, syntax};
use crate::server::reply::{Reply, ttl};

/// `MIN m`
pub const MIN: Arg = Arg::integer(c"min").after(c"MIN").optional();
/// `MAX m`
pub const MAX: Arg = Arg::integer(c"max").after(c"MAX").optional();
/// `SATURATE | WRAP v`
pub const BEYOND: Arg =
    Arg::one_of(c"beyond", &[Arg::word(c"saturate", c"SATURATE"), Arg::integer(c"wrap").after(c"WRAP")]).optional();
/// `INIT v`
pub const INIT: Arg = Arg::integer(c"init").after(c"INIT").optional();

/// Reads `delta [MIN m] [MAX m] [SATURATE | WRAP v] [INIT v]` and the options of `other`, in any order, to the end.
pub fn rule<'a>(args: &mut Args<'a>, mut other: impl FnMut(&[u8], &mut Args<'a>) -> Result<bool>) -> Result<Rule> {
    let delta = integer(args, "delta")?;
    let mut options = Options::default();
    while let Some(option) = args.take_if_any() {
        let option = option.bytes();
        if !(options.take(option, args)? || other(option, args)?) {
            return Err(syntax(option));
        }
    }
    options.rule(delta)
}

/// The next argument as a 64-bit integer.
pub fn integer(args: &mut Args<'_>, argument: &'static str) -> Result<i64> {
    args.int(argument, i64::MIN..=i64::MAX)
}

#[derive(Default)]
struct Options {
    min: Option<i64>,
    max: Option<i64>,
    beyond: Option<Beyond>,
    init: Option<i64>,
}

impl Options {
    fn take(&mut self, option: &[u8], args: &mut Args<'_>) -> Result<bool> {
        if is(option, "MIN") {
            fill(&mut self.min, integer(args, "MIN")?, option)?;
        } else if is(option, "MAX") {
            fill(&mut self.max, integer(args, "MAX")?, option)?;
        } else if is(option, "SATURATE") {
            fill(&mut self.beyond, Beyond::Saturate, option)?;
        } else if is(option, "WRAP") {
            fill(&mut self.beyond, Beyond::Wrap(integer(args, "WRAP")?), option)?;
        } else if is(option, "INIT") {
            fill(&mut self.init, integer(args, "INIT")?, option)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn rule(self, delta: i64) -> Result<Rule> {
        let (min, max) = (self.min.unwrap_or(i64::MIN), self.max.unwrap_or(i64::MAX));
        let beyond = self.beyond.unwrap_or(Beyond::Refuse);
        let wrong = |argument, expected| Err(Error::Argument { argument, expected });
        match beyond {
            _ if min > max => wrong("MIN", "must not exceed MAX"),
            Beyond::Wrap(_) if self.max.is_none() => wrong("WRAP", "requires MAX"),
            Beyond::Wrap(_) if delta <= 0 => wrong("WRAP", "requires a positive delta"),
            Beyond::Wrap(value) if !(min..=max).contains(&value) => wrong("WRAP", "must be between MIN and MAX"),
            _ => Ok(Rule { delta, min, max, beyond, init: self.init.unwrap_or(0) }),
        }
    }
}

/// Reads a stored counter. `refusal` is the server's own error for this type if the value is not an integer.
pub fn stored(bytes: &[u8], refusal: &'static str) -> Result<i64> {
    parse_i64(bytes).ok_or(Error::Text(refusal))
}

/// The server's own error for a string that is not an integer.
pub const NOT_A_NUMBER: &str = "ERR value is not an integer or out of range";

/// `[applied, value, delta applied, ttl-ms or -1]`
pub fn reply(count: &Count, until: Option<UnixMs>, now: UnixMs) -> Reply {
    Reply::from([count.applied.reply(), count.value, count.delta, ttl(until, now)])
}
