//! The parts of a command: its metadata, its arguments and its code.
//!
//! The metadata is a constant in the command's file. The server gets it once, at load. (The `redis-module` crate's `#[command]`
//! attribute does not support argument docs and copies every argument on every call, so this module registers its commands itself.)

use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

pub use crate::server::spec::{Arg, ArgKind, EXPIRY, KeyFlags, Keys, Spec};

/// Wraps the run of a command.
pub type Wrapper = fn(Ctx, &[Str<'_>], &mut dyn FnMut() -> Result<Reply>) -> Result<Reply>;

pub trait Command {
    /// The metadata for the server.
    const SPEC: Spec;

    /// The wrapper of its runs.
    const WRAPPER: Option<Wrapper> = None;

    /// The parsed arguments.
    type Request<'a>;

    /// Parses the arguments. Every error that does not depend on the key is returned here.
    fn parse<'a>(args: Args<'a>) -> Result<Self::Request<'a>>;

    /// Decides, applies the effect and returns the reply. All validation precedes the first write.
    fn run(keyspace: &Keyspace, request: Self::Request<'_>) -> Result<Reply>;
}
