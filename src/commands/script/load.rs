//! `ATOMIC.SCRIPT LOAD script`: compiles a script and stores it.
//!
//! Reply: its SHA1, in hex. The script is stored in the server's function store as a library `atomic_<sha1>`. So it survives a
//! restart and a failover and reaches every replica, until SCRIPT FLUSH. When the store has no room (`script-store-max-bytes`,
//! `maxmemory`) or holds another library of that name, and on a replica, the script is loaded but not stored: it can be evicted
//! like a script that ATOMIC.EVAL has cached. While writes are paused (CLIENT PAUSE, a failover) it is loaded at once and stored
//! when the pause ends.
//! Replicates `FUNCTION LOAD REPLACE <library>` once; nothing when the script is already stored.
//! Errors: a script that does not compile, with its line.

use super::LOADS;
use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Load;

impl Command for Load {
    const SPEC: Spec = Spec {
        name: c"atomic.script|load",
        flags: LOADS,
        categories: c"scripting write",
        summary: c"Compiles a Lua script and stores it on this server and its replicas.",
        complexity: c"O(N) with a script of N bytes",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::string(c"script")],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = &'a [u8];

    fn parse(mut args: Args<'_>) -> Result<&[u8]> {
        let script = args.bytes()?;
        args.finish()?;
        Ok(script)
    }

    fn run(keyspace: &Keyspace, script: &[u8]) -> Result<Reply> {
        let digest = script_store::load(keyspace.ctx(), &mut *scripting::engine()?, script)?;
        scripting::cluster::announce(keyspace.ctx(), digest);
        Ok(Reply::Bulk(digest.hex().to_vec()))
    }
}
