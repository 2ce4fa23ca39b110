//! `ATOMIC.FCALL function numkeys [key ...] [arg ...]`: calls a library function, atomically.
//!
//! Arguments, reply and errors are those of FCALL. The function gets the keys and the other arguments as two lists.
//! Replicates the commands that `redis.call` ran, in one MULTI/EXEC; nothing when nothing was written.
//! Errors: `ERR Function not found`; the function's own, with its name and line; those of `redis.call`, with their own codes; an
//! exceeded limit, with the number of writes that were applied before it.

use super::eval::{FLAGS, script_args};
use super::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Manner};
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Fcall;

impl Command for Fcall {
    const SPEC: Spec = Spec {
        name: c"atomic.fcall",
        flags: FLAGS,
        categories: c"scripting",
        summary: c"Calls a library function.",
        complexity: c"Depends on the function that is called",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::ScriptKeys,
        args: script_args!(c"function"),
    };

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, args: Args<'_>) -> Result<Reply> {
        scripting::function(keyspace, args, Manner { read_only: false, standing_in: dropin::is_standing_in() })
    }
}
