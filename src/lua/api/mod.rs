//! The functions that scripts can call, one file per namespace. Each namespace has a row in `sandbox`. `library_call` is shared
//! code of the libraries that Redis has in C.

pub(super) mod atomic;
pub(super) mod base;
pub(super) mod bit;
pub(super) mod cjson;
pub(super) mod cmsgpack;
pub(super) mod guarded;
mod library_call;
pub(super) mod math;
#[expect(unsafe_code, reason = "replies outlive a borrow that the compiler cannot follow")]
pub(super) mod redis;
pub(super) mod register;
pub(super) mod register_command;
pub(super) mod structs;
