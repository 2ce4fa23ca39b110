//! The allocator of a VM: counts every byte, refuses growth past a limit, and then makes sure that the run ends.
//!
//! Luau turns a refusal into an "out of memory" error that a script could catch with `pcall`. So a refusal also arms the VM's
//! interrupt: the handler sees `exceeded` and raises again at every safepoint until the run is over. The memory itself comes
//! from the global allocator, so that inside a server it is part of `used_memory`.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use mlua::ffi;

use crate::lua::limits::Slot;

/// What `malloc` guarantees, which is what Luau relies on.
const ALIGN: usize = 16;

/// So much garbage is never collected for its size alone.
const GARBAGE: usize = 32 << 20;

/// What a run may take beyond the limit once it was refused memory and must end: the error handler needs a little.
const SLACK: usize = 64 << 10;

/// The account of one VM.
#[derive(Default)]
pub(in crate::lua) struct Heap {
    used: Cell<usize>,
    limit: Cell<usize>,
    exceeded: Cell<bool>,
    /// From here on the garbage is to be collected.
    pressure: Cell<usize>,
    pressed: Cell<bool>,
    slot: Cell<Option<Slot>>,
}

impl Heap {
    /// An account without a limit.
    pub fn new() -> Self {
        let heap = Self::default();
        heap.limit.set(usize::MAX);
        heap.pressure.set(usize::MAX);
        heap
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Growth beyond `bytes` is refused from now on.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.set(bytes);
    }

    /// The garbage is to be collected when half of what is free now is taken, and before it outweighs what is there by far: a large limit
    /// is for scripts that need the memory. Luau's own collector works in small steps, which large strings outrun.
    pub fn watch_pressure(&self) {
        let free = self.limit.get().saturating_sub(self.used.get());
        let garbage = (free / 2).min(self.used.get().max(GARBAGE));
        self.pressed.set(false);
        self.pressure.set(if free > SLACK { self.used.get().saturating_add(garbage) } else { usize::MAX });
    }

    /// Whether the garbage is to be collected now.
    pub fn is_pressed(&self) -> bool {
        self.pressed.get()
    }

    /// From now on a refusal arms this interrupt.
    pub fn arm_on_refusal(&self, slot: Slot) {
        self.slot.set(Some(slot));
    }

    /// A refusal arms nothing from now on.
    pub fn disarm(&self) {
        self.slot.set(None);
    }

    /// Whether growth was refused since the last [`Heap::forget_refusal`].
    pub fn exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Starts a new run.
    pub fn forget_refusal(&self) {
        self.exceeded.set(false);
    }

    fn refuse(&self) -> *mut c_void {
        self.exceeded.set(true);
        if let Some(slot) = self.slot.get() {
            slot.arm();
        }
        ptr::null_mut()
    }

    #[cold]
    fn press(&self) {
        self.pressure.set(usize::MAX);
        self.pressed.set(true);
        if let Some(slot) = self.slot.get() {
            slot.arm();
        }
    }

    fn release(&self, block: *mut c_void, size: usize) {
        if block.is_null() || size == 0 {
            return;
        }
        if let Ok(layout) = Layout::from_size_align(size, ALIGN) {
            // SAFETY: Luau passes the pointer and the size of a block that `resize` returned, once.
            unsafe { alloc::dealloc(block.cast(), layout) };
            self.used.set(self.used.get().saturating_sub(size));
        }
    }

    fn resize(&self, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
        let old = if block.is_null() { 0 } else { old };
        let after = self.used.get().saturating_sub(old).saturating_add(new);
        let slack = if self.exceeded.get() { SLACK } else { 0 };
        if new > old && after > self.limit.get().saturating_add(slack) {
            return self.refuse();
        }
        let (Ok(before), Ok(wanted)) = (Layout::from_size_align(old, ALIGN), Layout::from_size_align(new, ALIGN)) else {
            return self.refuse();
        };
        let result = if old == 0 {
            // SAFETY: `new` is not 0: a size of 0 goes to `release`.
            unsafe { alloc::alloc(wanted) }
        } else {
            // SAFETY: the block was allocated here with the layout `before`, and `new` is not 0.
            unsafe { alloc::realloc(block.cast(), before, new) }
        };
        if result.is_null() {
            return self.refuse();
        }
        self.used.set(after);
        if after > self.pressure.get() {
            self.press();
        }
        result.cast()
    }
}

/// The `lua_Alloc` of a VM; `heap` is its [`Heap`].
///
/// # Safety
/// Only Luau calls it, with a `Heap` that outlives the VM and with blocks that it got here.
pub(in crate::lua) unsafe extern "C" fn allocate(heap: *mut c_void, block: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: `heap` is the Heap that was given to lua_newstate; all of its fields are cells.
    let heap = unsafe { &*heap.cast::<Heap>() };
    if new == 0 {
        heap.release(block, old);
        return ptr::null_mut();
    }
    heap.resize(block, old, new)
}

/// The signature is checked here once.
const _: ffi::lua_Alloc = allocate;
