//! Values that the registry of the VM keeps alive, and by which the engine finds them again.
//!
//! Pushing a pinned value neither allocates nor raises, so the names of fields are pinned strings.

use std::ffi::c_int;

use mlua::ffi;

/// A value pinned in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Ref(pub(super) c_int);

impl Ref {
    /// Stands for nil.
    pub const NIL: Self = Self(ffi::LUA_REFNIL);
}

impl Default for Ref {
    fn default() -> Self {
        Self::NIL
    }
}

/// The globals of scripts, and the names of fields that the engine reads and writes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::lua) struct Names {
    pub globals: Ref,
    pub prelude_globals: Ref,
    pub keys: Ref,
    pub argv: Ref,
    pub err: Ref,
    pub ignore_error_stats_update: Ref,
    pub ok: Ref,
    pub double: Ref,
    pub big_number: Ref,
    pub verbatim_string: Ref,
    pub map: Ref,
    pub set: Ref,
    pub format: Ref,
    pub string: Ref,
    /// `{ok = 'OK'}`
    pub ok_reply: Ref,
}

/// The tables that the code of libraries and command files sees.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::lua) struct LibraryTables {
    pub globals: Ref,
    /// `redis` while a function library loads.
    pub loading_functions: Ref,
    /// `redis` while a command file loads.
    pub loading_commands: Ref,
    /// `redis` while a function runs.
    pub redis: Ref,
    pub atomic: Ref,
    /// Stands for `atomic` during a load.
    pub nothing: Ref,
}

/// A function of Luau that a function of this engine wraps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Original {
    Find,
    Match,
    GMatch,
    GSub,
    Sort,
}

impl Original {
    pub const COUNT: usize = 5;
}
