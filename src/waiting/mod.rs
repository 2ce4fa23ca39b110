//! Waiting on the server: who is next at a key, and how it learns that its turn has come.
//!
//! A request that cannot be granted blocks its client and joins the line of its key. Whoever changes the key - a command of ours, in its
//! own write; another command, a flush, the end of a lease, the end of a connection, through an event - leads to a *visit*
//! ([`visit`]): the key is read, the heads of the line are granted what they ask for as far as it goes, the key is written once, and
//! the clients are unblocked. A visit costs the same whatever the length of the line.
//!
//! What must stay true: nobody overtakes a waiting client, but for a holder that enters again; a grant whose client is gone is given
//! back and passed on; nothing is written from a timer or an event while the server is paused, loading or a replica.
//!
//! [`queues`] is the lines as data; [`holding`] what a key must be able to do to have one; [`blocked`] and [`events`] are the edge to
//! the server.

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

pub use events::start;
pub use eviction::warn_once;
pub use holding::{Ask, Wanted, foreign_lock, foreign_semaphore, upgrade};
pub use queues::Kind;
pub use state::{figures, forget, lines_are_empty, prolong, released, stop, waiters};
pub use visit::{Patience, Terms, acquire, settled, visit};
