//! `ATOMIC.ZMOVEDUE key list [LEFT | RIGHT] [COUNT n] [UNIT MS|S]`: moves the members of a sorted set that are due to a list.
//!
//! The members that are due, their order, COUNT and UNIT are those of ATOMIC.ZPOPDUE. They are pushed one after the other at the end of
//! the list, or at the `LEFT`. Nothing moves when the list is of another type. Clients that block on the list are served.
//! Reply: `[member, score, ...]`, the score as a bulk string. Empty when no member is due.
//! TTL: both keys keep theirs; a set without members is deleted. Replicates: `ZREM key member ...` and `RPUSH|LPUSH list member ...`
//! in MULTI/EXEC; nothing when no member is due.
//! Errors: WRONGTYPE when the first key is not a sorted set or the second is not a list; `key must not be given twice`; `COUNT must be an
//! integer between 1 and 1000`; syntax error.

use super::due::{self, Options};
use super::push;
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::{Keyspace, leases};
use crate::primitives::due::{Draft, Take};
use crate::primitives::effect::{Effect, End};
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct ZMoveDue;

pub struct Request<'a> {
    key: Str<'a>,
    list: Str<'a>,
    end: End,
    take: Take,
}

impl Command for ZMoveDue {
    const SPEC: Spec = Spec {
        name: c"atomic.zmovedue",
        flags: c"write",
        categories: c"sortedset list",
        summary: c"Moves the members of a sorted set that are due to a list.",
        complexity: c"O(M*log(N)) with N members, of which M are moved",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first_two(KeyFlags::Update),
        args: &[Arg::KEY, Arg { name: c"list", ..Arg::KEY }, push::END.optional(), due::COUNT, due::UNIT],
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
        Ok(Request { key, list, end: end.unwrap_or(End::Right), take: options.take() })
    }

    fn run(keyspace: &Keyspace, Request { key, list, end, take }: Request<'_>) -> Result<Reply> {
        keyspace.entry(list).list_len()?;
        let mut draft = Draft::new(keyspace.now());
        let taken = {
            let mut entry = keyspace.entry(key);
            let mut set = entry.sorted_set()?;
            leases::issuing(|tokens| draft.take(&mut set, take, tokens))?
        };
        if !taken.is_empty() {
            let values = taken.iter().map(|taken| taken.member.clone()).collect();
            let pushed = Effect::Push { end, values, dropped: 0, until: None };
            keyspace.apply_all(vec![(key, draft.effect()), (list, pushed)])?;
        }
        Ok(due::reply(taken))
    }
}
