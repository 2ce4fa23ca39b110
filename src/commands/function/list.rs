//! `ATOMIC.FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]`: lists the libraries of the server's function store.
//!
//! Reply and errors: those of FUNCTION LIST. The list includes the libraries `atomic_<sha1>` that store the scripts of
//! ATOMIC.SCRIPT LOAD.

use crate::commands::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::libraries;
use crate::keyspace::reply::Reply;

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
        libraries::relay(keyspace.ctx(), b"LIST", words.rest())?;
        Ok(Reply::Sent)
    }
}
