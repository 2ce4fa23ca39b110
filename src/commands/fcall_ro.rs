//! `ATOMIC.FCALL_RO function numkeys [key ...] [arg ...]`: calls a function that has the flag `no-writes`.
//!
//! Also runs on read-only replicas. Errors: those of ATOMIC.FCALL; a function without that flag is refused.

use super::eval::script_args;
use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Manner};
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct FcallRo;

impl Command for FcallRo {
    const SPEC: Spec = Spec {
        name: c"atomic.fcall_ro",
        flags: super::eval_ro::FLAGS,
        categories: c"scripting",
        summary: c"Calls a read-only library function.",
        complexity: c"Depends on the function that is called",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeysRead,
        args: script_args!(c"function"),
    };

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, args: Args<'_>) -> Result<Reply> {
        scripting::function(keyspace, args, Manner { read_only: true, standing_in: dropin::is_standing_in() })
    }
}
