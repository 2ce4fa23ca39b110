//! `ATOMIC.EVALSHA_RO sha1 numkeys [key ...] [arg ...]`: runs a cached read-only script, like ATOMIC.EVALSHA.
//!
//! Refuses commands that write or replicate, and refuses a script as a whole when it declares flags without `no-writes`. So it
//! can be sent to a replica, and it runs during CLIENT PAUSE WRITE.

use super::eval::script_args;
use super::eval_ro::FLAGS;
use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Form, Manner, Request};
use crate::server::args::Args;
use crate::server::reply::Reply;

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

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::script(keyspace, &request, Form::Sha, Manner { read_only: true, standing_in: dropin::is_standing_in() })
    }
}
