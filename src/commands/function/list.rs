//! `ATOMIC.FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`: lists the libraries of the server's function store.
//!
//! Reply and errors: those of FUNCTION LIST. The list includes the libraries `atomic_<sha1>` that store the scripts of
//! ATOMIC.SCRIPT LOAD.

use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::library_store::server_list;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct List;

impl Command for List {
    const SPEC: Spec = Spec {
        name: c"atomic.function|list",
        flags: c"deny-script",
        categories: c"scripting",
        summary: c"Lists the function libraries.",
        complexity: c"O(N) with N functions",
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
