//! `ATOMIC.FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`: the libraries of the server's function store.
//!
//! Reply and errors: those of FUNCTION LIST. The scripts that ATOMIC.SCRIPT LOAD has stored are libraries `atomic_<sha1>` among them.

use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::library_store::server_list;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct List;

impl Command for List {
    const SPEC: Spec = Spec {
        name: c"atomic.function|list",
        flags: c"deny-script",
        categories: c"scripting",
        summary: c"Lists the libraries.",
        complexity: c"O(N) in the number of functions",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[
            Arg::string(c"library-name-pattern").after(c"LIBRARYNAME").optional(),
            Arg::word(c"withcode", c"WITHCODE").optional(),
        ],
    };

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, words: Args<'_>) -> Result<Reply> {
        server_list::relay(keyspace.ctx(), b"LIST", words.rest())?;
        Ok(Reply::Sent)
    }
}
