//! `ATOMIC.HMGETOR key field default [field default ...]`: returns fields of a hash, with a default for each missing one.
//!
//! Reply: an array with one value per field, in order: the stored one, or its default. A missing key has no fields.
//! Read-only: writes and replicates nothing, works on replicas.
//! Errors: WRONGTYPE when the key is not a hash; wrong number of arguments when a field has no default.

use super::spec::{Arg, Command, KeyFlags, Keys, Spec};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::server::args::Args;
use crate::server::module_api::{OwnedStr, Str};
use crate::server::reply::Reply;

pub struct HMGetOr;

pub struct Request<'a> {
    key: Str<'a>,
    /// Fields and their defaults.
    pairs: &'a [[Str<'a>; 2]],
}

impl Command for HMGetOr {
    const SPEC: Spec = Spec {
        name: c"atomic.hmgetor",
        flags: c"readonly fast",
        categories: c"hash",
        summary: c"Returns fields of a hash, with a default for each missing field.",
        complexity: c"O(N) in the number of fields",
        since: c"0.1.0",
        arity: -4,
        keys: Keys::first(KeyFlags::Read),
        args: &[Arg::KEY, Arg::block(c"fields", &[Arg::string(c"field"), Arg::string(c"default")]).multiple()],
    };

    type Request<'a> = Request<'a>;

    fn parse(mut args: Args<'_>) -> Result<Request<'_>> {
        let key = args.take()?;
        match args.rest().as_chunks() {
            ([], _) => Err(Error::Arity),
            (pairs, []) => Ok(Request { key, pairs }),
            (_, [_, ..]) => Err(Error::Arity),
        }
    }

    fn run(keyspace: &Keyspace, request: Request<'_>) -> Result<Reply> {
        let values = keyspace.fields(request.key, request.pairs.iter().map(|[field, _]| *field))?;
        let chosen = |(value, [_, default]): (Option<OwnedStr>, &[Str<'_>; 2])| {
            Reply::Bulk(value.as_ref().map_or(*default, OwnedStr::as_str).bytes().to_vec())
        };
        Ok(Reply::Array(values.into_iter().zip(request.pairs).map(chosen).collect()))
    }
}
