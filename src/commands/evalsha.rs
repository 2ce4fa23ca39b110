//! `ATOMIC.EVALSHA sha1 numkeys [key ...] [arg ...]`: run a script that was cached by ATOMIC.EVAL or ATOMIC.SCRIPT LOAD.
//!
//! As ATOMIC.EVAL; `sha1` is the SHA1 of the script's bytes, in hex of either case. Errors: NOSCRIPT when no such script is cached.

use super::eval::{FLAGS, script_args};
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Form, Request};
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct EvalSha;

impl Command for EvalSha {
    const SPEC: Spec = Spec {
        name: c"atomic.evalsha",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Runs a cached Lua script by its SHA1.",
        complexity: c"Depends on the script that is run",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeys,
        args: script_args!(c"sha1"),
    };

    const STANDS_IN: bool = true;

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::run(keyspace, &request, Form::Sha, false)
    }
}
