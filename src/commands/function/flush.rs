//! `ATOMIC.FUNCTION FLUSH [ASYNC|SYNC]`: deletes all libraries.
//!
//! This includes the libraries that store the scripts of ATOMIC.SCRIPT LOAD: those scripts stay cached and can be evicted from
//! then on.
//! Reply: OK. Replicates `FUNCTION FLUSH`. Errors: those of FUNCTION FLUSH.

use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Flush;

impl Command for Flush {
    const SPEC: Spec = Spec {
        name: c"atomic.function|flush",
        flags: c"write deny-script",
        categories: c"scripting",
        summary: c"Deletes all function libraries.",
        complexity: c"O(N) with N functions",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::one_of(c"flush-type", &[Arg::word(c"async", c"ASYNC"), Arg::word(c"sync", c"SYNC")]).optional()],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::flush(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
