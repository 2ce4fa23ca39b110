//! The allocator of a VM: counts every byte, refuses growth past a limit, and then makes sure that the run ends.
//!
//! Luau turns a refusal into an "out of memory" error, which a script could catch with `pcall`. So a refusal also arms the VM's
//! interrupt: the handler sees `exceeded` and raises again at every safepoint until the run has ended. The memory itself comes
//! from the global allocator, so inside a server it is part of `used_memory`.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use mlua::ffi;

use super::interrupt::Interrupt;

/// The alignment that `malloc` guarantees and Luau relies on.
const ALIGN: usize = 16;

/// Less garbage than this is never collected for its size alone.
const GARBAGE: usize = 32 << 20;

/// Bytes beyond the limit that a run may take after a refusal, while it ends: the error handler needs a little.
const SLACK: usize = 64 << 10;

/// The allocator of one VM, with its account.
#[derive(Default)]
pub(in crate::lua) struct Allocator {
    used: Cell<usize>,
    limit: Cell<usize>,
    exceeded: Cell<bool>,
    /// The garbage is collected when more bytes than this are in use.
    pressure: Cell<usize>,
    pressed: Cell<bool>,
    interrupt: Cell<Option<Interrupt>>,
}

impl Allocator {
    /// An allocator without a limit.
    pub fn new() -> Self {
        let allocator = Self::default();
        allocator.limit.set(usize::MAX);
        allocator.pressure.set(usize::MAX);
        allocator
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Refuses growth beyond `bytes` from now on.
    pub fn set_limit(&self, bytes: usize) {
        self.limit.set(bytes);
    }

    /// Sets when the garbage is collected: when half of the free memory is taken, or when garbage outweighs the rest, whichever
    /// comes first. A large limit is for scripts that need the memory. Luau's own collector works in small steps, which large
    /// strings outrun.
    pub fn watch_pressure(&self) {
        let free = self.limit.get().saturating_sub(self.used.get());
        let garbage = (free / 2).min(self.used.get().max(GARBAGE));
        self.pressed.set(false);
        self.pressure.set(if free > SLACK { self.used.get().saturating_add(garbage) } else { usize::MAX });
    }

    /// Whether the garbage must be collected now.
    pub fn is_pressed(&self) -> bool {
        self.pressed.get()
    }

    /// Sets the interrupt that a refusal arms; `None` before a VM is closed.
    pub fn set_interrupt(&self, interrupt: Option<Interrupt>) {
        self.interrupt.set(interrupt);
    }

    fn interrupt_run(&self) {
        if let Some(interrupt) = self.interrupt.get() {
            interrupt.arm();
        }
    }

    /// Whether growth was refused since the last [`Allocator::forget_refusal`].
    pub fn exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Forgets the refusals of the last run.
    pub fn forget_refusal(&self) {
        self.exceeded.set(false);
    }

    fn refuse(&self) -> *mut c_void {
        self.exceeded.set(true);
        self.interrupt_run();
        ptr::null_mut()
    }

    #[cold]
    fn press(&self) {
        self.pressure.set(usize::MAX);
        self.pressed.set(true);
        self.interrupt_run();
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

/// The `lua_Alloc` of a VM.
///
/// # Safety
/// Only Luau calls it, with the `Allocator` that `lua_newstate` got, which outlives the VM, and with blocks that it got here.
pub(in crate::lua) unsafe extern "C" fn allocate(
    allocator: *mut c_void,
    block: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: the pointer is the one to an Allocator that lua_newstate got. All fields are cells, so it may be shared.
    let allocator = unsafe { &*allocator.cast::<Allocator>() };
    if new == 0 {
        allocator.release(block, old);
        return ptr::null_mut();
    }
    allocator.resize(block, old, new)
}

/// Checks the signature.
const _: ffi::lua_Alloc = allocate;
