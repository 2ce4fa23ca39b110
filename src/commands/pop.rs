//! `ATOMIC.POP key LEFT|RIGHT [COUNT n] [KEEP n]`: removes and returns elements of a list, but keeps a minimum number.
//!
//! Pops up to `COUNT` elements (1..=1000000, 1 by default) and leaves at least `KEEP` (0 by default).
//! Reply: an array of the elements in the order in which they were popped; empty when none can be popped.
//! TTL: kept; a list without elements is deleted. Replicates: `LPOP|RPOP key n`; nothing when nothing was popped.
//! Errors: WRONGTYPE when the key is not a list; `COUNT must be an integer between 1 and 1000000`; `KEEP must be an integer between
//! 0 and 9223372036854775807`; syntax error.

use super::push::{END, MAX_ELEMENTS, end};
use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::effect::End;
use crate::primitives::list::available;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Pop;

pub struct Request<'a> {
    key: Str<'a>,
    end: End,
    count: u64,
    keep: u64,
}

impl Command for Pop {
    const SPEC: Spec = Spec {
        name: c"atomic.pop",
        flags: c"write fast",
        categories: c"list",
        summary: c"Pops elements from a list, but keeps a minimum number.",
        complexity: c"O(N) in the number of popped elements",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::first(KeyFlags::Delete),
        args: &[
            Arg::KEY,
            END,
            Arg::integer(c"count").after(c"COUNT").optional(),
            Arg::integer(c"keep").after(c"KEEP").optional(),
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, end) = (args.take()?, end(&mut args)?);
        let (mut count, mut keep) = (None, None);
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if is(option, "COUNT") {
                fill(&mut count, args.count("COUNT", 1..=MAX_ELEMENTS)?, option)?;
            } else if is(option, "KEEP") {
                fill(&mut keep, args.count("KEEP", 0..=i64::MAX)?, option)?;
            } else {
                return Err(syntax(option));
            }
        }
        Ok(Request { key, end, count: count.unwrap_or(1), keep: keep.unwrap_or(0) })
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let entry = keyspace.entry(request.key);
        let length = u64::try_from(entry.list_len()?).unwrap_or(u64::MAX);
        let count = available(length, request.count, request.keep);
        Ok(Reply::Strings(entry.pop(request.end, count)))
    }
}
