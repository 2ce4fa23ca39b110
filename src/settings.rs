//! The settings: one row each, with its range and what it does.
//!
//! A leaf, read by the commands and registered with the server by `module/config.rs`. A row feeds the module arguments, `CONFIG SET
//! atomic.<name>`, the refusal of a wrong value, and the table in the README.

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One setting.
pub struct Setting {
    /// `CONFIG SET atomic.<name>`, and the module argument.
    pub name: &'static CStr,
    /// The value without any configuration.
    pub default: i64,
    /// The smallest value.
    pub min: i64,
    /// The largest value.
    pub max: i64,
    /// How the value is written.
    pub kind: Kind,
    /// What it does, for the README.
    pub doc: &'static str,
    value: AtomicI64,
}

/// How the value of a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Number,
    /// Bytes, so that `64mb` is understood.
    Bytes,
    /// `yes` or `no`, stored as 1 or 0; fixed when the module loads.
    Switch,
    /// `yes` or `no`, stored as 1 or 0; changed at any time.
    Toggle,
}

/// Set when a value changed since [`take_changed`] asked.
static CHANGED: AtomicBool = AtomicBool::new(false);

impl Setting {
    const fn new(name: &'static CStr, kind: Kind, default: i64, range: RangeInclusive<i64>, doc: &'static str) -> Self {
        Self { name, default, min: *range.start(), max: *range.end(), kind, doc, value: AtomicI64::new(default) }
    }

    /// The value in force.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed).unsigned_abs()
    }

    /// Changes the value. The caller has checked the range.
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
        CHANGED.store(true, Ordering::Relaxed);
    }
}

/// Whether a setting changed since the last time this was asked.
pub fn take_changed() -> bool {
    CHANGED.load(Ordering::Relaxed) && CHANGED.swap(false, Ordering::Relaxed)
}

/// Memory of the script engine.
pub static SCRIPT_MEMORY_LIMIT: Setting = Setting::new(
    c"script-memory-limit",
    Kind::Bytes,
    64 << 20,
    4 << 20..=1 << 40,
    "Memory that the script engine may use, its cached scripts included. A script that needs more ends with an error.",
);

/// Memory of one run.
pub static SCRIPT_RUN_MEMORY_LIMIT: Setting = Setting::new(
    c"script-run-memory-limit",
    Kind::Bytes,
    0,
    0..=1 << 40,
    "Memory that one run of a script may add to what the engine uses, garbage included; 0 leaves it to script-memory-limit.",
);

/// Size of the arguments of a command in a script.
pub static SCRIPT_ARGUMENT_LIMIT: Setting = Setting::new(
    c"script-argument-limit",
    Kind::Bytes,
    512 << 20,
    1 << 10..=1 << 40,
    "Bytes of the arguments of one command that a script runs. A script that passes more ends with an error.",
);

/// Size of a script's reply.
pub static SCRIPT_REPLY_LIMIT: Setting = Setting::new(
    c"script-reply-limit",
    Kind::Bytes,
    512 << 20,
    1 << 10..=1 << 40,
    "Bytes of the reply that a script returns, each value counted as its data and 16 bytes. A script that returns more ends with an error.",
);

/// Nesting of a script's reply.
pub static SCRIPT_REPLY_DEPTH: Setting = Setting::new(
    c"script-reply-depth",
    Kind::Number,
    1000,
    1..=1000,
    "Levels of nesting in the reply that a script returns; what lies deeper is an error inside the reply.",
);

/// Time limit until the first write.
pub static SCRIPT_TIMEOUT_MS: Setting = Setting::new(
    c"script-timeout-ms",
    Kind::Number,
    0,
    0..=86_400_000,
    "A script that has not written anything ends with an error after this time; 0 switches this limit off.",
);

/// Time limit, always.
pub static SCRIPT_BUDGET_MS: Setting = Setting::new(
    c"script-budget-ms",
    Kind::Number,
    0,
    0..=86_400_000,
    "Every script ends with an error after this time, even one that has written (what it wrote stays); 0 switches this limit off.",
);

/// Time limit where nobody can end a script.
pub static SCRIPT_UNREACHABLE_BUDGET_MS: Setting = Setting::new(
    c"script-unreachable-budget-ms",
    Kind::Number,
    10_000,
    0..=86_400_000,
    "As script-budget-ms, for scripts that ATOMIC.SCRIPT KILL cannot reach, since the server sees to nobody else meanwhile: in MULTI, \
     on a replica, called by another module. 0 switches this limit off.",
);

/// Machine code.
pub static SCRIPT_NATIVE_CODE: Setting = Setting::new(
    c"script-native-code",
    Kind::Switch,
    1,
    0..=1,
    "Scripts that compute much become machine code; the limits hold as before. Fixed when the module loads.",
);

/// Text of numbers.
pub static SCRIPT_EXACT_NUMBERS: Setting = Setting::new(
    c"script-exact-numbers",
    Kind::Toggle,
    0,
    0..=1,
    "Numbers become text in full: `tostring(0.1 + 0.2)` is `0.30000000000000004`, and not `0.3` as on the server, which writes 14 digits. Not \
     in drop-in mode, and not while a library or a file of commands loads.",
);

/// Room for scripts in the server's function store.
pub static SCRIPT_STORE_MAX_BYTES: Setting = Setting::new(
    c"script-store-max-bytes",
    Kind::Bytes,
    64 << 20,
    0..=1 << 40,
    "Memory for scripts that `ATOMIC.SCRIPT LOAD` stores in the server's function store: each takes 2.5 KiB and two and a half times its \
     source. Beyond it a script is loaded but not stored: it can be evicted, and ends with the process. 0 stores nothing.",
);

/// Other modules' command names.
pub static COMPAT: Setting = Setting::new(
    c"compat",
    Kind::Switch,
    0,
    0..=1,
    "Registers CL.THROTTLE, CAS and CAD, the names that redis-cell, Tair and Kvrocks use. Fixed when the module loads.",
);

/// Drop-in mode.
pub static INTERCEPT: Setting = Setting::new(
    c"intercept",
    Kind::Toggle,
    0,
    0..=1,
    "Drop-in mode: the server's own EVAL, EVALSHA and FCALL, their _RO forms, SCRIPT and FUNCTION run on this engine. See \
     [drop-in mode](docs/drop-in.md).",
);

/// A setting that is text, empty without any configuration; fixed when the module loads.
pub struct TextSetting {
    /// The module argument, and `CONFIG GET atomic.<name>`.
    pub name: &'static CStr,
    /// What it does, for the README.
    pub doc: &'static str,
    value: Mutex<Vec<u8>>,
}

impl TextSetting {
    /// The value in force.
    #[must_use]
    pub fn get(&self) -> Vec<u8> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the value.
    pub fn set(&self, value: &[u8]) {
        value.clone_into(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Where scripted commands are.
pub static COMMANDS_DIR: TextSetting = TextSetting {
    name: c"commands-dir",
    doc: "A directory whose `*.lua` files become commands when the module loads; empty for none. Fixed when the module loads.",
    value: Mutex::new(Vec::new()),
};

/// All settings that are numbers.
pub static ALL: [&Setting; 13] = [
    &SCRIPT_MEMORY_LIMIT,
    &SCRIPT_RUN_MEMORY_LIMIT,
    &SCRIPT_ARGUMENT_LIMIT,
    &SCRIPT_REPLY_LIMIT,
    &SCRIPT_REPLY_DEPTH,
    &SCRIPT_TIMEOUT_MS,
    &SCRIPT_BUDGET_MS,
    &SCRIPT_UNREACHABLE_BUDGET_MS,
    &SCRIPT_STORE_MAX_BYTES,
    &SCRIPT_NATIVE_CODE,
    &SCRIPT_EXACT_NUMBERS,
    &INTERCEPT,
    &COMPAT,
];
