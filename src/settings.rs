//! The settings: one row each, with its range and its effect.
//!
//! Commands read the settings; `module/config.rs` registers them with the server. A row feeds the module argument, `CONFIG SET
//! atomic.<name>`, the error for a wrong value, and the table in the README.

use std::ffi::CStr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

pub struct Setting {
    /// `CONFIG SET atomic.<name>`, and the module argument.
    pub name: &'static CStr,
    /// The value if it is not configured.
    pub default: i64,
    pub min: i64,
    pub max: i64,
    /// How the value is written.
    pub kind: Kind,
    /// Its effect, for the README.
    pub doc: &'static str,
    value: AtomicI64,
}

/// How the value of a setting is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Number,
    /// Bytes; accepts units, as in `64mb`.
    Bytes,
    /// Bytes, or `auto`, stored as [`AUTO`].
    AutoBytes,
    /// `yes` or `no`, stored as 1 or 0; fixed when the module loads.
    Switch,
    /// `yes` or `no`, stored as 1 or 0; can change at any time.
    Toggle,
    /// One of these words, stored as its index.
    Word(&'static [&'static str]),
}

/// The stored value of `auto`.
pub const AUTO: i64 = 0;

/// Whether a value has changed since the last [`take_changed`].
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

    /// Changes the value. The caller must have checked the range.
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
        note_change();
    }
}

/// Records a change of a server setting that one of these depends on.
pub fn note_change() {
    CHANGED.store(true, Ordering::Relaxed);
}

/// Whether a setting has changed since the last call of this function.
pub fn take_changed() -> bool {
    CHANGED.load(Ordering::Relaxed) && CHANGED.swap(false, Ordering::Relaxed)
}

pub static SCRIPT_MEMORY_LIMIT: Setting = Setting::new(
    c"script-memory-limit",
    Kind::AutoBytes,
    AUTO,
    4 << 20..=1 << 40,
    "Memory that the script engine may use, cached scripts included. A script that needs more fails with an error. `auto` is a quarter of \
     `maxmemory`, but at least 512 MiB.",
);

pub static SCRIPT_RUN_MEMORY_LIMIT: Setting = Setting::new(
    c"script-run-memory-limit",
    Kind::Bytes,
    0,
    0..=1 << 40,
    "Memory that one run of a script may add to the engine's, garbage included. 0 leaves only `script-memory-limit`.",
);

pub static SCRIPT_ARGUMENT_LIMIT: Setting = Setting::new(
    c"script-argument-limit",
    Kind::Bytes,
    512 << 20,
    1 << 10..=1 << 40,
    "Total size of the arguments of one command that a script calls. A script that passes more fails with an error.",
);

pub static SCRIPT_REPLY_LIMIT: Setting = Setting::new(
    c"script-reply-limit",
    Kind::Bytes,
    512 << 20,
    1 << 10..=1 << 40,
    "Size of a script's reply. Each value counts as its data plus 16 bytes. A script that returns more fails with an error.",
);

pub static SCRIPT_REPLY_DEPTH: Setting = Setting::new(
    c"script-reply-depth",
    Kind::Number,
    1000,
    1..=1000,
    "Nesting depth of a script's reply. An error inside the reply replaces any deeper level.",
);

pub static SCRIPT_TIMEOUT_MS: Setting = Setting::new(
    c"script-timeout-ms",
    Kind::Number,
    0,
    0..=86_400_000,
    "A script that has run this long without writing fails with an error. 0 disables the limit.",
);

pub static SCRIPT_BUDGET_MS: Setting = Setting::new(
    c"script-budget-ms",
    Kind::Number,
    0,
    0..=86_400_000,
    "A script that has run this long fails with an error, even if it has written. Its writes stay. 0 disables the limit.",
);

pub static SCRIPT_UNREACHABLE_BUDGET_MS: Setting = Setting::new(
    c"script-unreachable-budget-ms",
    Kind::Number,
    10_000,
    0..=86_400_000,
    "Like `script-budget-ms`, for scripts that `ATOMIC.SCRIPT KILL` cannot reach because the server serves no other client while they run: \
     in MULTI, on a replica, in ATOMIC.IDEM, or called by another module. 0 disables the limit.",
);

pub static SCRIPT_NATIVE_CODE: Setting = Setting::new(
    c"script-native-code",
    Kind::Switch,
    1,
    0..=1,
    "Compiles scripts that compute a lot to machine code. The limits apply as before. Fixed when the module loads.",
);

pub static SCRIPT_EXACT_NUMBERS: Setting = Setting::new(
    c"script-exact-numbers",
    Kind::Toggle,
    0,
    0..=1,
    "Converts numbers to text in full: `tostring(0.1 + 0.2)` returns `0.30000000000000004`, not `0.3` as on the server, which writes \
     14 digits. Has no effect in drop-in mode or while a library or a file of commands loads.",
);

pub static SCRIPT_DIRECT_READS: Setting = Setting::new(
    c"script-direct-reads",
    Kind::Toggle,
    1,
    0..=1,
    "Whether HGET, HMGET, HEXISTS, HLEN, EXISTS, TYPE, TTL, PTTL, LLEN, SCARD, ZCARD and ZSCORE in a script read the key without a dispatch, \
     which takes about half the CPU. Such reads are not in `INFO commandstats`. They are dispatched while a client uses CLIENT TRACKING or \
     MONITOR.",
);

pub static SCRIPT_STORE_MAX_BYTES: Setting = Setting::new(
    c"script-store-max-bytes",
    Kind::Bytes,
    64 << 20,
    0..=1 << 40,
    "Memory for the scripts that `ATOMIC.SCRIPT LOAD` stores in the server's function store. Each script counts as 2.5 KiB plus 2.5 times \
     its source. Beyond the limit a script is loaded but not stored: it can be evicted, and a restart loses it. 0 stores nothing.",
);

pub static SCRIPT_PULL: Setting = Setting::new(
    c"script-pull",
    Kind::Toggle,
    1,
    0..=1,
    "In a cluster, `ATOMIC.EVALSHA` of a script that this node does not know gets it from another primary, and waits up to 200 ms for it. \
     `no` also stops this node from giving scripts to others.",
);

pub static INTERCEPT_SCRIPT_PULL: Setting = Setting::new(
    c"intercept-script-pull",
    Kind::Toggle,
    0,
    0..=1,
    "Whether `script-pull` also applies to `EVALSHA` in drop-in mode. Off, because client libraries send it to find out whether a script \
     is loaded.",
);

pub static SCRIPT_ROLLBACK: Setting = Setting::new(
    c"script-rollback",
    Kind::Toggle,
    0,
    0..=1,
    "Every script, function and command from a file is all or nothing: an error undoes its writes. Without it, those that declare the flag \
     `rollback` are.",
);

pub static SCRIPT_ROLLBACK_MAX_BYTES: Setting = Setting::new(
    c"script-rollback-max-bytes",
    Kind::Bytes,
    64 << 20,
    0..=1 << 40,
    "Memory for the old values of the keys that one all-or-nothing run writes. A write that needs more fails with an error, which undoes \
     the run.",
);

/// The words of `script-undeclared-keys`.
const POLICIES: &[&str] = &["allow", "log", "deny"];

pub static SCRIPT_UNDECLARED_KEYS: Setting = Setting::new(
    c"script-undeclared-keys",
    Kind::Word(POLICIES),
    0,
    0..=2,
    "What happens when a script uses a key that it was not given in `KEYS`: `allow` it, `log` and count it, or `deny` it with an error.",
);

pub static SCRIPT_OOM_EVERY_WRITE: Setting = Setting::new(
    c"script-oom-every-write",
    Kind::Toggle,
    0,
    0..=1,
    "A script may add memory only while the server uses less than `maxmemory`. Without it, as on the server, only the first write of a \
     script is checked.",
);

pub static LINE_GRACE_MS: Setting = Setting::new(
    c"line-grace-ms",
    Kind::Number,
    2000,
    0..=60_000,
    "How long the place of a waiting owner is kept after its connection closed, so that a client that reconnects and sends its request \
     again finds its place. 0 keeps none.",
);

pub static REPLICATE_IN_PLACE: Setting = Setting::new(
    c"replicate-in-place",
    Kind::Toggle,
    1,
    0..=1,
    "Whether commands replicate through the words of the client's own command, which saves about a quarter of the CPU of a \
     compare-and-set, on servers that are tested for that. The commands in the stream then are filled up to that number of words, as in \
     `SET k v GET`.",
);

pub static COMPAT: Setting = Setting::new(
    c"compat",
    Kind::Switch,
    0,
    0..=1,
    "Registers CL.THROTTLE, CAS and CAD, the command names of redis-cell, Tair and Kvrocks. Fixed when the module loads.",
);

pub static INTERCEPT: Setting = Setting::new(
    c"intercept",
    Kind::Toggle,
    0,
    0..=1,
    "Drop-in mode: this engine serves the server's own EVAL, EVALSHA, FCALL, their _RO forms, SCRIPT and FUNCTION. See \
     [drop-in mode](docs/drop-in.md).",
);

pub static INTERCEPT_ONE_SLOT: Setting = Setting::new(
    c"intercept-one-slot",
    Kind::Toggle,
    0,
    0..=1,
    "In a cluster, drop-in mode also serves scripts that declare keys but have no `#!lua` line. In these, a call with a key outside \
     the slot of the declared keys is an error; the server's own engine allows it. See [drop-in mode](docs/drop-in.md).",
);

/// A setting that is text, empty without any configuration; fixed when the module loads.
pub struct TextSetting {
    /// The module argument, and `CONFIG GET atomic.<name>`.
    pub name: &'static CStr,
    /// Its effect, for the README.
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

pub static COMMANDS_DIR: TextSetting = TextSetting {
    name: c"commands-dir",
    doc: "A directory whose `*.lua` files declare commands; empty for none. Fixed when the module loads.",
    value: Mutex::new(Vec::new()),
};

/// All settings that are numbers.
pub static ALL: &[&Setting] = &[
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
    &SCRIPT_DIRECT_READS,
    &SCRIPT_PULL,
    &SCRIPT_ROLLBACK,
    &SCRIPT_ROLLBACK_MAX_BYTES,
    &SCRIPT_UNDECLARED_KEYS,
    &SCRIPT_OOM_EVERY_WRITE,
    &INTERCEPT,
    &INTERCEPT_ONE_SLOT,
    &INTERCEPT_SCRIPT_PULL,
    &LINE_GRACE_MS,
    &REPLICATE_IN_PLACE,
    &COMPAT,
];
