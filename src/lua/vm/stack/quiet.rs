//! The calls of Luau's API that never raise. Those that push need room on the stack.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::{ptr, slice};

use mlua::ffi;

use super::{Frame, Kind, Quiet, lua};
use crate::lua::api::cjson::Settings;
use crate::lua::vm::context::Context;
use crate::lua::vm::pinned::{Original, Ref};

impl<'r> Quiet<'r> {
    /// The engine's side of the VM.
    pub fn context(self) -> &'r Context {
        // SAFETY: `Vm::open` stored a Context that outlives the VM, and nothing else writes the field. A Context is only ever
        // shared.
        unsafe { &*(*ffi::lua_callbacks(self.state)).userdata.cast::<Context>() }
    }

    /// The number of values on the stack of the current function.
    pub fn top(self) -> c_int {
        lua!(ffi::lua_gettop(self.state))
    }

    /// Drops values until `top` are left, or `-top - 1` from the top; or pushes nils up to `top`.
    pub fn set_top(self, top: c_int) {
        lua!(ffi::lua_settop(self.state, top));
    }

    /// Drops `n` values.
    pub fn pop(self, n: c_int) {
        self.set_top(-n - 1);
    }

    /// Makes room for `n` more values; false if there is none.
    pub fn reserve(self, n: c_int) -> bool {
        lua!(ffi::lua_checkstack(self.state, n)) != 0
    }

    /// The type at `index`.
    pub fn kind(self, index: c_int) -> Kind {
        match lua!(ffi::lua_type(self.state, index)) {
            ffi::LUA_TNONE | ffi::LUA_TNIL => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            ffi::LUA_TFUNCTION => Kind::Function,
            _ => Kind::Other,
        }
    }

    pub fn type_name(self, index: c_int) -> &'static str {
        // SAFETY: the state is alive and `index` is of the current function; the names are static C strings.
        let name = unsafe { CStr::from_ptr(ffi::lua_typename(self.state, ffi::lua_type(self.state, index))) };
        name.to_str().unwrap_or("?")
    }

    /// Releases a value that this VM has pinned.
    pub fn unpin(self, value: Ref) {
        // SAFETY: the state is alive; lua_unref writes into a slot of the registry that the pinned value has, and never raises.
        unsafe { ffi::lua_unref(self.state, value.0) };
    }

    /// The bytes at `index` if a string is there. They live as long as the string is reachable.
    pub fn bytes(self, index: c_int) -> Option<&'r [u8]> {
        let mut len = 0;
        let data = lua!(ffi::lua_tolstringatom(self.state, index, &mut len, ptr::null_mut()));
        if data.is_null() {
            return None;
        }
        // SAFETY: Luau returned the data and the length of a string, which does not move.
        Some(unsafe { slice::from_raw_parts(data.cast(), len) })
    }

    /// The number at `index`, or the one that a string there reads as; else 0.
    pub fn number(self, index: c_int) -> f64 {
        lua!(ffi::lua_tonumber(self.state, index))
    }

    /// Whether the value at `index` is a number, or a string that reads as one.
    pub fn is_number(self, index: c_int) -> bool {
        lua!(ffi::lua_isnumber(self.state, index)) != 0
    }

    /// Whether the value at `index` is neither nil nor false.
    pub fn truth(self, index: c_int) -> bool {
        lua!(ffi::lua_toboolean(self.state, index)) != 0
    }

    /// Whether two values are the same object.
    pub fn same(self, a: c_int, b: c_int) -> bool {
        lua!(ffi::lua_rawequal(self.state, a, b)) != 0
    }

    /// Whether a Lua function, not a C function, is at `index`.
    pub fn is_lua_function(self, index: c_int) -> bool {
        lua!(ffi::lua_isLfunction(self.state, index)) != 0
    }

    /// Whether the null pointer is at `index`, which stands for JSON's `null`.
    pub fn is_null(self, index: c_int) -> bool {
        lua!(ffi::lua_type(self.state, index)) == ffi::LUA_TLIGHTUSERDATA
            && lua!(ffi::lua_touserdata(self.state, index)).is_null()
    }

    pub fn push_nil(self) {
        lua!(ffi::lua_pushnil(self.state));
    }

    pub fn push_bool(self, value: bool) {
        lua!(ffi::lua_pushboolean(self.state, c_int::from(value)));
    }

    pub fn push_number(self, value: f64) {
        lua!(ffi::lua_pushnumber(self.state, value));
    }

    /// Pushes a count or a position. Both are far below what a number holds exactly.
    #[allow(clippy::cast_precision_loss)]
    pub fn push_count(self, count: usize) {
        self.push_number(count as f64);
    }

    /// Pushes the null pointer, which stands for JSON's `null`.
    pub fn push_null(self) {
        lua!(ffi::lua_pushlightuserdatatagged(self.state, ptr::null_mut(), 0));
    }

    /// Pushes a pinned value.
    pub fn push_ref(self, pinned: Ref) {
        lua!(ffi::lua_rawgeti_(self.state, ffi::LUA_REGISTRYINDEX, pinned.0));
    }

    /// Pushes a copy of the value at `index`.
    pub fn push_copy(self, index: c_int) {
        lua!(ffi::lua_pushvalue(self.state, index));
    }

    /// Pushes the current thread.
    pub fn push_thread(self) {
        lua!(ffi::lua_pushthread(self.state));
    }

    /// Moves the top value to `index`.
    pub fn insert(self, index: c_int) {
        lua!(ffi::lua_insert(self.state, index));
    }

    /// Replaces the value at `index` by the top value and drops that.
    pub fn replace(self, index: c_int) {
        lua!(ffi::lua_replace(self.state, index));
    }

    /// Removes the value at `index`.
    pub fn remove(self, index: c_int) {
        lua!(ffi::lua_remove(self.state, index));
    }

    /// Replaces the key on the top by its value in the table at `table`, without metamethods.
    pub fn raw_get(self, table: c_int) {
        lua!(ffi::lua_rawget(self.state, table));
    }

    /// Pushes the element `index` of the table at `table`, without metamethods.
    pub fn raw_get_element(self, table: c_int, index: c_int) {
        lua!(ffi::lua_rawgeti_(self.state, table, index));
    }

    /// Sets a field of the table at `table` to the top value and drops that. The table is writable and has the field already, so
    /// nothing is allocated: neither the field nor its name.
    pub fn replace_field(self, table: c_int, name: &CStr) {
        lua!(ffi::lua_rawsetfield(self.state, table, name.as_ptr()));
    }

    /// Replaces the key on the top by the next key and its value; at the end drops it and answers false. The table holds the key.
    pub fn next(self, table: c_int) -> bool {
        lua!(ffi::lua_next(self.state, table)) != 0
    }

    /// Pushes the first key and value at or after `place` in the table at `table` and answers the place after them. 0 is the
    /// first place. At the end pushes nothing and answers `None`.
    pub fn entry_from(self, table: c_int, place: c_int) -> Option<c_int> {
        let next = lua!(ffi::lua_rawiter(self.state, table, place));
        (next >= 0).then_some(next)
    }

    /// The length of the table at `table`, without metamethods.
    pub fn length(self, table: c_int) -> usize {
        lua!(ffi::lua_objlen(self.state, table))
    }

    /// Pushes the metatable of the value at `index`. Without one pushes nothing and answers false.
    pub fn push_metatable(self, index: c_int) -> bool {
        lua!(ffi::lua_getmetatable(self.state, index)) != 0
    }

    /// Makes the table at `index` read-only or writable.
    pub fn set_readonly(self, index: c_int, readonly: bool) {
        lua!(ffi::lua_setreadonly(self.state, index, c_int::from(readonly)));
    }

    /// Tells Luau whether the table at `index` stays as it is while it serves as globals.
    pub fn set_safe_globals(self, index: c_int, safe: bool) {
        lua!(ffi::lua_setsafeenv(self.state, index, c_int::from(safe)));
    }

    /// Pushes the globals of the function at `index`.
    pub fn push_globals_of(self, index: c_int) {
        lua!(ffi::lua_getfenv(self.state, index));
    }

    /// Gives the function or thread at `index` the globals on the top and drops them; false for any other value.
    pub fn set_globals_of(self, index: c_int) -> bool {
        lua!(ffi::lua_setfenv(self.state, index)) != 0
    }

    /// The function `level` calls up; 0 is the current one.
    pub fn frame(self, level: c_int) -> Option<Frame<'r>> {
        // SAFETY: the state is alive. The structure is plain data, which Luau fills; "sl" pushes nothing. The name of a chunk is
        // a C string that lives as long as the function, which is on the call stack.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getinfo(self.state, level, c"sl".as_ptr(), &mut ar) == 0 {
                return None;
            }
            let text = |text: *const c_char| if text.is_null() { &[] } else { CStr::from_ptr(text).to_bytes() };
            Some(Frame { native: text(ar.what) == b"C", source: text(ar.source), line: ar.currentline })
        }
    }

    /// Pushes the function `level` calls up. If there is none, pushes nothing and answers false.
    pub fn push_function_at(self, level: c_int) -> bool {
        // SAFETY: the state is alive. The structure is plain data, which Luau fills; "f" pushes one value.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            ffi::lua_getinfo(self.state, level, c"f".as_ptr(), &mut ar) != 0
        }
    }

    /// The name of the current function.
    pub fn function_name(self) -> &'r str {
        // SAFETY: the state is alive. The structure is plain data, which Luau fills; "n" pushes nothing. The name of a C function
        // is the static string that it was pushed with.
        unsafe {
            let mut ar: ffi::lua_Debug = std::mem::zeroed();
            if ffi::lua_getinfo(self.state, 0, c"n".as_ptr(), &mut ar) == 0 || ar.name.is_null() {
                return "?";
            }
            CStr::from_ptr(ar.name).to_str().unwrap_or("?")
        }
    }

    /// The number that the current function has as its upvalue.
    pub fn own_number(self) -> f64 {
        self.number(ffi::lua_upvalueindex(1))
    }

    /// The settings that the current function has as its upvalue.
    pub fn own_settings(self) -> Option<&'r Cell<Settings>> {
        let place = lua!(ffi::lua_touserdatatagged(self.state, ffi::lua_upvalueindex(1), super::data::SETTINGS));
        // SAFETY: only `push_settings` makes userdata with this tag, and the running function keeps it alive.
        unsafe { place.cast::<Cell<Settings>>().as_ref() }
    }

    /// Keeps the C function on the top as the original that one of ours wraps, and drops it from the stack.
    pub fn keep_original(self, original: Original) {
        let originals = &self.context().originals;
        let mut all = originals.get();
        if let Some(place) = all.get_mut(original as usize) {
            *place = lua!(ffi::lua_tocfunction(self.state, -1));
        }
        originals.set(all);
        self.pop(1);
    }
}
