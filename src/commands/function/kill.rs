//! `ATOMIC.FUNCTION KILL`: terminates the function that keeps the server busy.
//!
//! Works once other clients get `BUSY`, as long as the function has written nothing. Reply: OK; the function's client gets an
//! error.
//! Errors: NOTBUSY when nothing keeps the server busy, UNKILLABLE when the function has written, BUSY when a script is running
//! instead.

use crate::commands::spec::{Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::busy;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Kill;

impl Command for Kill {
    const SPEC: Spec = Spec {
        name: c"atomic.function|kill",
        flags: c"allow-busy deny-script",
        categories: c"scripting",
        summary: c"Terminates the function that keeps the server busy, if it has written nothing.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(keyspace: &Keyspace, (): ()) -> Result<Reply> {
        busy::kill(keyspace.ctx(), busy::FUNCTION_KILL).map(|()| Reply::Ok)
    }
}
