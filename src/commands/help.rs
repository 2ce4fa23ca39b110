//! The HELP subcommand of a container.

use std::marker::PhantomData;

use super::spec::{Command, Keys, Spec};
use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::reply::Reply;

/// A container with a HELP subcommand.
pub trait Help {
    /// [`SPEC`] with a name and flags.
    const SPEC: Spec;

    /// The text, in the format of the server's own HELP.
    const LINES: &[&str];
}

/// The metadata that all HELP subcommands share.
pub const SPEC: Spec = Spec {
    name: c"",
    flags: c"",
    categories: c"scripting",
    summary: c"Returns help about the subcommands.",
    complexity: c"O(1)",
    since: c"0.1.0",
    arity: 2,
    keys: Keys::None,
    args: &[],
};

pub struct HelpOf<C>(PhantomData<C>);

impl<C: Help> Command for HelpOf<C> {
    const SPEC: Spec = C::SPEC;

    type Request<'a> = ();

    fn parse(args: Args<'_>) -> Result<()> {
        args.finish()
    }

    fn run(_keyspace: &Keyspace, (): ()) -> Result<Reply> {
        Ok(Reply::Lines(C::LINES))
    }
}
