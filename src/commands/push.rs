//! `ATOMIC.PUSH key LEFT|RIGHT maxlen [EVICT | REJECT] [PX ms] [RANGE] VALUES v [v ...]`: pushes to a list of bounded length.
//!
//! `maxlen` is 1..=1000000. The values are pushed one after the other, all or none. Without room, `EVICT` (the default) drops
//! the oldest elements, from the other end; if there are more values than `maxlen`, the last ones stay. `REJECT` pushes nothing
//! instead.
//! `RANGE` adds the whole list to the reply, from its head.
//! Reply: `[length, dropped or refused]`, with `RANGE` `[length, dropped or refused, [element, ...]]`.
//! TTL: `PX` is set on every push; without it the TTL stays. Clients that block on the list are served.
//! Replicates: `RPUSH|LPUSH key v ...`, `PEXPIREAT key t`, `LPOP|RPOP key dropped`, in MULTI/EXEC if more than one; nothing for a
//! refused push.
//! Errors: WRONGTYPE when the key is not a list; `maxlen must be an integer between 1 and 1000000`; `PX must be an integer between
//! 1 and 4611686018427387903`; syntax error; wrong number of arguments without values.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::primitives::effect::End;
use crate::primitives::list::{Full, Room, push};
use crate::primitives::time::DurationMs;
use crate::server::args::{Args, fill, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::{Reply, number};

/// The largest `maxlen`, and `COUNT` of a pop.
pub(super) const MAX_ELEMENTS: i64 = 1_000_000;

/// `LEFT | RIGHT`
pub(super) const END: Arg = Arg::one_of(c"end", &[Arg::word(c"left", c"LEFT"), Arg::word(c"right", c"RIGHT")]);

pub struct Push;

pub struct Request<'a> {
    key: Str<'a>,
    end: End,
    max: u64,
    options: Options,
    values: &'a [Str<'a>],
}

#[derive(Default)]
struct Options {
    full: Option<Full>,
    ttl: Option<DurationMs>,
    range: Option<()>,
}

impl Command for Push {
    const SPEC: Spec = Spec {
        name: c"atomic.push",
        flags: c"write deny-oom",
        categories: c"list",
        summary: c"Pushes values to a list of bounded length.",
        complexity: c"O(N) in the number of values and dropped elements; with RANGE in the length of the list",
        since: c"0.1.0",
        arity: -6,
        keys: Keys::first(KeyFlags::Update),
        args: &[
            Arg::KEY,
            END,
            Arg::integer(c"maxlen"),
            Arg::one_of(c"full", &[Arg::word(c"evict", c"EVICT"), Arg::word(c"reject", c"REJECT")]).optional(),
            Arg::integer(c"milliseconds").after(c"PX").optional(),
            Arg::word(c"range", c"RANGE").optional(),
            Arg::string(c"value").after(c"VALUES").multiple(),
        ],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let (key, end, max) = (args.take()?, end(&mut args)?, args.count("maxlen", 1..=MAX_ELEMENTS)?);
        let options = Options::read(&mut args)?;
        let values = args.rest();
        if values.is_empty() { Err(Error::Arity) } else { Ok(Request { key, end, max, options, values }) }
    }

    fn run(keyspace: &Keyspace, Request { key, end, max, options, values }: Request<'_>) -> Result<Reply> {
        let entry = keyspace.entry(key);
        let length = u64::try_from(entry.list_len()?).unwrap_or(u64::MAX);
        let room = Room { length, max, full: options.full.unwrap_or(Full::Evict) };
        let until = options.ttl.map(|ttl| keyspace.now().floor_ms().plus(ttl));
        let (pushed, effect) = push(room, end, values.to_vec(), until);
        entry.apply(effect)?;
        let numbers = [pushed.length, pushed.lost].map(number);
        match options.range {
            None => Ok(Reply::from(numbers)),
            Some(()) => Ok(Reply::Array(numbers.map(Reply::Integer).into_iter().chain([range(keyspace, key)?]).collect())),
        }
    }
}

impl Options {
    /// Reads up to `VALUES`.
    fn read(args: &mut Args<'_>) -> Result<Self> {
        let mut options = Self::default();
        loop {
            let option = args.bytes()?;
            if is(option, "VALUES") {
                return Ok(options);
            } else if is(option, "EVICT") {
                fill(&mut options.full, Full::Evict, option)?;
            } else if is(option, "REJECT") {
                fill(&mut options.full, Full::Reject, option)?;
            } else if is(option, "PX") {
                fill(&mut options.ttl, args.px()?, option)?;
            } else if is(option, "RANGE") {
                fill(&mut options.range, (), option)?;
            } else {
                return Err(syntax(option));
            }
        }
    }
}

/// Reads `LEFT` or `RIGHT`.
pub(super) fn end(args: &mut Args<'_>) -> Result<End> {
    match args.bytes()? {
        word if is(word, "LEFT") => Ok(End::Left),
        word if is(word, "RIGHT") => Ok(End::Right),
        other => Err(syntax(other)),
    }
}

/// The whole list.
fn range(keyspace: &Keyspace, key: Str<'_>) -> Result<Reply> {
    let elements = keyspace.entry(key).list_elements(End::Left, usize::MAX)?;
    Ok(Reply::Array(elements.into_iter().map(Reply::Bulk).collect()))
}
