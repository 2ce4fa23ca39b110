//! `ATOMIC.SCRIPT SHOW sha1`: returns the source of a script.
//!
//! Reply: the exact bytes of the source, as a bulk string. Errors: NOSCRIPT when there is no such script.

use super::READS;
use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::Args;
use crate::server::reply::Reply;

pub struct Show;

impl Command for Show {
    const SPEC: Spec = Spec {
        name: c"atomic.script|show",
        flags: READS,
        categories: c"scripting",
        summary: c"Returns the source of a script.",
        complexity: c"O(N) with a script of N bytes",
        since: c"0.1.0",
        arity: 3,
        keys: Keys::None,
        args: &[Arg::string(c"sha1")],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

    type Request<'a> = &'a [u8];

    fn parse(mut args: Args<'_>) -> Result<&[u8]> {
        let sha = args.bytes()?;
        args.finish()?;
        Ok(sha)
    }

    fn run(keyspace: &Keyspace, sha: &[u8]) -> Result<Reply> {
        let mut scripting = scripting::engine()?;
        let digest = script_store::find(keyspace.ctx(), &mut scripting.engine, sha).ok_or(Error::NoScript)?;
        scripting.engine.source(digest).map(|source| Reply::Bulk(source.to_vec())).ok_or(Error::NoScript)
    }
}
