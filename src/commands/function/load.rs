//! `ATOMIC.FUNCTION LOAD [REPLACE] function-code`: loads a function library.
//!
//! The first line of the code is `#!lua name=<library>`. The rest runs once, for at most 500 ms, and registers functions with
//! `redis.register_function`. It runs in this engine first and then in the server's own, which stores the library, so it must
//! work in both.
//! Reply: the name of the library.
//! Replicates `FUNCTION LOAD` unchanged.
//! Errors: those of FUNCTION LOAD. Nothing changes on an error.

use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Load;

impl Command for Load {
    const SPEC: Spec = Spec {
        name: c"atomic.function|load",
        flags: c"write deny-oom deny-script",
        categories: c"scripting",
        summary: c"Loads a function library.",
        complexity: c"O(1) plus the cost of the library's code",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[Arg::word(c"replace", c"REPLACE").optional(), Arg::string(c"function-code")],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::load(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
