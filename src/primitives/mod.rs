//! Layer 1: the decisions.
//!
//! A primitive is a pure function: (stored state, now, request) -> (outcome, effect). It knows nothing but `std`: no server, no Lua,
//! no clock, no I/O, no statics, no `unsafe`, no panic. What it decides is applied, replicated and notified elsewhere, from the one
//! [`effect::Effect`] that it returns, so that the key and the replicas cannot disagree. Time comes in as an argument, so tests own
//! the clock. Stored bytes are hostile: every decoder is total.

pub mod cas;
pub mod codec;
pub mod condition;
pub mod counter;
pub mod effect;
pub mod fence;
pub mod idem;
pub mod list;
pub mod lock;
pub mod number;
pub mod once;
pub mod ratelimit;
pub mod resp;
pub mod semaphore;
pub mod time;
