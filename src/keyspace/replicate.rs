//! An applied effect as the plain Redis commands that replicas and the AOF get.
//!
//! Times are absolute, values are final: a replica needs neither a clock nor this module. Nothing is replicated verbatim.

use super::module_api::{Ctx, OwnedStr, Str, Token};
use crate::primitives::effect::Expiry;
use crate::primitives::time::UnixMs;

/// `DEL key`
pub fn delete(ctx: Ctx, key: Str<'_>) {
    ctx.replicate(c"DEL", &[key]);
}

/// `PEXPIREAT key t`
pub fn expire(ctx: Ctx, key: Str<'_>, at: UnixMs) {
    ctx.replicate(c"PEXPIREAT", &[key, OwnedStr::number(at.as_i64()).as_str()]);
}

/// `SET key value [PXAT t | KEEPTTL]`
pub fn put(ctx: Ctx, key: Str<'_>, value: Str<'_>, expiry: Expiry) {
    match expiry {
        Expiry::Clear => ctx.replicate(c"SET", &[key, value]),
        Expiry::Keep => ctx.replicate(c"SET", &[key, value, Token::KeepTtl.as_str()]),
        Expiry::At(at) => ctx.replicate(c"SET", &[key, value, Token::Pxat.as_str(), OwnedStr::number(at.as_i64()).as_str()]),
    }
}
