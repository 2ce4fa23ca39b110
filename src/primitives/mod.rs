//! The decisions.
//!
//! A primitive is a pure function: (stored state, now, request) -> (outcome, effect). It knows no server, no Lua, no clock,
//! no I/O, no statics, no `unsafe`, no panic. The keyspace applies, replicates and announces the one [`effect::Effect`] that a
//! primitive returns, so the key and the replicas cannot disagree. Time is an argument, so tests own the clock. Stored bytes are
//! hostile: every decoder is total.

pub mod cas;
pub mod codec;
pub mod condition;
pub mod counter;
pub mod due;
pub mod effect;
pub mod fence;
pub mod few;
pub mod idem;
pub mod list;
pub mod lock;
pub mod number;
pub mod once;
pub mod ratelimit;
pub mod replay;
pub mod resp;
pub mod semaphore;
pub mod time;
