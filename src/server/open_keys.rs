//! How many keys are open: a key handle must not be open when the server is called, which may change the key.

use std::cell::Cell;

thread_local! {
    /// The number of open keys. Debug builds, and so all tests, assert that no command of the server runs while one is open.
    static OPEN: Cell<usize> = const { Cell::new(0) };
}

/// Every call that may change keys without this module's knowledge starts here: it would leave an open handle stale.
pub fn assert_none() {
    debug_assert!(OPEN.get() == 0, "a key handle is open across a call of the server");
}

/// Counts a key that was opened or closed.
pub(super) fn count(change: isize) {
    if cfg!(debug_assertions) {
        OPEN.set(OPEN.get().saturating_add_signed(change));
    }
}
