//! `ATOMIC.COMMANDS RELOAD`: read the files of commands again, all or none, on this server only.
//!
//! Reply: OK; from then on the commands run the functions that the files have now, and a command that no file declares any more answers
//! an error. Whatever else the server was told when the module loaded stays: a changed summary shows after a restart.
//! Errors: a file that cannot be read or does not load, with its line; a new name, or another arity, flag, access or key, which needs a
//! restart. Nothing changes then.

use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::scripted;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Reload;

impl Command for Reload {
    const SPEC: Spec = Spec {
        name: c"atomic.commands|reload",
        flags: c"admin allow-stale deny-script",
        categories: c"scripting",
        summary: c"Reads the files of commands again, all or none.",
        complexity: c"O(N) in the size of the files",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(keyspace: &Keyspace, (): ()) -> Result<Reply> {
        scripted::reload(keyspace.ctx()).map(|()| Reply::Ok)
    }
}
