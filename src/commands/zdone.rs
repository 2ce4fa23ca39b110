//! `ATOMIC.ZDONE key member score [AT score]`: removes or reschedules a member of a sorted set if it still has a given score.
//!
//! `score` is the one in the reply of ATOMIC.ZPOPDUE with LEASE: a worker whose lease has ended does not finish a member that another
//! worker has. `AT` sets a new score instead of removing the member: a retry, or a longer lease. Scores are numbers, `-inf` or `+inf`, and
//! compare as doubles.
//! Reply: 1 removed or rescheduled, 0 the member has another score, -1 no such member.
//! TTL: kept; a set without members is deleted. Replicates: `ZREM key member`, or `ZADD key XX score member` with AT; nothing when
//! nothing changed.
//! Errors: WRONGTYPE when the key is not a sorted set; `score must be a number`, `AT must be a number`; syntax error.

use super::due;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::due::{Done, Schedule as _, Score, done};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct ZDone;

pub struct Request<'a> {
    key: Str<'a>,
    member: Str<'a>,
    score: Score,
    at: Option<Score>,
}

impl Command for ZDone {
    const SPEC: Spec = Spec {
        name: c"atomic.zdone",
        flags: c"write fast",
        categories: c"sortedset",
        summary: c"Removes or reschedules a member of a sorted set if it still has a given score.",
        complexity: c"O(log(N)) with N members",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Delete),
        args: &[Arg::KEY, Arg::string(c"member"), Arg::double(c"score"), Arg::double(c"new-score").after(c"AT").optional()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, member, score) = (args.take()?, args.take()?, due::score(&mut args, "score")?);
        let mut at = None;
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if !is(option, "AT") {
                return Err(syntax(option));
            }
            fill(&mut at, due::score(&mut args, "AT")?, option)?;
        }
        Ok(Request { key, member, score, at })
    }

    fn run(keyspace: &Keyspace, Request { key, member, score, at }: Request<'_>) -> Result<Reply> {
        let mut entry = keyspace.entry(key);
        let stored = entry.sorted_set()?.score(member.bytes());
        let (outcome, effect) = done(stored, member, score, at);
        entry.apply(effect)?;
        Ok(Reply::Integer(match outcome {
            Done::Yes => 1,
            Done::Changed => 0,
            Done::Missing => -1,
        }))
    }
}
