//! The calls of Luau's API that may raise.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use mlua::ffi;

use super::{Kind, Native, Stack, lua};
use crate::lua::source::lua51;
use crate::lua::vm::pinned::Ref;

/// The value that the compiler pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum CompileOutcome {
    Function {
        /// The source is Lua 5.1 and means something else there.
        differs: bool,
    },
    /// The text of an error.
    Error,
}

/// Saturates: the allocator refuses a capacity that large.
fn capacity(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

impl<'r> Stack<'r> {
    /// The bytes at `index`. A number is turned into a string in place.
    pub fn coerced_bytes(self, index: c_int) -> Option<&'r [u8]> {
        if self.kind(index) == Kind::Number {
            lua!(ffi::lua_tolstring(self.state, index, ptr::null_mut()));
        }
        self.bytes(index)
    }

    /// The string at `index` up to its first NUL. A number is turned into a string in place.
    pub fn c_string(self, index: c_int) -> Option<&'r CStr> {
        let text = lua!(ffi::lua_tolstring(self.state, index, ptr::null_mut()));
        // SAFETY: a Lua string ends with a NUL that is not part of it.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
    }

    pub fn push_bytes(self, value: &[u8]) {
        lua!(ffi::lua_pushlstring_(self.state, value.as_ptr().cast(), value.len()));
    }

    /// Pushes a C function. Tracebacks show its name.
    pub fn push_native(self, native: Native, name: &'static CStr) {
        lua!(ffi::lua_pushcclosurek(self.state, native.function, name.as_ptr(), 0, native.resume));
    }

    /// Pushes a C function whose upvalue is the value on the top, which is dropped.
    pub fn push_native_with_value(self, native: Native, name: &'static CStr) {
        lua!(ffi::lua_pushcclosurek(self.state, native.function, name.as_ptr(), 1, native.resume));
    }

    /// Replaces the top `n` strings by one.
    pub fn concat(self, n: c_int) {
        lua!(ffi::lua_concat(self.state, n));
    }

    /// Pins the top value and drops it from the stack.
    pub fn pin(self) -> Ref {
        let pinned = Ref(lua!(ffi::lua_ref(self.state, -1)));
        self.pop(1);
        pinned
    }

    /// Pushes a new table with room for `list` elements and `fields` fields.
    pub fn push_table(self, list: usize, fields: usize) {
        lua!(ffi::lua_createtable(self.state, capacity(list), capacity(fields)));
    }

    /// Pushes a copy of a pinned table.
    pub fn push_copy_of_table(self, table: Ref) {
        self.push_ref(table);
        lua!(ffi::lua_clonetable(self.state, -1));
        self.remove(-2);
    }

    /// Pushes the field `name` of the table at `table`, without metamethods.
    pub fn raw_get_field(self, table: c_int, name: &CStr) {
        lua!(ffi::lua_rawgetfield(self.state, table, name.as_ptr()));
    }

    /// Sets a field of the table at `table` to the top value, with the key below it, and drops both.
    pub fn raw_set(self, table: c_int) {
        lua!(ffi::lua_rawset(self.state, table));
    }

    /// Sets the element `index` of the table at `table` to the top value and drops that.
    pub fn raw_set_element(self, table: c_int, index: c_int) {
        lua!(ffi::lua_rawseti_(self.state, table, index));
    }

    /// Sets the field `name` of the table at `table` to the top value and drops that.
    pub fn raw_set_field(self, table: c_int, name: &CStr) {
        lua!(ffi::lua_rawsetfield(self.state, table, name.as_ptr()));
    }

    /// Gives the value at `index` the metatable on the top and drops that.
    pub fn set_metatable(self, index: c_int) {
        lua!(ffi::lua_setmetatable(self.state, index));
    }

    /// Whether the value at `a` is less than the value at `b`.
    pub fn is_less(self, a: c_int, b: c_int) -> bool {
        lua!(ffi::lua_lessthan(self.state, a, b)) != 0
    }

    /// Calls the function below its `args` arguments.
    pub fn call(self, args: c_int, results: c_int) {
        lua!(ffi::lua_call(self.state, args, results));
    }

    /// Calls in protected mode. The `resume` of the current function gets the status, and its answer is that of the function.
    pub fn protected_call_then_resume(self, args: c_int, handler: c_int) -> c_int {
        lua!(ffi::lua_pcallyieldable(self.state, args, ffi::LUA_MULTRET, handler))
    }

    /// Raises the top value as an error.
    pub fn raise(self) -> ! {
        lua!(ffi::lua_error(self.state))
    }

    /// Raises `text` with the position of the calling Lua function before it.
    pub fn raise_text(self, text: &CStr) -> ! {
        lua!(ffi::luaL_error(self.state, c"%s".as_ptr(), text.as_ptr()))
    }

    /// Raises a text about the value at `index`, which stands for the `%s` of `format`, with the position of the calling Lua
    /// function before it.
    pub fn raise_about(self, format: &CStr, index: c_int) -> ! {
        let shown = lua!(ffi::lua_tolstring(self.state, index, ptr::null_mut()));
        let shown = if shown.is_null() { c"?".as_ptr() } else { shown };
        lua!(ffi::luaL_error(self.state, format.as_ptr(), shown))
    }

    /// Raises unless there is an argument `n`.
    pub fn check_any(self, n: c_int) {
        lua!(ffi::luaL_checkany(self.state, n));
    }

    /// Raises unless the argument `n` is a table.
    pub fn check_table(self, n: c_int) {
        lua!(ffi::luaL_checktype(self.state, n, ffi::LUA_TTABLE));
    }

    /// The argument `n` as a number; raises if it is not one.
    pub fn check_number(self, n: c_int) -> f64 {
        lua!(ffi::luaL_checknumber(self.state, n))
    }

    /// The argument `n` as bytes; raises if it is neither a string nor a number.
    pub fn check_bytes(self, n: c_int) -> &'r [u8] {
        lua!(ffi::luaL_checklstring(self.state, n, ptr::null_mut()));
        self.bytes(n).unwrap_or_default()
    }

    /// Raises an error about the argument `n`.
    pub fn raise_argument(self, n: c_int, text: &CStr) -> ! {
        lua!(ffi::luaL_argerror(self.state, n, text.as_ptr()))
    }

    pub fn collect_garbage(self) {
        lua!(ffi::lua_gc(self.state, ffi::LUA_GCCOLLECT, 0));
    }

    /// Opens the libraries of Luau that the sandbox draws on, in the globals of the thread.
    pub fn open_luau_libraries(self) {
        const OPENED: [ffi::lua_CFunction; 6] = [
            ffi::luaopen_base,
            ffi::luaopen_string,
            ffi::luaopen_table,
            ffi::luaopen_math,
            ffi::luaopen_coroutine,
            ffi::luaopen_os,
        ];
        for function in OPENED {
            self.push_native(Native { function, resume: None }, c"open");
            self.call(0, 0);
        }
    }

    /// Compiles `source` and pushes the function, with the globals of the thread; or pushes the text of the error.
    pub fn push_compiled(self, source: &[u8], name: &CStr) -> CompileOutcome {
        let mut options = self.context().compiler.options();
        // SAFETY: the state is alive, and a protected call is around it. A userdata owns the bytecode before anything can raise,
        // so it is freed in every case. The translation is dropped before the first call that raises.
        unsafe {
            let owner = ffi::lua_newuserdatadtor(self.state, size_of::<*mut c_void>(), free_bytecode).cast::<*mut c_void>();
            owner.write(ptr::null_mut());
            let mut size = 0;
            let differs = {
                let translation = lua51::translate(source);
                let text = &translation.text;
                owner.write(ffi::luau_compile_(text.as_ptr().cast(), text.len(), &mut options, &mut size).cast());
                translation.differs
            };
            let status = ffi::luau_load(self.state, name.as_ptr(), owner.read().cast(), size, 0);
            free_bytecode(self.state, owner.cast());
            self.remove(-2);
            if status == 0 { CompileOutcome::Function { differs } } else { CompileOutcome::Error }
        }
    }

    /// Compiles the Lua function on the top to machine code, where the machine can run that.
    pub fn compile_natively(self) {
        lua!(ffi::luau_codegen_compile(self.state, -1));
    }
}

unsafe extern "C" fn free_bytecode(_: *mut ffi::lua_State, owner: *mut c_void) {
    unsafe extern "C" {
        fn free(block: *mut c_void);
    }
    // SAFETY: the userdata holds null or the block that luau_compile_ allocated with malloc; null replaces it.
    unsafe { free(owner.cast::<*mut c_void>().replace(ptr::null_mut())) };
}
