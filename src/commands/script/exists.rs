//! `ATOMIC.SCRIPT EXISTS sha1 [sha1 ...]`: returns which scripts exist.
//!
//! Reply: 1 or 0 per SHA1, in their order. A stored script exists whether or not it was used since the restart.

use super::READS;
use crate::commands::spec::{Arg, Command, Keys, Spec, Wrapper};
use crate::dropin;
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::scripting;
use crate::scripting::script_store;
use crate::server::args::Args;
use crate::server::module_api::Str;
use crate::server::reply::Reply;

pub struct Exists;

impl Command for Exists {
    const SPEC: Spec = Spec {
        name: c"atomic.script|exists",
        flags: READS,
        categories: c"scripting",
        summary: c"Returns whether scripts exist.",
        complexity: c"O(N) with N SHA1s",
        since: c"0.1.0",
        arity: -3,
        keys: Keys::None,
        args: &[Arg::string(c"sha1").multiple()],
    };

    const WRAPPER: Option<Wrapper> = Some(dropin::serve);

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
