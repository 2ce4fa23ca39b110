//! The interrupt of a VM: a function pointer that Luau reads at every safepoint (calls, returns, loops, patterns) and calls if it
//! is set.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use mlua::ffi;

/// The signature that Luau calls.
pub(in crate::lua) type Handler = unsafe extern "C-unwind" fn(*mut ffi::lua_State, c_int);

/// The place in a VM where Luau looks for its interrupt, and the handler to put there.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Interrupt {
    place: *const AtomicPtr<c_void>,
    handler: Handler,
}

// SAFETY: the place is only accessed atomically. The watchdog uses it under a lock, and `Vm::close` takes the interrupt away
// under that lock before it closes the VM.
unsafe impl Send for Interrupt {}

impl Interrupt {
    /// The interrupt of the VM that owns these callbacks.
    ///
    /// # Safety
    /// `callbacks` must stay valid as long as the interrupt is used.
    pub unsafe fn new(callbacks: *mut ffi::lua_Callbacks, handler: Handler) -> Self {
        // SAFETY: the callbacks are valid, as the caller promises. An optional function pointer has the size of a pointer; null
        // is None.
        let place = unsafe { &raw mut (*callbacks).interrupt };
        Self { place: place.cast_const().cast(), handler }
    }

    fn store(self, value: *mut c_void) {
        // SAFETY: the place is valid as promised in `new`, aligned as a pointer, and written by this function only.
        unsafe { (*self.place).store(value, Ordering::Relaxed) };
    }

    /// Makes Luau call the handler at its next safepoint.
    pub fn arm(self) {
        self.store(self.handler as *mut c_void);
    }

    pub fn disarm(self) {
        self.store(ptr::null_mut());
    }
}
