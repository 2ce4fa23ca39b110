//! `ATOMIC.FUNCTION RESTORE payload [FLUSH|APPEND|REPLACE]`: load the libraries of a payload of DUMP.
//!
//! A library that the server's engine takes and this one does not is served by the server, and the log says so.
//! Reply: OK. Replicates: `FUNCTION RESTORE`, as it came. Errors: those of FUNCTION RESTORE. Nothing has changed then.

use crate::commands::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Restore;

impl Command for Restore {
    const SPEC: Spec = Spec {
        name: c"atomic.function|restore",
        flags: c"write deny-oom deny-script",
        categories: c"scripting",
        summary: c"Restores all libraries from a payload.",
        complexity: c"O(N) in the number of functions of the payload",
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

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::restore(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
