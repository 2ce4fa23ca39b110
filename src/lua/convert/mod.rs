//! Replies of commands become Lua values (`read`), and the value that a script returns becomes a reply (`write`).
//!
//! Both directions are total: any bytes and any value give a result or a clean refusal.

mod read;
mod write;

use std::ffi::c_int;

pub(super) use self::read::{Malformed, Pushed, push_reply, push_with_code};
pub(super) use self::write::{measure, write};

/// Slots of the Lua stack for one level of a reply, with a reserve.
const SLOTS_PER_LEVEL: c_int = 8;
