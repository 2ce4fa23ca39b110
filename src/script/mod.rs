//! The Lua engine: a sandboxed Luau VM, its script cache and its limits.
//!
//! It knows `port`, `error` and `primitives`, and neither the commands nor the module API, so that a fake port tests it without a
//! server.

pub mod port;
