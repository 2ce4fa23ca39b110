//! `ATOMIC.EVALSHA sha1 numkeys [key ...] [arg ...]`: runs a script that ATOMIC.EVAL or ATOMIC.SCRIPT LOAD has cached.
//!
//! Works like ATOMIC.EVAL; `sha1` is the SHA1 of the script's bytes, in upper or lower case hex. Errors: NOSCRIPT when no such
//! script is cached.

use super::eval::{FLAGS, script_args};
use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Form, Manner, Request};
use crate::server::args::Args;
use crate::server::reply::Reply;

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

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::script(keyspace, &request, Form::Sha, Manner { read_only: false, standing_in: dropin::is_standing_in() })
    }
}
