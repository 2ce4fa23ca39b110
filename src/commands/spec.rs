//! What a command is made of: its metadata, its arguments, its run.
//!
//! The metadata stands in the command's file, as constants, and is handed to the server once, at load. (The `redis-module` crate's
//! `#[command]` attribute knows no argument docs and copies every argument on every call, so we register commands ourselves.)

use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

pub use crate::server::spec::{Arg, ArgKind, EXPIRY, KeyFlags, Keys, Spec};

/// Runs a command, with what comes before and after it.
pub type Around = fn(Ctx, &[Str<'_>], &mut dyn FnMut() -> Result<Reply>) -> Result<Reply>;

/// One command.
pub trait Command {
    /// What the server is told about it.
    const SPEC: Spec;

    /// What its runs are wrapped in.
    const AROUND: Option<Around> = None;

    /// Its arguments, read.
    type Request<'a>;

    /// Reads the arguments. Everything that can be refused without the key is refused here.
    fn parse<'a>(args: Args<'a>) -> Result<Self::Request<'a>>;

    /// Decides, applies, answers. All validation precedes the first write.
    fn run(keyspace: &Keyspace, request: Self::Request<'_>) -> Result<Reply>;
}
