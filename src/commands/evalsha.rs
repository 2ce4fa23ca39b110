//! `ATOMIC.EVALSHA sha1 numkeys [key ...] [arg ...]`: runs a script that ATOMIC.EVAL or ATOMIC.SCRIPT LOAD has cached.
//!
//! Works like ATOMIC.EVAL; `sha1` is the SHA1 of the script's bytes, in upper or lower case hex. Errors: NOSCRIPT when no such
//! script is cached.

use super::eval::{FLAGS, script_args};
use super::scripting::{self, Form, Request};
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::Reply;

pub struct EvalSha;

impl Command for EvalSha {
    const SPEC: Spec = Spec {
        name: c"atomic.evalsha",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Runs a cached Lua script by its SHA1 digest.",
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
