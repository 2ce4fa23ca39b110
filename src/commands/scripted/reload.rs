//! `ATOMIC.COMMANDS RELOAD`: reloads the files of `commands-dir`, all or none, on this server only.
//!
//! Reply: OK. From then on the commands run the functions of the new files, and a command that no file declares any more returns
//! an error. Everything else that the server learned when the module loaded stays: a changed summary shows after a restart.
//! Errors: a file that cannot be read or does not load, with its line; a new name, or a changed arity, flag, access or key, which
//! needs a restart. Nothing changes on an error.

use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::scripted;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Reload;

impl Command for Reload {
    const SPEC: Spec = Spec {
        name: c"atomic.commands|reload",
        flags: c"admin allow-stale deny-script",
        categories: c"scripting",
        summary: c"Reloads the files of scripted commands, all or none.",
        complexity: c"O(N) with N bytes of files",
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
