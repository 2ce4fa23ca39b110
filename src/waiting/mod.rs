//! Waiting for locks, semaphores and members of sorted sets that come due: the queues of clients, and their service.
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
//! - [`claim`]: what a visit needs of a key, and its kinds: [`lock`], [`semaphore`] and [`due`]. The commands lay the replies out
//!   ([`claim::Layout`]).
//! - [`acquire`]: a new claim. [`visit`]: the service of a queue. [`bindings`]: holds that last as long as a connection.
//! - [`deferred`]: a run that may be undone serves no queue before it is decided.
//! - [`state`]: all state between commands. [`unread`]: grants on their way to their clients. [`drain`], [`warnings`] and [`redirect`] handle one special case each.
//!   [`report`]: what an operator sees.
//! - [`blocked`] and [`events`]: the edge to the server.

mod acquire;
mod bindings;
#[expect(unsafe_code, reason = "callbacks about blocked clients")]
mod blocked;
mod claim;
pub mod deferred;
pub mod drain;
mod due;
#[expect(unsafe_code, reason = "timers, jobs and keyspace events call back here")]
mod events;
mod lock;
mod queues;
mod redirect;
pub mod report;
mod semaphore;
mod state;
mod unread;
mod visit;
mod warnings;

pub use acquire::acquire;
pub use claim::{Answer, Claim, Hold, Terms, Wait};
pub use due::DueSet;
pub use events::start;
pub use lock::foreign_lock;
pub use queues::Kind;
pub use redirect::{elsewhere, owns_slot};
pub use semaphore::foreign_semaphore;
pub use state::{acquired, figures, forget, renewed, resource, stop};
pub use visit::{settled, visit};
pub use warnings::warn_once;
