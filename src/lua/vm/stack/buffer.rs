//! Bytes that grow, in the memory of the VM: the VM's limit bounds them, and its collector frees them when an error jumps past them.

use std::ffi::{c_int, c_void};
use std::{ptr, slice};

use mlua::ffi;

use super::{Stack, lua};

/// The size of the first block. Luau has free blocks of this size at hand.
const FIRST_BLOCK: usize = 240;

/// Bytes in a slot of the stack. Nothing else may use the slot as long as the buffer is in use.
pub(in crate::lua) struct Buffer<'r> {
    stack: Stack<'r>,
    slot: c_int,
    block: *mut u8,
    len: usize,
    capacity: usize,
}

impl<'r> Buffer<'r> {
    /// Pushes an empty buffer.
    pub fn new(stack: Stack<'r>) -> Self {
        stack.push_nil();
        Self { stack, slot: stack.top(), block: ptr::null_mut(), len: 0, capacity: 0 }
    }

    /// Appends bytes, which are not the buffer's own. Needs room for one value on the stack.
    pub fn extend(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if bytes.len() > self.capacity.saturating_sub(self.len) {
            self.grow(bytes.len());
        }
        // SAFETY: `grow` raises or makes room after `len`, and the block is not shared.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.block.add(self.len), bytes.len()) };
        self.len += bytes.len();
    }

    /// Forgets the bytes and keeps their memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

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
        let block: *mut c_void = lua!(ffi::lua_newuserdatatagged(self.stack.state, capacity, 0));
        if self.len > 0 {
            // SAFETY: the old block has `len` bytes and is alive until it is replaced; the new one is larger.
            unsafe { ptr::copy_nonoverlapping(self.block, block.cast(), self.len) };
        }
        self.stack.replace(self.slot);
        self.block = block.cast();
        self.capacity = capacity;
    }
}
