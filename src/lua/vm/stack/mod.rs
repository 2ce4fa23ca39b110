//! Luau's API for code that a running VM calls: two `Copy` handles whose methods are one call of the API each.
//!
//! A Lua error is a `longjmp` to the protected call of the run. No Rust frame on its way may have a destructor to run. Two
//! types keep code that may raise apart from code that must not:
//!
//! - [`Stack`] has every method. A Rust function that Luau calls gets one. No value with a destructor may be alive when it calls a
//!   method that raises.
//! - [`Quiet`] has only methods that never raise as long as the stack has room ([`Quiet::reserve`]; Luau guarantees 20 slots to each
//!   call of a C function). Code that owns memory, or that runs inside `catch_unwind`, takes a `Quiet`, so it cannot raise. A `Stack`
//!   dereferences to one.
//!
//! Both are bound to the call in which Luau handed out the state. So is everything they return: bytes of a string live at most as
//! long as the call, and only while the string is reachable from the stack or from a table.
//!
//! Indices are not types. An index must name a slot of the current function, and a method on tables must get a table. A release
//! build does not check that. A debug build does: Luau's assertions are compiled in there (`LUAU_ENABLE_ASSERT`) and stop the
//! process, so every test runs with them, and `vm/tests` checks that it does. A push without room is an error in every build.

mod buffer;
mod data;
mod native;
mod quiet;
mod raising;

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ops::Deref;

use mlua::ffi;

pub(in crate::lua) use self::buffer::Buffer;
pub(in crate::lua::vm) use self::native::call_protected;
pub(in crate::lua) use self::native::{Native, native, native_with_resume};
pub(in crate::lua) use self::raising::CompileOutcome;

/// The type of a Lua value, as far as the engine distinguishes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Kind {
    /// nil, or no value.
    Nil,
    Boolean,
    Number,
    String,
    Table,
    Function,
    /// Anything else.
    Other,
}

/// A function on the call stack.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Frame<'r> {
    /// It is a C function.
    pub native: bool,
    /// The name of its chunk, with its `@` or `=`.
    pub source: &'r [u8],
    /// The current line, or -1.
    pub line: c_int,
}

/// The calls of the API that never raise.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Quiet<'r> {
    state: *mut ffi::lua_State,
    call: PhantomData<&'r ()>,
}

/// All calls of the API.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Stack<'r>(Quiet<'r>);

impl<'r> Quiet<'r> {
    /// The index of the thread's globals.
    pub const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;

    /// # Safety
    /// The state must be alive, and used by this thread alone, during `'r`. Its VM must be one of [`super::Vm`].
    pub unsafe fn new(state: *mut ffi::lua_State) -> Self {
        Self { state, call: PhantomData }
    }
}

impl<'r> Stack<'r> {
    /// The index of the thread's globals.
    pub const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;
    /// The index of the registry.
    pub const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;

    /// # Safety
    /// As for [`Quiet::new`]; and the state must be running a function inside a protected call during `'r`.
    pub unsafe fn new(state: *mut ffi::lua_State) -> Self {
        // SAFETY: the caller promises more than `Quiet::new` asks for.
        Self(unsafe { Quiet::new(state) })
    }

    /// The view that cannot raise.
    pub fn quiet(self) -> Quiet<'r> {
        self.0
    }
}

impl<'r> Deref for Stack<'r> {
    type Target = Quiet<'r>;

    fn deref(&self) -> &Quiet<'r> {
        &self.0
    }
}

/// One call into Luau.
macro_rules! lua {
    ($call:expr) => {{
        // SAFETY: the state is alive and belongs to this thread (`Quiet::new`); a call that may raise is made through a `Stack`
        // only, so a protected call is around it (`Stack::new`). The indices name slots of the current function, and tables where
        // the call asks for one, which Luau asserts in debug builds.
        unsafe { $call }
    }};
}
use lua;
