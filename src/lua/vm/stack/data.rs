//! Data of the engine in the memory of the VM, and errors that the engine words itself. None of it has a destructor.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::fmt::{self, Write as _};

use mlua::ffi;

use super::{Native, Stack, lua};
use crate::lua::api::cjson::Settings;
use crate::lua::fixed_text::FixedText;
use crate::lua::vm::pinned::Original;

/// The tag of userdata that hold a cell of [`Settings`].
pub(super) const SETTINGS: c_int = 1;

impl Stack<'_> {
    /// Sets functions in the table on the top.
    pub fn set_functions(self, functions: &[(&'static CStr, Native)]) {
        for &(name, function) in functions {
            self.push_native(function, name);
            self.raw_set_field(-2, name);
        }
    }

    /// Pushes settings that several functions can share.
    pub fn push_settings(self, value: Settings) {
        let place = lua!(ffi::lua_newuserdatatagged(self.state, size_of::<Cell<Settings>>(), SETTINGS)).cast::<Cell<Settings>>();
        // SAFETY: the block is new, large enough, and aligned for any field; settings have no destructor.
        unsafe { place.write(Cell::new(value)) };
    }

    /// Runs a function of Luau in the frame, and with the arguments, of the current function.
    pub fn run_original(self, original: Original) -> c_int {
        match self.context().originals.get().get(original as usize) {
            Some(&Some(function)) => lua!(function(self.state)),
            _ => 0,
        }
    }

    /// Raises a text of at most 255 bytes, with the position of the calling Lua function before it. What the text names has no
    /// destructor.
    pub fn raise_line(self, text: fmt::Arguments<'_>) -> ! {
        let mut line = FixedText::<256>::new();
        // Writing into a fixed text cannot fail.
        let _ = line.write_fmt(text);
        self.raise_text(line.c_str())
    }

    /// Raises an error about the argument `n` in the words of Lua 5.1.
    pub fn raise_bad_argument(self, n: c_int, reason: fmt::Arguments<'_>) -> ! {
        self.raise_line(format_args!("bad argument #{n} to '{}' ({reason})", self.function_name()))
    }

    /// Raises an error about the type of the argument `n` in the words of Lua 5.1.
    pub fn raise_bad_type(self, n: c_int, expected: &str) -> ! {
        self.raise_bad_argument(n, format_args!("{expected} expected, got {}", self.type_name(n)))
    }
}
