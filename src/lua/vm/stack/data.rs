//! Data of ours in the memory of the VM: text that grows, cells that functions share, and messages. None of it has a
//! destructor, so that a Lua error may be raised at any time.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::fmt::{self, Write as _};
use std::{ptr, slice};

use mlua::ffi;

use super::{Native, Ref, Stack};
use crate::lua::line::Line;
use crate::lua::numbers::json::Settings;
use crate::lua::sandbox::Original;

/// Bytes that a text starts with. Luau has such blocks at hand.
const FIRST_BLOCK: usize = 240;

/// The tag of userdata that hold a cell of [`Settings`].
const SETTINGS: c_int = 1;

impl Stack {
    /// Pushes the null pointer, which stands for JSON's `null`.
    pub fn push_null(self) {
        lua!(ffi::lua_pushlightuserdatatagged(self.0, ptr::null_mut(), 0));
    }

    /// Whether the null pointer is at `index`. Never raises.
    pub fn is_null(self, index: c_int) -> bool {
        lua!(ffi::lua_type(self.0, index)) == ffi::LUA_TLIGHTUSERDATA && lua!(ffi::lua_touserdata(self.0, index)).is_null()
    }

    /// Pushes settings that functions can share.
    pub fn push_settings(self, value: Settings) {
        let place = lua!(ffi::lua_newuserdatatagged(self.0, size_of::<Cell<Settings>>(), SETTINGS)).cast::<Cell<Settings>>();
        // SAFETY: the block is new, large enough and aligned for any field; settings have no destructor.
        unsafe { place.write(Cell::new(value)) };
    }

    /// Pushes a C function that has the value on the top, which is dropped, for its own.
    pub fn push_native_with_value(self, native: Native, name: &'static CStr) {
        lua!(ffi::lua_pushcclosurek(self.0, native.function, name.as_ptr(), 1, native.resume));
    }

    /// The settings that the current function has for its own. They live as long as the function. Never raises.
    pub fn own_settings<'a>(self) -> Option<&'a Cell<Settings>> {
        let place = lua!(ffi::lua_touserdatatagged(self.0, ffi::lua_upvalueindex(1), SETTINGS));
        // SAFETY: only `push_settings` makes userdata with this tag, and the running function keeps it alive.
        unsafe { place.cast::<Cell<Settings>>().as_ref() }
    }

    /// Makes machine code of the Lua function on the top, if it can.
    pub fn compile_natively(self) {
        lua!(ffi::luau_codegen_compile(self.0, -1));
    }

    /// Pushes a copy of a pinned table.
    pub fn push_copy_of_table(self, table: Ref) {
        self.push_ref(table);
        lua!(ffi::lua_clonetable(self.0, -1));
        self.remove(-2);
    }

    /// Takes the C function on the top for what stands behind one of ours.
    pub fn keep_original(self, original: Original) {
        let originals = &self.context().originals;
        let mut all = originals.get();
        if let Some(place) = all.get_mut(original as usize) {
            *place = lua!(ffi::lua_tocfunction(self.0, -1));
        }
        originals.set(all);
        self.pop(1);
    }

    /// Runs a function of Luau's in the frame, and with the arguments, of the current one.
    pub fn run_original(self, original: Original) -> c_int {
        match self.context().originals.get().get(original as usize) {
            Some(&Some(function)) => lua!(function(self.0)),
            _ => 0,
        }
    }

    /// Whether the value at `a` is less than that at `b`.
    pub fn is_less(self, a: c_int, b: c_int) -> bool {
        lua!(ffi::lua_lessthan(self.0, a, b)) != 0
    }

    /// Pushes a count or a position, which is far below what a number holds exactly.
    #[allow(clippy::cast_precision_loss)]
    pub fn push_count(self, count: usize) {
        self.push_number(count as f64);
    }

    /// The number that the current function has for its own. Never raises.
    pub fn own_number(self) -> f64 {
        self.number(ffi::lua_upvalueindex(1))
    }

    /// The name of the current function. Never raises.
    fn function_name<'a>(self) -> &'a str {
        // SAFETY: as in `frame`; the names of our functions are static, and "n" pushes nothing.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getinfo(self.0, 0, c"n".as_ptr(), &mut ar) == 0 || ar.name.is_null() {
                return "?";
            }
            CStr::from_ptr(ar.name).to_str().unwrap_or("?")
        }
    }

    /// The name of the type at `index`, for messages.
    pub fn type_text<'a>(self, index: c_int) -> &'a str {
        std::str::from_utf8(self.type_name(index)).unwrap_or("?")
    }

    /// Raises a text, cut to a line, behind the position of the caller. What it names must have no destructor.
    pub fn raise_line(self, text: fmt::Arguments<'_>) -> ! {
        let mut line = Line::<256>::new();
        // Writing into a line cannot fail.
        let _ = line.write_fmt(text);
        self.raise_text(line.c_str())
    }

    /// Raises an error about the argument `n` in the words of Lua 5.1.
    pub fn raise_bad_argument(self, n: c_int, reason: fmt::Arguments<'_>) -> ! {
        self.raise_line(format_args!("bad argument #{n} to '{}' ({reason})", self.function_name()))
    }

    /// Raises an error about the type of the argument `n` in the words of Lua 5.1.
    pub fn raise_bad_type(self, n: c_int, expected: &str) -> ! {
        self.raise_bad_argument(n, format_args!("{expected} expected, got {}", self.type_text(n)))
    }
}

/// Bytes in a slot of the stack, which must not be touched as long as the text is used.
pub(in crate::lua) struct Text {
    stack: Stack,
    slot: c_int,
    block: *mut u8,
    len: usize,
    capacity: usize,
}

impl Text {
    /// Pushes an empty text.
    pub fn new(stack: Stack) -> Self {
        stack.push_nil();
        Self { stack, slot: stack.top(), block: ptr::null_mut(), len: 0, capacity: 0 }
    }

    /// Appends bytes, which are none of the text itself. Needs room for a value on the stack.
    pub fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if bytes.len() > self.capacity.saturating_sub(self.len) {
            self.grow(bytes.len());
        }
        // SAFETY: `grow` raises or makes room behind `len`, and the block is not shared.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.block.add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Forgets the bytes and keeps their memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes, until they change.
    pub fn bytes(&self) -> &[u8] {
        if self.block.is_null() {
            return &[];
        }
        // SAFETY: the block in the slot has `len` bytes that were written.
        unsafe { slice::from_raw_parts(self.block, self.len) }
    }

    /// Moves to a block of at least twice the size. Luau refuses one that is too large.
    #[cold]
    fn grow(&mut self, more: usize) {
        let capacity = self.len.saturating_add(more).max(self.capacity.saturating_mul(2)).max(FIRST_BLOCK);
        let state = self.stack.0;
        let block: *mut c_void = lua!(ffi::lua_newuserdatatagged(state, capacity, 0));
        if self.len > 0 {
            // SAFETY: the old block has `len` bytes and is alive until it is replaced; the new one is larger.
            unsafe { ptr::copy_nonoverlapping(self.block, block.cast(), self.len) };
        }
        self.stack.replace(self.slot);
        self.block = block.cast();
        self.capacity = capacity;
    }
}
