//! A run that may be undone: what it does to waiting clients happens when it is decided.
//!
//! A client that is granted a lock cannot be made to wait again, so no queue is served during such a run: its keys are noted and visited
//! after it. A change of a binding is noted, too, and dropped if the run is undone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bindings::Holder;
use super::claim::Hold;
use super::events;
use super::queues::Resource;
use super::state::{Task, with};
use crate::error::Result;
use crate::primitives::time::UnixMs;
use crate::server::module_api::Ctx;
use crate::server::thread::ServerThread;

/// A change that waits for the decision.
pub(super) enum Change {
    Forgotten(Holder),
    Renewed(Holder, UnixMs, UnixMs),
    Acquired(Resource, Hold<'static>, UnixMs),
}

struct Notes {
    changes: Vec<Change>,
    visits: BTreeSet<Resource>,
}

static NOTES: ServerThread<Notes> = ServerThread::new(Notes { changes: Vec::new(), visits: BTreeSet::new() });

/// Whether such a run is under way.
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Whether queues must not be served now.
pub(super) fn is_on() -> bool {
    UNDER_WAY.load(Ordering::Relaxed)
}

/// Notes a change of a binding.
pub(super) fn note(change: Change) {
    if let Some(mut notes) = NOTES.try_borrow_mut() {
        notes.changes.push(change);
    }
}

/// Notes that the queue of a resource must be visited after the run.
pub(super) fn note_visit(resource: Resource) {
    if let Some(mut notes) = NOTES.try_borrow_mut() {
        notes.visits.insert(resource);
    }
}

fn take() -> Notes {
    const NONE: Notes = Notes { changes: Vec::new(), visits: BTreeSet::new() };
    NOTES.try_borrow_mut().map_or(NONE, |mut notes| std::mem::replace(&mut notes, NONE))
}

/// A run that may be undone, from [`begin`] to [`Deferred::end`].
pub struct Deferred(());

/// Begins such a run.
#[must_use]
pub fn begin() -> Deferred {
    take();
    UNDER_WAY.store(true, Ordering::Relaxed);
    Deferred(())
}

impl Deferred {
    /// Ends the run. What it did to bindings happens now if its writes stay; queues are visited in any case.
    pub fn end(self, ctx: Ctx, stays: bool) {
        drop(self);
        let Notes { changes, visits } = take();
        if stays {
            // An error concerns one binding, whose lease then ends by itself.
            changes.into_iter().for_each(|change| drop(apply(change)));
        }
        // A failed timer means no visit before the next event of the key.
        visits.into_iter().for_each(|resource| drop(events::post(ctx, Task::Visit(resource))));
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        UNDER_WAY.store(false, Ordering::Relaxed);
    }
}

fn apply(change: Change) -> Result<()> {
    match change {
        Change::Forgotten(holder) => with(|state| state.bindings.forget(&holder)),
        Change::Renewed(holder, until, now) => with(|state| state.bindings.renewed(&holder, None, until, now)),
        Change::Acquired(resource, hold, now) => with(|state| state.acquired(&resource, &hold, None, now)),
    }
}
