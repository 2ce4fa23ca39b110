//! `ATOMIC.SCRIPT LOAD script | EXISTS sha1 [sha1 ...] | FLUSH [ASYNC | SYNC] | KILL`: the script cache, and the script that runs.
//!
//! LOAD compiles a script and keeps it until FLUSH or the end of the process; its reply is the SHA1. EXISTS answers 1 or 0 per SHA1.
//! FLUSH forgets every script and replies OK; ASYNC and SYNC are accepted as the server's own SCRIPT FLUSH accepts them, and mean the
//! same here: the memory is given back before the reply. KILL ends the script that keeps the server busy, if it has written nothing.
//! Errors: a script that does not compile, with its line; NOTBUSY and UNKILLABLE of KILL.

use super::scripting;
use super::spec::{Arg, Command, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::args::{Args, is};
use crate::keyspace::reply::Reply;

/// The container.
pub const CONTAINER: Spec = Spec {
    name: c"atomic.script",
    flags: c"",
    categories: c"scripting",
    summary: c"A container for the commands of the script cache.",
    complexity: c"Depends on the subcommand",
    since: c"0.1.0",
    arity: -2,
    keys: Keys::None,
    args: &[],
};

/// `ATOMIC.SCRIPT LOAD`
pub struct Load;

impl Command for Load {
    const SPEC: Spec = Spec {
        name: c"atomic.script|load",
        flags: c"may-replicate allow-stale deny-script",
        categories: c"scripting",
        summary: c"Compiles a Lua script and keeps it in the cache.",
        complexity: c"O(N) in the length of the script",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::string(c"script")],
    };

    type Request<'a> = &'a [u8];

    fn parse(mut args: Args<'_>) -> Result<&[u8]> {
        let script = args.bytes()?;
        args.finish()?;
        Ok(script)
    }

    fn run(_keyspace: &Keyspace, script: &[u8]) -> Result<Reply> {
        let digest = scripting::engine()?.engine.load(script)?;
        Ok(Reply::Bulk(digest.hex().to_vec()))
    }
}

/// `ATOMIC.SCRIPT EXISTS`
pub struct Exists;

impl Command for Exists {
    const SPEC: Spec = Spec {
        name: c"atomic.script|exists",
        flags: c"allow-stale deny-script",
        categories: c"scripting",
        summary: c"Tells which scripts are in the cache.",
        complexity: c"O(N) in the number of scripts asked for",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[Arg::string(c"sha1").multiple()],
    };

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(_keyspace: &Keyspace, shas: Args<'_>) -> Result<Reply> {
        let scripting = scripting::engine()?;
        let known = |sha: &[u8]| Reply::Integer(i64::from(scripting.engine.exists(sha)));
        Ok(Reply::Array(shas.rest().iter().map(|sha| known(sha.bytes())).collect()))
    }
}

/// `ATOMIC.SCRIPT FLUSH`
pub struct Flush;

impl Command for Flush {
    const SPEC: Spec = Spec {
        name: c"atomic.script|flush",
        flags: c"may-replicate allow-stale deny-script",
        categories: c"scripting",
        summary: c"Forgets every cached script.",
        complexity: c"O(N) in the number of cached scripts",
        since: c"0.1.0",
        arity: -2,
        keys: Keys::None,
        args: &[Arg::one_of(c"flush-type", &[Arg::word(c"async", c"ASYNC"), Arg::word(c"sync", c"SYNC")]).optional()],
    };

    type Request<'a> = ();

    fn parse(mut args: Args<'_>) -> Result<()> {
        const USAGE: Error = Error::Text("ERR ATOMIC.SCRIPT FLUSH only supports SYNC|ASYNC option");
        match args.take_if_any() {
            Some(option) if !is(option.bytes(), "ASYNC") && !is(option.bytes(), "SYNC") => return Err(USAGE),
            _ => {}
        }
        args.finish()
    }

    fn run(_keyspace: &Keyspace, (): ()) -> Result<Reply> {
        scripting::engine()?.engine.flush()?;
        Ok(Reply::Ok)
    }
}

/// `ATOMIC.SCRIPT KILL`
pub struct Kill;

impl Command for Kill {
    const SPEC: Spec = Spec {
        name: c"atomic.script|kill",
        flags: c"allow-busy allow-stale deny-script",
        categories: c"scripting",
        summary: c"Ends the script that keeps the server busy, if it has written nothing.",
        complexity: c"O(1)",
        since: c"0.1.0",
        arity: 2,
        keys: Keys::None,
        args: &[],
    };

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(_keyspace: &Keyspace, (): ()) -> Result<Reply> {
        scripting::busy::kill().map(|()| Reply::Ok)
    }
}
