//! `ATOMIC.FUNCTION DUMP`: dumps all libraries into one payload, for RESTORE.
//!
//! Reply: that of FUNCTION DUMP, so that either RESTORE command accepts it.

use crate::commands::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting::library_store::server_list;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Dump;

impl Command for Dump {
    const SPEC: Spec = Spec {
        name: c"atomic.function|dump",
        flags: c"deny-script",
        categories: c"scripting",
        summary: c"Dumps all function libraries into a serialized payload.",
        complexity: c"O(N) with N functions",
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
        server_list::relay(keyspace.ctx(), b"DUMP", &[])?;
        Ok(Reply::Sent)
    }
}
