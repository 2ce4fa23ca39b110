//! Atomic commands for Redis and Valkey: rate limits, locks, compare-and-set, and a sandboxed Lua engine, as one loadable module.
//!
//! ```text
//! > ATOMIC.RATELIMIT user:42 BUCKET 10 5 1000
//! 1) 1    granted          4) 0    retry after ms
//! 2) 10   limit            5) 200  full again after ms
//! 3) 9    remaining        6) 0    policy
//! > ATOMIC.CAS config old new
//! (integer) 1
//! ```
//!
//! Layers, top to bottom; an upper one may use a lower one, never the reverse:
//!
//! - [`module`]: load and unload, registration, settings, INFO.
//! - [`commands`]: one file per command.
//! - [`script`]: the Lua engine, behind a port that `commands` implements.
//! - [`keyspace`]: the only code that opens keys, reads the clock, writes, replicates and notifies.
//! - [`primitives`]: pure decisions that return what they do as a value.
//! - [`error`], [`settings`]: leaves that every layer may use.
//!
//! `ARCHITECTURE.md` is the map.

pub mod commands;
pub mod error;
pub mod keyspace;
pub mod module;
pub mod primitives;
pub mod script;
pub mod settings;
pub mod waiting;

use module::load::{on_load, on_unload};

#[cfg(feature = "server-alloc")]
macro_rules! module_allocator {
    () => {
        redis_module::alloc::RedisAlloc
    };
}
#[cfg(not(feature = "server-alloc"))]
macro_rules! module_allocator {
    () => {
        std::alloc::System
    };
}

#[allow(missing_docs, clippy::undocumented_unsafe_blocks, clippy::indexing_slicing)]
mod exports {
    use super::{on_load, on_unload};

    redis_module::redis_module! {
        name: "atomic",
        version: crate::module::load::VERSION,
        allocator: (module_allocator!(), module_allocator!()),
        data_types: [],
        init: on_load,
        deinit: on_unload,
    }
}
