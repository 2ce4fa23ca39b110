//! Rights to the commands for administrators.
//!
//! Such a command is in `@admin` and `@dangerous`. Redis 7.0 has no ACL categories for the commands of modules, so a user with
//! `+@all -@dangerous` has the command there. On such a server the user also needs the right to a command of the server that reveals or
//! does as much.

use crate::error::{Error, Result};
use crate::server::acl::categories_exist;
use crate::server::module_api::{Ctx, OwnedStr};

/// Refuses a caller that has no right to `instead`, where commands of modules have no categories.
pub fn check<const N: usize>(ctx: Ctx, instead: [&[u8]; N], refusal: &'static str) -> Result<()> {
    if categories_exist() || ctx.caller_may(OwnedStr::slice_as_str(&instead.map(OwnedStr::new))) {
        return Ok(());
    }
    Err(Error::Text(refusal))
}
