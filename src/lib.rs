//! Atomic commands for Redis and Valkey in one loadable module: rate limits, locks, compare-and-set, and a sandboxed Lua engine.
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
//! The layers, top to bottom. An upper layer may use a lower one, never the reverse:
//!
//! - [`module`]: load and unload, registration, settings, INFO.
//! - [`commands`]: one file per command.
//! - [`dropin`]: drop-in mode, which runs the server's own EVAL and its relatives on this engine.
//! - [`scripting`]: the Lua engine on a real server. It implements the engine's port.
//! - [`waiting`]: queues of clients that wait for a lock or a semaphore.
//! - [`lua`]: the Lua engine. It reaches the server only through its port.
//! - [`keyspace`]: reads and changes keys, replicates the changes and announces them.
//! - [`server`]: the server's C API.
//! - [`primitives`]: pure decisions that return their effects as values.
//! - [`error`], [`settings`]: leaves that every layer may use.
//!
//! `ARCHITECTURE.md` is the map.

#![deny(unsafe_code)]

pub mod commands;
pub mod dropin;
pub mod error;
pub mod keyspace;
pub mod lua;
#[expect(unsafe_code, reason = "registration and the entry points of the module are C")]
pub mod module;
pub mod primitives;
pub mod scripting;
#[expect(unsafe_code, reason = "this layer wraps the C API of the server")]
pub mod server;
pub mod settings;
pub mod waiting;

#[cfg(feature = "server-alloc")]
#[global_allocator]
static ALLOCATOR: redis_module::alloc::RedisAlloc = redis_module::alloc::RedisAlloc;
#[cfg(not(feature = "server-alloc"))]
#[global_allocator]
static ALLOCATOR: std::alloc::System = std::alloc::System;
