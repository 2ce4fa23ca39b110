//! `ATOMIC.SCRIPT EXISTS sha1 [sha1 ...]`: which scripts are known.
//!
//! Reply: 1 or 0 per SHA1, in their order. A script that is stored counts, whether it was used since the restart or not.

use super::READS;
use crate::commands::spec::{Arg, Around, Command, Keys, Spec};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

/// See the top of this file.
pub struct Exists;

impl Command for Exists {
    const SPEC: Spec = Spec {
        name: c"atomic.script|exists",
        flags: READS,
        categories: c"scripting",
        summary: c"Tells which scripts are known.",
        complexity: c"O(N) in the number of scripts asked for",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[Arg::string(c"sha1").multiple()],
    };

    const AROUND: Option<Around> = Some(dropin::serve);

    type Request<'a> = Args<'a>;

    fn parse(args: Args<'_>) -> Result<Args<'_>> {
        Ok(args)
    }

    fn run(keyspace: &Keyspace, shas: Args<'_>) -> Result<Reply> {
        let mut scripting = scripting::engine()?;
        let mut known = |sha: &Str<'_>| script_store::find(keyspace.ctx(), &mut scripting.engine, sha.bytes()).is_some();
        Ok(Reply::Array(shas.rest().iter().map(|sha| Reply::Integer(known(sha).into())).collect()))
    }
}
