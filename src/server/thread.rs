//! State that only the server's main thread may touch.
//!
//! The server runs the commands, timers and callbacks of a module on its main thread, so a `RefCell` is enough for global state. A
//! second borrow (a script that runs a script) is refused; it never blocks.

use std::cell::{RefCell, RefMut};
use std::sync::OnceLock;
use std::thread::{self, ThreadId};

/// The thread that loaded the module. Unset in unit tests, which have no server.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

/// Records the calling thread as the server's main thread. The load of the module calls this before anything else.
pub fn note_main() {
    let _ = MAIN.set(thread::current().id());
}

/// A cell that only the server's main thread may borrow.
///
/// The type is `Sync`, and the compiler cannot check the rule that makes this sound: the module borrows such a cell only in callbacks
/// that the server makes on its main thread (commands, timers, events, settings, INFO, load and unload). The one thread that the module
/// starts, the watchdog of the script engine, has no such cell. Debug builds, and so all tests, check the thread at each borrow.
pub struct ServerThread<T>(RefCell<T>);

// SAFETY: one thread alone borrows the cell, as the type's documentation states, so the `RefCell` is never used from two threads.
unsafe impl<T> Sync for ServerThread<T> {}

impl<T> ServerThread<T> {
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// The value, or `None` while a caller further up the stack has borrowed it.
    pub fn try_borrow_mut(&self) -> Option<RefMut<'_, T>> {
        debug_assert!(is_main_thread(), "server state is borrowed outside the server's main thread");
        self.0.try_borrow_mut().ok()
    }
}

fn is_main_thread() -> bool {
    MAIN.get().is_none_or(|main| *main == thread::current().id())
}
