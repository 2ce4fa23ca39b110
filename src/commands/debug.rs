//! `ATOMIC.DEBUG PANIC message`: panics inside a handler, to test the guard. `ATOMIC.DEBUG ZADD key score member`: changes a sorted set as a
//! careless module does, without an event. Only in builds with the feature `fault-injection`, which no release has.

use super::due;
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::primitives::due::Score;
use crate::server::args::{Args, is, syntax};
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Debug;

pub enum Request<'a> {
    Panic(&'a [u8]),
    Add { key: Str<'a>, score: Score, member: Str<'a> },
}

impl Command for Debug {
    const SPEC: Spec = Spec {
        name: c"atomic.debug",
        flags: c"admin",
        categories: c"",
        summary: c"Misbehaves, for the tests of this module.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[Arg::word(c"panic", c"PANIC"), Arg::string(c"message")],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let request = match args.bytes()? {
            what if is(what, "PANIC") => Request::Panic(args.bytes()?),
            what if is(what, "ZADD") => {
                Request::Add { key: args.take()?, score: due::score(&mut args, "score")?, member: args.take()? }
            }
            what => return Err(syntax(what)),
        };
        args.finish()?;
        Ok(request)
    }

    #[allow(clippy::panic)]
    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        match request {
            Request::Panic(message) => panic!("{}", String::from_utf8_lossy(message)),
            Request::Add { key, score, member } => {
                keyspace.ctx().open_for_writing(key).set_member(member, score.value())?;
                Ok(Reply::Ok)
            }
        }
    }
}
