//! State that only the server's main thread touches.
//!
//! The server runs commands, timers and callbacks of a module on one thread. A `RefCell` behind that fact is all that global state
//! needs; a borrow that is already taken (a script that would run a script) is seen and refused, not waited for.

use std::cell::{RefCell, RefMut};

/// A cell for the server's main thread.
pub struct ServerThread<T>(RefCell<T>);

// SAFETY: the cell is only reached from callbacks that the server makes on its main thread (commands, configuration, info, load and
// unload), never from a thread of ours: the watchdog of the script engine shares nothing with it.
unsafe impl<T> Sync for ServerThread<T> {}

impl<T> ServerThread<T> {
    /// Wraps the initial value.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// The value, or `None` while somebody further up the stack has it.
    pub fn try_borrow_mut(&self) -> Option<RefMut<'_, T>> {
        self.0.try_borrow_mut().ok()
    }
}
