//! `[WAIT ms] [BIND] [MAXQUEUE n]`: the waiting options that several commands share.

use super::due;
use super::spec::Arg;
use crate::error::Result;
use crate::primitives::time::{DurationMs, MAX_DURATION_MS};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::reply::{Reply, number};
use crate::waiting::{Answer, Terms, Wait};

/// The largest MAXQUEUE.
const MAX_QUEUE: i64 = 1_000_000;

pub const WAIT: Arg = Arg::integer(c"wait-ms").after(c"WAIT").optional();
pub const BIND: Arg = Arg::word(c"bind", c"BIND").optional();
pub const MAXQUEUE: Arg = Arg::integer(c"max-waiters").after(c"MAXQUEUE").optional();

#[derive(Default)]
pub struct Options {
    wait: Option<DurationMs>,
    bind: Option<()>,
    max_queue: Option<usize>,
}

impl Options {
    /// Reads `option` if it is one of these; a repeated one is refused.
    pub fn take(&mut self, option: &[u8], args: &mut Args<'_>) -> Result<bool> {
        if is(option, "WAIT") {
            fill(&mut self.wait, DurationMs(args.count("WAIT", 0..=MAX_DURATION_MS)?), option)?;
        } else if is(option, "BIND") {
            fill(&mut self.bind, (), option)?;
        } else if is(option, "MAXQUEUE") {
            let most = args.count("MAXQUEUE", 1..=MAX_QUEUE)?;
            fill(&mut self.max_queue, usize::try_from(most).unwrap_or(usize::MAX), option)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// MAXQUEUE without WAIT is refused: it would have no effect.
    pub fn terms(self) -> Result<Terms> {
        let wait = self.wait.map(|timeout| Wait { timeout, max_queue: self.max_queue });
        if wait.is_none() && self.max_queue.is_some() {
            return Err(syntax(b"MAXQUEUE"));
        }
        Ok(Terms { wait, bind: self.bind.is_some(), layout: reply })
    }
}

/// The replies of the commands that can wait.
fn reply(answer: Answer, waiters: usize) -> Reply {
    let waiters = number(waiters);
    Reply::from(match answer {
        Answer::Due(taken) => return due::reply(&taken),
        Answer::LockGranted { fence, ttl, holds } => [1, number(fence), ttl.reply(), holds.into(), waiters],
        Answer::LockDenied { ttl } => [0, 0, ttl.map_or(-1, DurationMs::reply), 0, waiters],
        Answer::PermitsGranted { fence, in_use } => [1, number(fence), number(in_use), 0, waiters],
        Answer::PermitsDenied { in_use, retry_after } => {
            [0, 0, number(in_use), retry_after.map_or(-1, DurationMs::reply), waiters]
        }
    })
}
