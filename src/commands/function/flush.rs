//! `ATOMIC.FUNCTION FLUSH [ASYNC|SYNC]`: delete all libraries.
//!
//! The scripts that ATOMIC.SCRIPT LOAD has stored are libraries, too: they can be evicted from then on.
//! Reply: OK. Replicates: `FUNCTION FLUSH`. Errors: those of FUNCTION FLUSH.

use crate::commands::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Flush;

impl Command for Flush {
    const SPEC: Spec = Spec {
        name: c"atomic.function|flush",
        flags: c"write deny-script",
        categories: c"scripting",
        summary: c"Deletes all libraries.",
        complexity: c"O(N) in the number of functions",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::one_of(c"flush-type", &[Arg::word(c"async", c"ASYNC"), Arg::word(c"sync", c"SYNC")]).optional()],
    };

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::flush(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
