//! `ATOMIC.FUNCTION DELETE library-name`: deletes a library and its functions.
//!
//! Reply: OK. Replicates `FUNCTION DELETE`. Errors: those of FUNCTION DELETE.

use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::library_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Delete;

impl Command for Delete {
    const SPEC: Spec = Spec {
        name: c"atomic.function|delete",
        flags: c"write deny-script",
        categories: c"scripting",
        summary: c"Deletes a function library.",
        complexity: c"O(N) with N functions",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::string(c"library-name")],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        library_store::delete(keyspace.ctx(), &mut *scripting::engine()?, words.rest()).map(|()| Reply::Sent)
    }
}
