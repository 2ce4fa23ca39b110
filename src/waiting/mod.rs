//! Waiting for locks and semaphores: the queues of clients, and their service.
//!
//! A request that cannot be granted blocks its client, which joins the queue of its key. Every change of the key leads to a *visit*
//! ([`visit`]): a command of this module visits the key in its own write; another command, a flush, the end of a lease or of a connection
//! does so through an event. A visit reads the key, grants the requests at the head of the queue, writes the key once and unblocks the
//! served clients. Its cost does not depend on the length of the queue.
//!
//! Invariants: no request overtakes a waiter, except that of a holder that acquires again. A grant whose client is gone is taken back and
//! handed off. A timer or an event writes nothing while the server is paused, loading or a replica.
//!
//! - [`queues`]: the queues as data.
//! - [`holding`]: what a visit needs of a lock or a semaphore. The commands lay the replies out ([`holding::Layout`]).
//! - [`acquire`]: a new request. [`visit`]: the service of a queue. [`bindings`]: shares that end with a connection.
//! - [`state`]: all state between commands. [`drain`], [`eviction`] and [`redirect`] handle one special case each.
//! - [`blocked`] and [`events`]: the edge to the server.

mod acquire;
mod bindings;
#[expect(unsafe_code, reason = "callbacks about blocked clients")]
mod blocked;
pub mod drain;
#[expect(unsafe_code, reason = "timers, jobs and keyspace events call back here")]
mod events;
mod eviction;
mod holding;
mod queues;
mod redirect;
mod state;
mod visit;

pub use acquire::acquire;
pub use events::start;
pub use eviction::warn_once;
pub use holding::{AcquireRequest, Answer, Ask, Terms, Wait, foreign_lock, foreign_semaphore, upgrade};
pub use queues::Kind;
pub use state::{figures, forget, released, renewed, stop, waiters};
pub use visit::{settled, visit};
