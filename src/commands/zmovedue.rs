//! `ATOMIC.ZMOVEDUE key list [LEFT | RIGHT] [COUNT n] [UNIT MS|S] [WAIT ms] [MAXQUEUE n]`: moves the members of a sorted set that are due
//! to a list, optionally waiting for one.
//!
//! Which members are due, their order, COUNT, UNIT, WAIT and MAXQUEUE are as in ATOMIC.ZPOPDUE. They are pushed one after the other at the end of
//! the list, or at the `LEFT`. Nothing moves when the list is of another type. Clients that block on the list are served.
//! Reply: `[member, score, ...]`, the score as a bulk string. Empty when no member is due.
//! TTL: both keys keep theirs; a set without members is deleted. Replicates: `ZREM key member ...` and `RPUSH|LPUSH list member ...`
//! in MULTI/EXEC; nothing when no member is due.
//! Errors: WRONGTYPE when the first key is not a sorted set or the second is not a list; `key must not be given twice`; `COUNT must be an
//! integer between 1 and 1000`; syntax error.

use std::borrow::Cow;

use super::due::{self, Options};
use super::push;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use super::terms;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::due::Take;
use crate::primitives::effect::End;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;
use crate::waiting::{self, Claim, DueSet, Terms};

pub struct ZMoveDue;

pub struct Request<'a> {
    key: Str<'a>,
    list: Str<'a>,
    end: End,
    take: Take,
    terms: Terms,
}

impl Command for ZMoveDue {
    const SPEC: Spec = Spec {
        name: c"atomic.zmovedue",
        flags: c"write blocking",
        categories: c"sortedset list",
        summary: c"Moves the members of a sorted set that are due to a list, optionally waiting for one.",
        complexity: c"O(M*log(N)) with N members, of which M are moved",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first_two(KeyFlags::Update),
        args: &[
            Arg::KEY,
            Arg { name: c"list", ..Arg::KEY },
            push::END.optional(),
            due::COUNT,
            due::UNIT,
            terms::WAIT,
            terms::MAXQUEUE,
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, list) = (args.take()?, args.take()?);
        if key.bytes() == list.bytes() {
            return Err(Error::Argument { argument: "key", expected: "must not be given twice" });
        }
        let (mut options, mut end) = (Options::default(), None);
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if is(option, "LEFT") {
                fill(&mut end, End::Left, option)?;
            } else if is(option, "RIGHT") {
                fill(&mut end, End::Right, option)?;
            } else if !options.read(option, &mut args)? {
                return Err(syntax(option));
            }
        }
        let (take, terms) = options.finish()?;
        Ok(Request { key, list, end: end.unwrap_or(End::Right), take, terms })
    }

    fn run(keyspace: &Keyspace, Request { key, list, end, take, terms }: Request<'_>) -> Result<Reply> {
        let list = Some((Cow::Borrowed(list.bytes()), end));
        waiting::acquire::<DueSet>(keyspace, key, Claim::Due { take, list }, terms)
    }
}
