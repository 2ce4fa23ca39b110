//! `ATOMIC.DEBUG PANIC message`: panics inside a handler, to test the guard. Only in builds with the feature `fault-injection`, which
//! no release has.

use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::{Args, is, syntax};
use crate::server::reply::Reply;

pub struct Debug;

impl Command for Debug {
    const SPEC: Spec = Spec {
        name: c"atomic.debug",
        flags: c"admin",
        categories: c"",
        summary: c"Panics, for the tests of this module.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::word(c"panic", c"PANIC"), Arg::string(c"message")],
    };

    type Request<'a> = &'a [u8];

    fn parse(mut args: Args<'_>) -> Result<&[u8]> {
        let what = args.bytes()?;
        let message = args.bytes()?;
        if is(what, "PANIC") { Ok(message) } else { Err(syntax(what)) }
    }

    #[allow(clippy::panic)]
    fn run(_keyspace: &Keyspace, message: &[u8]) -> Result<Reply> {
        panic!("{}", String::from_utf8_lossy(message))
    }
}
