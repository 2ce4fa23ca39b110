//! A running Lua state as the rest of the engine sees it: a `Copy` handle whose methods are Luau's API, one call each.
//!
//! A `Stack` exists only where Luau called us, inside the one protected call of a run. That is what makes its methods sound:
//! every one of them may raise a Lua error, which is a C++ exception that unwinds to that call. Three rules follow for those
//! who hold one. Indices must name slots that exist. No value with a destructor may be alive across a call. And no method but
//! those marked "never raises" may be called inside `catch_unwind`.

use std::ffi::{CStr, c_int, c_void};
use std::{ptr, slice};

use mlua::ffi;

use super::context::Context;
use crate::lua::source::lua51;

/// A value pinned in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Ref(c_int);

impl Ref {
    /// Pushes nil.
    pub const NIL: Self = Self(ffi::LUA_REFNIL);

    /// Forgets the value.
    pub fn unpin(self, state: ptr::NonNull<ffi::lua_State>) {
        // SAFETY: the state is alive; lua_unref writes into a slot that exists and never raises.
        unsafe { ffi::lua_unref(state.as_ptr(), self.0) };
    }
}

/// A C function for Lua, with the name that tracebacks show.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Native {
    /// The function.
    pub function: ffi::lua_CFunction,
    /// The continuation after a protected call that it makes, if it makes any.
    pub resume: Option<ffi::lua_Continuation>,
}

/// The type of a Lua value, as far as the engine tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Kind {
    /// nil, or no value.
    Nil,
    /// A boolean.
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// A table.
    Table,
    /// A function.
    Function,
    /// Anything else.
    Other,
}

/// A function on the call stack.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Frame {
    /// It is a C function.
    pub native: bool,
    source: *const std::ffi::c_char,
    /// The current line, or -1.
    pub line: c_int,
}

impl Frame {
    /// The chunk's name, with its `@` or `=`. It lives as long as the function, which is on the call stack.
    pub fn source<'a>(self) -> &'a [u8] {
        if self.source.is_null() {
            return b"";
        }
        // SAFETY: Luau's chunk names are C strings.
        unsafe { CStr::from_ptr(self.source) }.to_bytes()
    }
}

/// See the module's documentation.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Stack(*mut ffi::lua_State);

/// Makes a C function of a Rust function.
pub(in crate::lua) const fn native<F: Fn(Stack) -> c_int + Copy + 'static>(_: F) -> Native {
    Native { function: enter::<F>, resume: None }
}

/// Makes a C function of two Rust functions: the second runs with the status when a protected call of the first has ended.
pub(in crate::lua) const fn native_with_resume<F, R>(_: F, _: R) -> Native
where
    F: Fn(Stack) -> c_int + Copy + 'static,
    R: Fn(Stack, c_int) -> c_int + Copy + 'static,
{
    Native { function: enter::<F>, resume: Some(resume::<R>) }
}

/// The only value of a function item's type.
fn item<F: Copy + 'static>() -> F {
    const { assert!(size_of::<F>() == 0, "a function item, not a closure that captures") };
    // SAFETY: a type without size has one value, and any aligned pointer points to it.
    unsafe { *ptr::NonNull::<F>::dangling().as_ptr() }
}

extern "C-unwind" fn enter<F: Fn(Stack) -> c_int + Copy + 'static>(state: *mut ffi::lua_State) -> c_int {
    item::<F>()(Stack(state))
}

extern "C-unwind" fn resume<R: Fn(Stack, c_int) -> c_int + Copy + 'static>(state: *mut ffi::lua_State, status: c_int) -> c_int {
    item::<R>()(Stack(state), status)
}

/// Saturates: a capacity that large is refused by the heap anyway.
fn capacity(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

/// One unsafe call into Luau.
macro_rules! lua {
    ($call:expr) => {{
        // SAFETY: the state is the one that called us, alive and inside a protected call, and the indices name slots that exist
        // (module documentation).
        unsafe { $call }
    }};
}

mod data;

pub(in crate::lua) use data::Text;

impl Stack {
    /// The index of the thread's globals.
    pub const GLOBALS: c_int = ffi::LUA_GLOBALSINDEX;
    /// The index of the registry.
    pub const REGISTRY: c_int = ffi::LUA_REGISTRYINDEX;

    /// The stack of a state that called us by other means than a `Native`.
    ///
    /// # Safety
    /// The state must be running a function, inside a protected call.
    pub unsafe fn of_running(state: *mut ffi::lua_State) -> Self {
        Self(state)
    }

    /// The engine's side of the VM. Never raises.
    pub fn context<'a>(self) -> &'a Context {
        // SAFETY: `Vm::new` stored a Context that outlives the VM, and nobody else writes the field. It is only ever shared.
        unsafe { &*(*ffi::lua_callbacks(self.0)).userdata.cast::<Context>() }
    }

    /// How many values the current function has on its stack. Never raises.
    pub fn top(self) -> c_int {
        lua!(ffi::lua_gettop(self.0))
    }

    /// Drops values until `top` are left, or `-top - 1` from the top. Never raises when it shrinks.
    pub fn set_top(self, top: c_int) {
        lua!(ffi::lua_settop(self.0, top));
    }

    /// Drops `n` values. Never raises.
    pub fn pop(self, n: c_int) {
        self.set_top(-n - 1);
    }

    /// Makes room for `n` more values; false if there is none. Never raises.
    pub fn reserve(self, n: c_int) -> bool {
        lua!(ffi::lua_checkstack(self.0, n)) != 0
    }

    /// The type at `index`. Never raises.
    pub fn kind(self, index: c_int) -> Kind {
        match lua!(ffi::lua_type(self.0, index)) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    /// The name of the type at `index`. Never raises.
    pub fn type_name<'a>(self, index: c_int) -> &'a [u8] {
        // SAFETY: as in `lua!`; the names are static C strings.
        unsafe { CStr::from_ptr(ffi::lua_typename(self.0, ffi::lua_type(self.0, index))) }.to_bytes()
    }

    /// The bytes at `index` if a string is there. They live until the value leaves the stack. Never raises.
    pub fn bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        let mut len = 0;
        let data = lua!(ffi::lua_tolstringatom(self.0, index, &mut len, ptr::null_mut()));
        if data.is_null() {
            return None;
        }
        // SAFETY: Luau returned the string's data and length; strings do not move.
        Some(unsafe { slice::from_raw_parts(data.cast(), len) })
    }

    /// The bytes at `index`, a number being turned into a string in place.
    pub fn coerced_bytes<'a>(self, index: c_int) -> Option<&'a [u8]> {
        if self.kind(index) == Kind::Number {
            lua!(ffi::lua_tolstring(self.0, index, ptr::null_mut()));
        }
        self.bytes(index)
    }

    /// The number at `index`, a numeric string being read as one; 0 if there is none. Never raises.
    pub fn number(self, index: c_int) -> f64 {
        lua!(ffi::lua_tonumber(self.0, index))
    }

    /// Whether the value at `index` is a number, or a string that reads as one. Never raises.
    pub fn is_number(self, index: c_int) -> bool {
        lua!(ffi::lua_isnumber(self.0, index)) != 0
    }

    /// Whether the value at `index` is neither nil nor false. Never raises.
    pub fn truth(self, index: c_int) -> bool {
        lua!(ffi::lua_toboolean(self.0, index)) != 0
    }

    /// Whether two values are the same object. Never raises.
    pub fn same(self, a: c_int, b: c_int) -> bool {
        lua!(ffi::lua_rawequal(self.0, a, b)) != 0
    }

    /// Whether a Lua function, not a C function, is at `index`. Never raises.
    pub fn is_lua_function(self, index: c_int) -> bool {
        lua!(ffi::lua_isLfunction(self.0, index)) != 0
    }

    /// Pushes nil.
    pub fn push_nil(self) {
        lua!(ffi::lua_pushnil(self.0));
    }

    /// Pushes a boolean.
    pub fn push_bool(self, value: bool) {
        lua!(ffi::lua_pushboolean(self.0, c_int::from(value)));
    }

    /// Pushes a number.
    pub fn push_number(self, value: f64) {
        lua!(ffi::lua_pushnumber(self.0, value));
    }

    /// Pushes a string.
    pub fn push_bytes(self, value: &[u8]) {
        lua!(ffi::lua_pushlstring_(self.0, value.as_ptr().cast(), value.len()));
    }

    /// Pushes a C function.
    pub fn push_native(self, native: Native, name: &'static CStr) {
        lua!(ffi::lua_pushcclosurek(self.0, native.function, name.as_ptr(), 0, native.resume));
    }

    /// Pushes a pinned value. Never raises when there is room.
    pub fn push_ref(self, pinned: Ref) {
        lua!(ffi::lua_rawgeti_(self.0, ffi::LUA_REGISTRYINDEX, pinned.0));
    }

    /// Pushes a copy of the value at `index`. Never raises when there is room.
    pub fn push_copy(self, index: c_int) {
        lua!(ffi::lua_pushvalue(self.0, index));
    }

    /// Moves the top value to `index`.
    pub fn insert(self, index: c_int) {
        lua!(ffi::lua_insert(self.0, index));
    }

    /// Replaces the value at `index` by the top value, which is dropped.
    pub fn replace(self, index: c_int) {
        lua!(ffi::lua_replace(self.0, index));
    }

    /// Replaces the top `n` strings by one.
    pub fn concat(self, n: c_int) {
        lua!(ffi::lua_concat(self.0, n));
    }

    /// Pins the top value and drops it.
    pub fn pin(self) -> Ref {
        let pinned = Ref(lua!(ffi::lua_ref(self.0, -1)));
        self.pop(1);
        pinned
    }

    /// Pushes a new table with room for `list` elements and `fields` fields.
    pub fn push_table(self, list: usize, fields: usize) {
        lua!(ffi::lua_createtable(self.0, capacity(list), capacity(fields)));
    }

    /// Replaces the key on the top by its value in the table at `table`, without metamethods. Never raises.
    pub fn raw_get(self, table: c_int) {
        lua!(ffi::lua_rawget(self.0, table));
    }

    /// Pushes the element `index` of the table at `table`, without metamethods. Never raises when there is room.
    pub fn raw_get_element(self, table: c_int, index: c_int) {
        lua!(ffi::lua_rawgeti_(self.0, table, index));
    }

    /// Pushes the field `name` of the table at `table`, without metamethods.
    pub fn raw_get_field(self, table: c_int, name: &CStr) {
        lua!(ffi::lua_rawgetfield(self.0, table, name.as_ptr()));
    }

    /// Sets a field of the table at `table` to the top value, key below it; drops both.
    pub fn raw_set(self, table: c_int) {
        lua!(ffi::lua_rawset(self.0, table));
    }

    /// Sets the element `index` of the table at `table` to the top value and drops it.
    pub fn raw_set_element(self, table: c_int, index: c_int) {
        lua!(ffi::lua_rawseti_(self.0, table, index));
    }

    /// Sets the field `name` of the table at `table` to the top value and drops it.
    pub fn raw_set_field(self, table: c_int, name: &CStr) {
        lua!(ffi::lua_rawsetfield(self.0, table, name.as_ptr()));
    }

    /// Replaces the key on the top by the table's next key and value; at the end drops it and answers false. Never raises for a
    /// key that the table holds, when there is room.
    pub fn next(self, table: c_int) -> bool {
        lua!(ffi::lua_next(self.0, table)) != 0
    }

    /// Pushes the first key and value at or after the place `place` (0 is the first) in the table at `table`, and answers the
    /// place after it; `None`, and nothing pushed, at the end. Never raises when there is room.
    pub fn entry_from(self, table: c_int, place: c_int) -> Option<c_int> {
        let next = lua!(ffi::lua_rawiter(self.0, table, place));
        (next >= 0).then_some(next)
    }

    /// The length of the table at `table`, without metamethods. Never raises.
    pub fn length(self, table: c_int) -> usize {
        lua!(ffi::lua_objlen(self.0, table))
    }

    /// Gives the value at `index` the metatable on the top, which is dropped.
    pub fn set_metatable(self, index: c_int) {
        lua!(ffi::lua_setmetatable(self.0, index));
    }

    /// Pushes the metatable of the value at `index`; false, and nothing pushed, without one.
    pub fn push_metatable(self, index: c_int) -> bool {
        lua!(ffi::lua_getmetatable(self.0, index)) != 0
    }

    /// Makes the table at `index` read-only or writable. Never raises.
    pub fn set_readonly(self, index: c_int, readonly: bool) {
        lua!(ffi::lua_setreadonly(self.0, index, c_int::from(readonly)));
    }

    /// Tells Luau whether the table at `index` may be assumed not to change while it serves as globals. Never raises.
    pub fn set_safe_globals(self, index: c_int, safe: bool) {
        lua!(ffi::lua_setsafeenv(self.0, index, c_int::from(safe)));
    }

    /// Pushes the globals of the function at `index`. Never raises when there is room.
    pub fn push_globals_of(self, index: c_int) {
        lua!(ffi::lua_getfenv(self.0, index));
    }

    /// Gives the function or thread at `index` the globals on the top, which are dropped; false if it has none. Never raises.
    pub fn set_globals_of(self, index: c_int) -> bool {
        lua!(ffi::lua_setfenv(self.0, index)) != 0
    }

    /// Pushes the current thread.
    pub fn push_thread(self) {
        lua!(ffi::lua_pushthread(self.0));
    }

    /// Calls the function below its `args` arguments.
    pub fn call(self, args: c_int, results: c_int) {
        lua!(ffi::lua_call(self.0, args, results));
    }

    /// Calls in protected mode; the caller's `resume` gets the status and its result is the caller's own.
    pub fn protected_call_then_resume(self, args: c_int, handler: c_int) -> c_int {
        lua!(ffi::lua_pcallyieldable(self.0, args, ffi::LUA_MULTRET, handler))
    }

    /// Raises the top value as an error.
    pub fn raise(self) -> ! {
        lua!(ffi::lua_error(self.0))
    }

    /// Raises `text` behind the position of the caller.
    pub fn raise_text(self, text: &CStr) -> ! {
        lua!(ffi::luaL_error(self.0, c"%s".as_ptr(), text.as_ptr()))
    }

    /// Raises a text about the value at `index`, which `format` names as `%s`, behind the position of the caller.
    pub fn raise_about(self, format: &CStr, index: c_int) -> ! {
        let shown = lua!(ffi::lua_tolstring(self.0, index, ptr::null_mut()));
        let shown = if shown.is_null() { c"?".as_ptr() } else { shown };
        lua!(ffi::luaL_error(self.0, format.as_ptr(), shown))
    }

    /// The string at `index` up to its first NUL.
    pub fn c_string<'a>(self, index: c_int) -> Option<&'a CStr> {
        let text = lua!(ffi::lua_tolstring(self.0, index, ptr::null_mut()));
        // SAFETY: a Lua string ends with a NUL that is not part of it.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    /// Raises if there is no argument `n`.
    pub fn check_any(self, n: c_int) {
        lua!(ffi::luaL_checkany(self.0, n));
    }

    /// Raises if the argument `n` is no table.
    pub fn check_table(self, n: c_int) {
        lua!(ffi::luaL_checktype(self.0, n, ffi::LUA_TTABLE));
    }

    /// The argument `n` as a number; raises if it is none.
    pub fn check_number(self, n: c_int) -> f64 {
        lua!(ffi::luaL_checknumber(self.0, n))
    }

    /// The argument `n` as bytes; raises if it is neither string nor number.
    pub fn check_bytes<'a>(self, n: c_int) -> &'a [u8] {
        lua!(ffi::luaL_checklstring(self.0, n, ptr::null_mut()));
        self.bytes(n).unwrap_or_default()
    }

    /// Raises an error about the argument `n`.
    pub fn raise_argument(self, n: c_int, text: &CStr) -> ! {
        lua!(ffi::luaL_argerror(self.0, n, text.as_ptr()))
    }

    /// The function `level` calls up; 0 is the current one. Never raises.
    pub fn frame(self, level: c_int) -> Option<Frame> {
        // SAFETY: as in `lua!`; the structure is plain data that Luau fills, and "sl" pushes nothing.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getinfo(self.0, level, c"sl".as_ptr(), &mut ar) == 0 {
                return None;
            }
            let native = !ar.what.is_null() && CStr::from_ptr(ar.what).to_bytes() == b"C";
            Some(Frame { native, source: ar.source, line: ar.currentline })
        }
    }

    /// Pushes the function `level` calls up; false, and nothing pushed, if there is none.
    pub fn push_function_at(self, level: c_int) -> bool {
        // SAFETY: as in `frame`, with room for the one value that "f" pushes.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            ffi::lua_getinfo(self.0, level, c"f".as_ptr(), &mut ar) != 0
        }
    }

    /// Collects all garbage.
    pub fn collect_garbage(self) {
        lua!(ffi::lua_gc(self.0, ffi::LUA_GCCOLLECT, 0));
    }

    /// Compiles `source` and pushes the function, with the globals of the thread; or pushes the error's text and answers false.
    pub fn push_compiled(self, source: &[u8], name: &CStr) -> bool {
        let context = self.context();
        // SAFETY: as in `lua!`. The bytecode is owned by a userdata before anything can raise, so that it is freed in every
        // case.
        unsafe {
            let owner = ffi::lua_newuserdatadtor(self.0, size_of::<*mut c_void>(), free_bytecode).cast::<*mut c_void>();
            owner.write(ptr::null_mut());
            let (mut size, mut options) = (0, context.compiler.options());
            {
                let translation = lua51::translate(source);
                context.differs.set(translation.differs);
                let text = &translation.text;
                owner.write(ffi::luau_compile_(text.as_ptr().cast(), text.len(), &mut options, &mut size).cast());
            }
            let done = ffi::luau_load(self.0, name.as_ptr(), owner.read().cast(), size, 0) == 0;
            free_bytecode(self.0, owner.cast());
            self.remove(-2);
            done
        }
    }

    /// Removes the value at `index`. Never raises.
    pub fn remove(self, index: c_int) {
        lua!(ffi::lua_remove(self.0, index));
    }
}

unsafe extern "C" fn free_bytecode(_: *mut ffi::lua_State, owner: *mut c_void) {
    unsafe extern "C" {
        fn free(block: *mut c_void);
    }
    // SAFETY: the userdata holds null or the block that luau_compile_ allocated with malloc; null is left behind.
    unsafe { free(owner.cast::<*mut c_void>().replace(ptr::null_mut())) };
}
