//! `ATOMIC.EVAL script numkeys [key ...] [arg ...]`: runs a Lua script on the server, atomically.
//!
//! Arguments and reply are those of EVAL; the script sees `KEYS` and `ARGV` and runs commands with `redis.call`. It is compiled
//! once and cached by its SHA1, so that ATOMIC.EVALSHA finds it.
//! Replicates the commands that `redis.call` ran, in one MULTI/EXEC; nothing when nothing was written.
//! Errors: the script's own, with its SHA1 and line; those of `redis.call`, with their own codes; an exceeded limit, with the
//! number of writes that were applied before it.

use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Form, Manner, Request};
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Eval;

/// `script numkeys [key ...] [arg ...]`
macro_rules! script_args {
    ($script:literal) => {
        &[
            Arg::string($script),
            Arg::integer(c"numkeys"),
            Arg::KEY.optional().multiple(),
            Arg::string(c"arg").optional().multiple(),
        ]
    };
}
pub(super) use script_args;

/// The flags of the server's own EVAL. Each call of a script is checked when it is made.
pub(super) const FLAGS: &std::ffi::CStr = c"may-replicate allow-stale no-mandatory-keys deny-script";

impl Command for Eval {
    const SPEC: Spec = Spec {
        name: c"atomic.eval",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Runs a Lua script on the server.",
        complexity: c"Depends on the script that is run",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeys,
        args: script_args!(c"script"),
    };

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        scripting::script(keyspace, &request, Form::Source, Manner { read_only: false, standing_in: dropin::is_standing_in() })
    }
}
