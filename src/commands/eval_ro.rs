//! `ATOMIC.EVAL_RO script numkeys [key ...] [arg ...]`: runs a read-only script, like ATOMIC.EVAL.
//!
//! Refuses commands that write or replicate, and refuses a script as a whole when it declares flags without `no-writes`. So it
//! can be sent to a replica, and it runs during CLIENT PAUSE WRITE.

use super::eval::script_args;
use super::scripting::{self, Form, Request};
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::reply::Reply;

/// The flags of the read-only forms.
pub(super) const FLAGS: &std::ffi::CStr = c"allow-stale no-mandatory-keys deny-script";

pub struct EvalRo;

impl Command for EvalRo {
    const SPEC: Spec = Spec {
        name: c"atomic.eval_ro",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Runs a read-only Lua script on the server.",
        complexity: c"Depends on the script that is run",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeysRead,
        args: script_args!(c"script"),
    };

    const STANDS_IN: bool = true;

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::run(keyspace, &request, Form::Source, true)
    }
}
