//! `ATOMIC.EVALSHA_RO sha1 numkeys [key ...] [arg ...]`: runs a cached read-only script, like ATOMIC.EVALSHA.
//!
//! Refuses commands that write or replicate, and refuses a script as a whole when it declares flags without `no-writes`. So it
//! can be sent to a replica, and it runs during CLIENT PAUSE WRITE.

use super::eval::script_args;
use super::eval_ro::FLAGS;
use super::scripting::{self, Form, Request};
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::Reply;

pub struct EvalShaRo;

impl Command for EvalShaRo {
    const SPEC: Spec = Spec {
        name: c"atomic.evalsha_ro",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Runs a cached read-only Lua script by its SHA1 digest.",
        complexity: c"Depends on the script that is run",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeysRead,
        args: script_args!(c"sha1"),
    };

    const STANDS_IN: bool = true;

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::run(keyspace, &request, Form::Sha, true)
    }
}
