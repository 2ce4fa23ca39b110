//! `ATOMIC.EVAL_RO script numkeys [key ...] [arg ...]`: runs a read-only script, like ATOMIC.EVAL.
//!
//! Refuses commands that write or replicate, and refuses a script as a whole when it declares flags without `no-writes`. So it
//! can be sent to a replica, and it runs during CLIENT PAUSE WRITE.

use super::eval::script_args;
use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Form, Manner, Request};
use crate::server::args::Args;
use crate::server::reply::Reply;

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

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::script(keyspace, &request, Form::Source, Manner { read_only: true, standing_in: dropin::is_standing_in() })
    }
}
