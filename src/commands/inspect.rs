//! `ATOMIC.EVALTRACE script numkeys [key ...] [arg ...]`: runs a Lua script and reports what it did.
//!
//! Runs as ATOMIC.EVAL does: its writes stay. `ATOMIC.FCALLTRACE function numkeys ...` does the same for a library function.
//! `ATOMIC.EVALDRYRUN` and `ATOMIC.FCALLDRYRUN` report the same and undo everything at the end: the data is what it was, messages are not
//! published, and nothing goes to the replicas and the AOF, except deletions of keys that had expired.
//! Reply: a map, which is a flat array in RESP2. `reply` is the result of the script, or `error` its error. `us` is the time of the run
//! in microseconds; `memory` the bytes by which it enlarged the engine; `calls` its first 1,000 calls, each a map of `line`, `us`,
//! `command` with words of at most 64 bytes, and `reply` or `error` on one short line; `more-calls` the number of further calls;
//! `written` the keys that it may have written; `undeclared` the keys that it used and KEYS does not have.
//! Errors: those of ATOMIC.EVAL and ATOMIC.FCALL for a script that did not start. In a dry run: a call that cannot be undone.

use std::marker::PhantomData;

use super::eval::{WRITES, script_args};
use super::spec::{Arg, Command, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::{self, Inspection, Request, RunMode, ScriptArgument};
use crate::server::args::Args;
use crate::server::reply::Reply;

/// A script or a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Script,
    Function,
}

/// One of the four forms.
pub trait Inspect {
    const SPEC: Spec;
    const CODE: Code;
    const INSPECTION: Inspection;
}

/// The metadata of the two forms for functions.
const OF_FUNCTION: Spec =
    Spec { complexity: c"Depends on the function that is called", args: script_args!(c"function"), ..WRITES };

pub struct EvalTrace;

impl Inspect for EvalTrace {
    const SPEC: Spec = Spec { name: c"atomic.evaltrace", summary: c"Runs a Lua script and reports each of its calls.", ..WRITES };
    const CODE: Code = Code::Script;
    const INSPECTION: Inspection = Inspection::Trace;
}

pub struct EvalDryRun;

impl Inspect for EvalDryRun {
    const SPEC: Spec =
        Spec { name: c"atomic.evaldryrun", summary: c"Runs a Lua script, reports each of its calls and undoes them.", ..WRITES };
    const CODE: Code = Code::Script;
    const INSPECTION: Inspection = Inspection::DryRun;
}

pub struct FcallTrace;

impl Inspect for FcallTrace {
    const SPEC: Spec =
        Spec { name: c"atomic.fcalltrace", summary: c"Calls a library function and reports each of its calls.", ..OF_FUNCTION };
    const CODE: Code = Code::Function;
    const INSPECTION: Inspection = Inspection::Trace;
}

pub struct FcallDryRun;

impl Inspect for FcallDryRun {
    const SPEC: Spec = Spec {
        name: c"atomic.fcalldryrun",
        summary: c"Calls a library function, reports each of its calls and undoes them.",
        ..OF_FUNCTION
    };
    const CODE: Code = Code::Function;
    const INSPECTION: Inspection = Inspection::DryRun;
}

pub struct InspectCommand<I>(PhantomData<I>);

impl<I: Inspect> Command for InspectCommand<I> {
    const SPEC: Spec = I::SPEC;

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, args: Args<'_>) -> Result<Reply> {
        let mode = RunMode { inspection: I::INSPECTION, ..RunMode::default() };
        match I::CODE {
            Code::Script => scripting::script(keyspace, &Request::parse(args)?, ScriptArgument::Source, mode),
            Code::Function => scripting::function(keyspace, args, mode),
        }
    }
}
