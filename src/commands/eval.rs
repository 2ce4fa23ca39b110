//! `ATOMIC.EVAL script numkeys [key ...] [arg ...]` and its other forms: runs a Lua script on the server, atomically.
//!
//! Arguments and reply are those of EVAL; the script sees `KEYS` and `ARGV` and runs commands with `redis.call`. It is compiled
//! once and cached by its SHA1, so that ATOMIC.EVALSHA finds it.
//! Replicates the commands that `redis.call` ran, in one MULTI/EXEC; nothing when nothing was written.
//! Errors: the script's own, with its SHA1 and line; those of `redis.call`, with their own codes; an exceeded limit, with the
//! number of writes that were applied before it.
//!
//! `ATOMIC.EVALSHA sha1 numkeys [key ...] [arg ...]` runs a script that ATOMIC.EVAL or ATOMIC.SCRIPT LOAD has cached. `sha1` is the SHA1 of
//! the script's bytes, in upper or lower case hex. Errors: NOSCRIPT when no such script is cached.
//!
//! `ATOMIC.EVAL_RO` and `ATOMIC.EVALSHA_RO` refuse commands that write or replicate, and refuse a script as a whole when it declares flags
//! without `no-writes`. So they can be sent to a replica, and run during CLIENT PAUSE WRITE.

use std::marker::PhantomData;

use super::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::scripting::{self, Request, RunMode, ScriptArgument};
use crate::server::args::Args;
use crate::server::reply::Reply;

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

/// The metadata that the commands for scripts and functions share. The flags are those of the server's own EVAL: the server checks
/// each command that the script calls.
pub(super) const WRITES: Spec = Spec {
    name: c"",
    flags: c"may-replicate allow-stale no-mandatory-keys deny-script",
    categories: c"scripting",
    summary: c"",
    complexity: c"Depends on the script that is run",
    since: c"0.1.0",
    arity: -3,
    keys: Keys::SCRIPT,
    args: script_args!(c"script"),
};

/// The same for the read-only forms.
pub(super) const READS: Spec = Spec { flags: c"allow-stale no-mandatory-keys deny-script", keys: Keys::SCRIPT_READ, ..WRITES };

/// One of the four forms.
pub trait Eval {
    const SPEC: Spec;
    const ARGUMENT: ScriptArgument;
    const READ_ONLY: bool = false;
}

pub struct BySource;

impl Eval for BySource {
    const SPEC: Spec = Spec { name: c"atomic.eval", summary: c"Runs a Lua script on the server.", ..WRITES };
    const ARGUMENT: ScriptArgument = ScriptArgument::Source;
}

pub struct BySha;

impl Eval for BySha {
    const SPEC: Spec = Spec {
        name: c"atomic.evalsha",
        summary: c"Runs a cached Lua script by its SHA1 digest.",
        args: script_args!(c"sha1"),
        ..WRITES
    };
    const ARGUMENT: ScriptArgument = ScriptArgument::Sha;
}

pub struct BySourceReadOnly;

impl Eval for BySourceReadOnly {
    const SPEC: Spec = Spec { name: c"atomic.eval_ro", summary: c"Runs a read-only Lua script on the server.", ..READS };
    const ARGUMENT: ScriptArgument = ScriptArgument::Source;
    const READ_ONLY: bool = true;
}

pub struct ByShaReadOnly;

impl Eval for ByShaReadOnly {
    const SPEC: Spec = Spec {
        name: c"atomic.evalsha_ro",
        summary: c"Runs a cached read-only Lua script by its SHA1 digest.",
        args: script_args!(c"sha1"),
        ..READS
    };
    const ARGUMENT: ScriptArgument = ScriptArgument::Sha;
    const READ_ONLY: bool = true;
}

pub struct EvalCommand<E>(PhantomData<E>);

impl<E: Eval> Command for EvalCommand<E> {
    const SPEC: Spec = E::SPEC;

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = Request<'a>;

    fn parse(args: Args<'_>) -> Result<Request<'_>> {
        Request::parse(args)
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let mode = RunMode { read_only: E::READ_ONLY, standing_in: dropin::is_standing_in(), ..RunMode::default() };
        match scripting::script(keyspace, &request, E::ARGUMENT, mode) {
            Err(Error::NoScript) => scripting::cluster::pull(keyspace, &request, mode).ok_or(Error::NoScript),
            outcome => outcome,
        }
    }
}
