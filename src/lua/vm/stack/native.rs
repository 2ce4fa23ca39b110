//! Rust functions as C functions of Lua.
//!
//! A function item has a type of its own and no data, so its type alone says which function to call: each gets a C function that
//! is compiled for it, and a call costs nothing more than in C.

use std::ffi::{c_int, c_void};
use std::ptr::{self, NonNull};

use mlua::ffi;

use super::Stack;

/// A C function for Lua.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Native {
    pub(super) function: ffi::lua_CFunction,
    /// The continuation after a protected call that it makes, if it makes any.
    pub(super) resume: Option<ffi::lua_Continuation>,
}

/// Makes a C function of a Rust function. The function answers how many values on the top are its results.
pub(in crate::lua) const fn native<F: Fn(Stack<'_>) -> c_int + Copy + 'static>(_: F) -> Native {
    Native { function: enter::<F>, resume: None }
}

/// Makes a C function of two Rust functions. The second one runs, with the status, after the protected call that the first one
/// makes.
pub(in crate::lua) const fn native_with_resume<F, R>(_: F, _: R) -> Native
where
    F: Fn(Stack<'_>) -> c_int + Copy + 'static,
    R: Fn(Stack<'_>, c_int) -> c_int + Copy + 'static,
{
    Native { function: enter::<F>, resume: Some(resume::<R>) }
}

/// The only value of a function item's type.
fn item<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a function, or a closure that captures nothing") };
    // SAFETY: a type without size has one value, and any aligned pointer points to it.
    unsafe { *NonNull::<F>::dangling().as_ptr() }
}

extern "C-unwind" fn enter<F: Fn(Stack<'_>) -> c_int + Copy + 'static>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: Luau calls this function, so the state is running one; every call of Luau is inside a protected call (`Vm`).
    item::<F>()(unsafe { Stack::new(state) })
}

extern "C-unwind" fn resume<R: Fn(Stack<'_>, c_int) -> c_int + Copy + 'static>(
    state: *mut ffi::lua_State,
    status: c_int,
) -> c_int {
    // SAFETY: Luau calls this function, so the state is running one; every call of Luau is inside a protected call (`Vm`).
    item::<R>()(unsafe { Stack::new(state) }, status)
}

extern "C-unwind" fn enter_with<J, F: Fn(Stack<'_>, &J) + Copy + 'static>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: lua_cpcall, which protects the call, runs this function with the pointer that `call_protected` got: to a `J` that
    // outlives the call.
    unsafe {
        let job = &*ffi::lua_touserdata(state, -1).cast::<J>();
        ffi::lua_settop(state, -2);
        item::<F>()(Stack::new(state), job);
    }
    0
}

/// Calls a Rust function with `job` in protected mode and returns the status. If that is not OK, the error is on the top of the
/// stack.
///
/// # Safety
/// The state must be alive, run no function, and belong to a VM of [`super::super::Vm`].
pub(in crate::lua::vm) unsafe fn call_protected<J, F>(state: NonNull<ffi::lua_State>, _: F, job: &J) -> c_int
where
    F: Fn(Stack<'_>, &J) + Copy + 'static,
{
    let job: *mut c_void = ptr::from_ref(job).cast_mut().cast();
    // SAFETY: the state is alive and idle. lua_cpcall pushes the pointer, which is valid until the call returns, as the only
    // argument.
    unsafe { ffi::lua_cpcall(state.as_ptr(), enter_with::<J, F>, job) }
}
