//! What scripts can call, one file per namespace. Each is told about in one row of `sandbox`. `call` is what those share that
//! Redis has in C.

pub(super) mod atomic;
pub(super) mod base;
pub(super) mod bit;
mod call;
pub(super) mod cjson;
pub(super) mod cmsgpack;
pub(super) mod guarded;
pub(super) mod math;
#[expect(unsafe_code, reason = "replies outlive a borrow that the compiler cannot follow")]
pub(super) mod redis;
pub(super) mod register;
pub(super) mod register_command;
pub(super) mod structs;
