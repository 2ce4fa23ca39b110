//! The options of Luau's compiler.

use std::ffi::{CStr, c_char};
use std::ptr;

use mlua::ffi;

/// The options. Luau reads the lists through pointers.
pub(in crate::lua) struct CompilerOptions {
    mutable_globals: Vec<*const c_char>,
    disabled_builtins: Vec<*const c_char>,
}

impl CompilerOptions {
    /// `mutable_globals` change between runs, so the compiler must not cache what they hold. It must not replace the functions in
    /// `disabled_builtins` by instructions of its own.
    pub fn new(mutable_globals: &[&'static CStr], disabled_builtins: &[&'static CStr]) -> Self {
        let list = |names: &[&'static CStr]| names.iter().map(|name| name.as_ptr()).chain([ptr::null()]).collect();
        Self { mutable_globals: list(mutable_globals), disabled_builtins: list(disabled_builtins) }
    }

    /// Optimization level 1, which changes nothing that a script can observe; level 2 inlines. The pointers live as long as
    /// `self`.
    pub fn options(&self) -> ffi::lua_CompileOptions {
        let mut options = ffi::lua_CompileOptions::default();
        options.mutableGlobals = self.mutable_globals.as_ptr();
        options.disabledBuiltins = self.disabled_builtins.as_ptr();
        options
    }
}
