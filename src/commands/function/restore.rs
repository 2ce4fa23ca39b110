//! `ATOMIC.FUNCTION RESTORE payload [FLUSH|APPEND|REPLACE]`: restores the libraries of a DUMP payload.
//!
//! The server's engine runs the libraries that only it can load, and the log names them.
//! Reply: OK. Replicates `FUNCTION RESTORE` unchanged. Errors: those of FUNCTION RESTORE. Nothing changes on an error.

use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Restore;

impl Command for Restore {
    const SPEC: Spec = Spec {
        name: c"atomic.function|restore",
        flags: c"write deny-oom deny-script",
        categories: c"scripting",
        summary: c"Restores function libraries from a payload.",
        complexity: c"O(N) with N functions in the payload",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[
            Arg::string(c"serialized-value"),
            Arg::one_of(
                c"policy",
                &[Arg::word(c"flush", c"FLUSH"), Arg::word(c"append", c"APPEND"), Arg::word(c"replace", c"REPLACE")],
            )
            .optional(),
        ],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::restore(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
