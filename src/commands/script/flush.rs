//! `ATOMIC.SCRIPT FLUSH [ASYNC | SYNC]`: removes every script, here and on the replicas.
//!
//! Reply: OK. Deletes the libraries that LOAD stored, and no others. ASYNC and SYNC are accepted as in SCRIPT FLUSH but make no
//! difference: the memory is freed before the reply. On a replica the command only empties the local cache: stored scripts belong to
//! the primary, and the replica finds them again on their next use. Replicates `FUNCTION DELETE atomic_<sha1>` for each stored
//! script, in one MULTI/EXEC.

use super::CHANGES;
use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::{Args, is};
use crate::server::reply::Reply;

pub struct Flush;

impl Command for Flush {
    const SPEC: Spec = Spec {
        name: c"atomic.script|flush",
        flags: CHANGES,
        categories: c"scripting write",
        summary: c"Removes all cached and stored scripts.",
        complexity: c"O(N) with N scripts and function libraries",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::one_of(c"flush-type", &[Arg::word(c"async", c"ASYNC"), Arg::word(c"sync", c"SYNC")]).optional()],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = ();

    fn parse(mut args: Args<'_>) -> Result<()> {
        const USAGE: Error = Error::Text("ERR ATOMIC.SCRIPT FLUSH only supports SYNC|ASYNC option");
        match args.take_if_any() {
            Some(option) if !is(option.bytes(), "ASYNC") && !is(option.bytes(), "SYNC") => return Err(USAGE),
            _ => {}
        }
        args.finish()
    }

    fn run(keyspace: &Keyspace, (): ()) -> Result<Reply> {
        script_store::flush(keyspace.ctx(), &mut scripting::engine()?.engine)?;
        Ok(Reply::Ok)
    }
}
