//! `ATOMIC.SCRIPT LIST [sha1] [COUNT count]`: lists the scripts, page by page.
//!
//! `sha1`: continues after this SHA1, whether or not such a script exists; pass the last SHA1 of a page to get the next one.
//! `COUNT`: the page size, 1..=10000; 1,000 by default. A page with fewer scripts is the last one.
//!
//! Reply: an array with a map per script, in the order of their SHA1: `sha1`; `bytes`, the size of its source; `stored`, 1 if it
//! is in the function store and 0 if it can be evicted; `calls`, its runs on this server since it was first seen or the
//! statistics were reset. RESP2 has flat arrays for the maps. A script that exists throughout the iteration is on exactly one
//! page.

use super::READS;
use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::lua::{Digest, Listed};
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::reply::{Reply, number};

pub struct List;

pub struct Request {
    after: Option<Digest>,
    count: usize,
}

impl Command for List {
    const SPEC: Spec = Spec {
        name: c"atomic.script|list",
        flags: READS,
        categories: c"scripting",
        summary: c"Lists scripts with their size, storage and calls.",
        complexity: c"O(log(N)+M) with N scripts and M listed, O(N) after a change to the function store",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::string(c"sha1").optional(), Arg::integer(c"count").after(c"COUNT").optional()],
    };

    type Request<'a> = Request;

    fn parse(mut args: Args<'_>) -> Result<Request> {
        const MAX_COUNT: i64 = 10_000;
        const NO_SHA1: Error = Error::Argument { argument: "sha1", expected: "must be 40 hexadecimal digits" };
        let (mut after, mut count) = (None, None);
        while let Some(word) = args.take_if_any() {
            if is(word.bytes(), "COUNT") {
                let value = args.count("COUNT", 1..=MAX_COUNT)?;
                fill(&mut count, usize::try_from(value).unwrap_or(usize::MAX), word.bytes())?;
            } else if after.is_none() && count.is_none() {
                after = Some(Digest::parse(word.bytes()).ok_or(NO_SHA1)?);
            } else {
                return Err(syntax(word.bytes()));
            }
        }
        Ok(Request { after, count: count.unwrap_or(1000) })
    }

    fn run(keyspace: &Keyspace, Request { after, count }: Request) -> Result<Reply> {
        let mut scripting = scripting::engine()?;
        script_store::follow(keyspace.ctx(), &mut scripting.engine);
        Ok(Reply::Array(scripting.engine.list(after, count).into_iter().map(entry).collect()))
    }
}

fn entry(script: Listed) -> Reply {
    Reply::Map(vec![
        ("sha1", Reply::Bulk(script.digest.hex().to_vec())),
        ("bytes", Reply::Integer(number(script.bytes))),
        ("stored", Reply::Integer(script.stored.into())),
        ("calls", Reply::Integer(number(script.calls))),
    ])
}
