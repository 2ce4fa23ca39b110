//! `ATOMIC.FCALL function numkeys [key ...] [arg ...]`: calls a library function, atomically.
//!
//! Arguments, reply and errors are those of FCALL. The function gets the keys and the other arguments as two lists.
//! Replicates the commands that `redis.call` ran, in one MULTI/EXEC; nothing when nothing was written.
//! Errors: `ERR Function not found`; the function's own, with its name and line; those of `redis.call`, with their own codes; an
//! exceeded limit, with the number of writes that were applied before it.
//!
//! `ATOMIC.FCALL_RO` only calls functions that have the flag `no-writes`, and also runs on read-only replicas.

use std::marker::PhantomData;

use super::eval::{READS, WRITES, script_args};
use super::spec::{Arg, Command, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, RunMode};
use crate::server::args::Args;
use crate::server::reply::Reply;

/// One of the two forms.
pub trait Fcall {
    const SPEC: Spec;
    const READ_ONLY: bool;
}

/// The metadata that both forms share.
const CALLS: Spec = Spec { complexity: c"Depends on the function that is called", args: script_args!(c"function"), ..WRITES };

pub struct Any;

impl Fcall for Any {
    const SPEC: Spec = Spec { name: c"atomic.fcall", summary: c"Calls a library function.", ..CALLS };
    const READ_ONLY: bool = false;
}

pub struct ReadOnly;

impl Fcall for ReadOnly {
    const SPEC: Spec = Spec {
        name: c"atomic.fcall_ro",
        summary: c"Calls a read-only library function.",
        flags: READS.flags,
        keys: READS.keys,
        ..CALLS
    };
    const READ_ONLY: bool = true;
}

pub struct FcallCommand<F>(PhantomData<F>);

impl<F: Fcall> Command for FcallCommand<F> {
    const SPEC: Spec = F::SPEC;

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, args: Args<'_>) -> Result<Reply> {
        let mode = RunMode { read_only: F::READ_ONLY, standing_in: dropin::is_standing_in(), ..RunMode::default() };
        scripting::function(keyspace, args, mode)
    }
}
