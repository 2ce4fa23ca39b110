//! What a script can see: allow lists, one row per name with the reason why it is there, and the globals that are built from
//! them.
//!
//! The globals are one table, made once per VM and read-only like everything in it; only `KEYS` and `ARGV` change, by our
//! hand, between runs. What is not in a list does not exist. Libraries are those of Lua 5.1 as Redis offers them: what Luau
//! adds is left out, so that a script which works here works there. What Luau lacks comes from `lua/prelude` or from `api`.

pub mod library_globals;
use std::ffi::{CStr, c_int};

use mlua::ffi;

use self::library_globals::Tables;
use super::api::{atomic, base, bit, cjson, cmsgpack, guarded, math, redis, structs};
use super::convert::Names;
use super::vm::stack::{Native, Stack, native, native_with_resume};

/// Longer sources are refused: the compiler cannot be interrupted, and takes some fifty times their memory.
pub const SOURCE_BYTES: usize = 1 << 20;

/// Why a source is not given to the compiler, if it is not. Luau takes a NUL for the end of the source and would drop the rest.
pub(super) fn refusal(source: &[u8]) -> Option<&'static [u8]> {
    if source.len() > SOURCE_BYTES {
        Some(b"the source is longer than 1048576 bytes")
    } else if source.contains(&0) {
        Some(b"a NUL byte in the source")
    } else {
        None
    }
}

/// Globals whose value changes between runs: the compiler must not cache what is in them.
pub(super) const MUTABLE_GLOBALS: &[&CStr] = &[c"KEYS", c"ARGV"];

/// The functions that Luau's compiler may replace by instructions of its own and that a script of ours must not get: they are
/// not in the lists below, or not Luau's.
pub(super) const NO_FAST_CALL: &[&CStr] = &[
    c"typeof",
    c"rawlen",
    c"math.log",
    c"math.clamp",
    c"math.sign",
    c"math.round",
    c"math.lerp",
    c"math.isnan",
    c"math.isinf",
    c"math.isfinite",
    c"table.unpack",
    c"vector.create",
    c"vector.magnitude",
    c"vector.normalize",
    c"vector.cross",
    c"vector.dot",
    c"vector.floor",
    c"vector.ceil",
    c"vector.abs",
    c"vector.sign",
    c"vector.clamp",
    c"vector.min",
    c"vector.max",
    c"vector.lerp",
    c"bit32.arshift",
    c"bit32.band",
    c"bit32.bnot",
    c"bit32.bor",
    c"bit32.bxor",
    c"bit32.btest",
    c"bit32.extract",
    c"bit32.lrotate",
    c"bit32.lshift",
    c"bit32.replace",
    c"bit32.rrotate",
    c"bit32.rshift",
    c"bit32.countlz",
    c"bit32.countrz",
    c"bit32.byteswap",
    c"integer.create",
];

/// Where a function comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// Luau's library of the same name.
    Luau,
    /// `lua/prelude`.
    Prelude,
    /// A function of ours.
    Ours(Native),
    /// A function of ours before Luau's.
    Guarded(Native, Original),
}
use Origin::{Guarded, Luau, Ours, Prelude};

/// A function of Luau's libraries that one of ours stands before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Original {
    /// `string.find`
    Find,
    /// `string.match`
    Match,
    /// `string.gmatch`
    GMatch,
    /// `string.gsub`
    GSub,
    /// `table.sort`
    Sort,
}

impl Original {
    /// How many there are.
    pub const COUNT: usize = 5;
}

/// A name and why it may be seen.
struct Allowed(&'static CStr, Origin, #[expect(dead_code, reason = "for who reads the list")] &'static str);

/// A library of Lua: its name (empty for the globals themselves) and what is in it.
struct Library(&'static CStr, &'static [Allowed]);

/// A table of ours: its names and the function that makes it.
struct Namespace(&'static [&'static CStr], fn(Stack));

const NAMESPACES: &[Namespace] = &[
    Namespace(&[c"cjson"], cjson::open),
    Namespace(&[c"bit"], bit::open),
    Namespace(&[c"redis", c"server"], redis::open),
    Namespace(&[c"atomic"], atomic::open),
    Namespace(&[c"cmsgpack"], cmsgpack::open),
    Namespace(&[c"struct"], structs::open),
];

const LIBRARIES: &[Library] = &[
    Library(c"", BASE),
    Library(c"string", STRING),
    Library(c"table", TABLE),
    Library(c"math", MATH),
    Library(c"coroutine", COROUTINE),
    Library(c"os", OS),
];

const SEARCH: &str = "obeys the interrupt, bounds its recursion, and is not begun when it would take too long";
const PURE: &str = "computes from its arguments only";
const RAW: &str = "obeys read-only tables";
const CALLER: &str = "calls what the caller gave it, and obeys the interrupt";

const BASE: &[Allowed] = &[
    Allowed(c"assert", Luau, PURE),
    Allowed(c"collectgarbage", Ours(native(base::collectgarbage)), "counts; must not let a script run the collector"),
    Allowed(c"error", Luau, PURE),
    Allowed(c"gcinfo", Luau, "counts"),
    Allowed(c"getfenv", Ours(native(base::getfenv)), "hides the globals of the prelude"),
    Allowed(c"getmetatable", Luau, "metatables that outlive a run are read-only"),
    Allowed(c"ipairs", Luau, PURE),
    Allowed(c"load", Prelude, "text only; takes a function as in Lua 5.1, which Luau has not"),
    Allowed(c"loadstring", Ours(native(base::loadstring)), "text only"),
    Allowed(c"newproxy", Luau, "Luau has no finalizers"),
    Allowed(c"next", Luau, PURE),
    Allowed(c"pairs", Luau, PURE),
    Allowed(c"pcall", Ours(native_with_resume(base::pcall, base::pcall_ended)), "hands errors over as Redis does"),
    Allowed(c"rawequal", Luau, PURE),
    Allowed(c"rawget", Luau, PURE),
    Allowed(c"rawset", Luau, RAW),
    Allowed(c"select", Luau, PURE),
    Allowed(c"setfenv", Ours(native(base::setfenv)), "spares the functions of the prelude"),
    Allowed(c"setmetatable", Luau, RAW),
    Allowed(c"tonumber", Luau, PURE),
    Allowed(c"tostring", Luau, PURE),
    Allowed(c"type", Luau, PURE),
    Allowed(c"unpack", Luau, "checks its range"),
    Allowed(c"xpcall", Luau, CALLER),
];

/// What servers hide from scripts unless their operator wants it, as `lua-enable-deprecated-api` or `lua-enable-insecure-api`.
const DEPRECATED: &[&CStr] = &[c"getfenv", c"newproxy", c"setfenv"];

const STRING: &[Allowed] = &[
    Allowed(c"byte", Luau, PURE),
    Allowed(c"char", Luau, PURE),
    Allowed(c"find", Guarded(native(guarded::find), Original::Find), SEARCH),
    Allowed(c"format", Luau, PURE),
    Allowed(c"gfind", Guarded(native(guarded::gmatch), Original::GMatch), "the name of gmatch in Lua 5.0, which 5.1 keeps"),
    Allowed(c"gmatch", Guarded(native(guarded::gmatch), Original::GMatch), SEARCH),
    Allowed(c"gsub", Guarded(native(guarded::gsub), Original::GSub), SEARCH),
    Allowed(c"len", Luau, PURE),
    Allowed(c"lower", Luau, PURE),
    Allowed(c"match", Guarded(native(guarded::match_), Original::Match), SEARCH),
    Allowed(c"rep", Luau, "bounded by the memory limit"),
    Allowed(c"reverse", Luau, PURE),
    Allowed(c"sub", Luau, PURE),
    Allowed(c"upper", Luau, PURE),
];

const TABLE: &[Allowed] = &[
    Allowed(c"concat", Luau, "bounded by the memory limit"),
    Allowed(c"foreach", Luau, CALLER),
    Allowed(c"foreachi", Luau, CALLER),
    Allowed(c"getn", Luau, PURE),
    Allowed(c"insert", Luau, RAW),
    Allowed(c"maxn", Luau, PURE),
    Allowed(c"remove", Luau, RAW),
    Allowed(c"setn", Prelude, "tells that it is obsolete, as in Lua 5.1"),
    Allowed(c"sort", Guarded(native(guarded::sort), Original::Sort), "notices a comparator that changes the table"),
];

const MATH: &[Allowed] = &[
    Allowed(c"abs", Luau, PURE),
    Allowed(c"acos", Luau, PURE),
    Allowed(c"asin", Luau, PURE),
    Allowed(c"atan", Luau, PURE),
    Allowed(c"atan2", Luau, PURE),
    Allowed(c"ceil", Luau, PURE),
    Allowed(c"cos", Luau, PURE),
    Allowed(c"cosh", Luau, PURE),
    Allowed(c"deg", Luau, PURE),
    Allowed(c"exp", Luau, PURE),
    Allowed(c"floor", Luau, PURE),
    Allowed(c"fmod", Luau, PURE),
    Allowed(c"frexp", Luau, PURE),
    Allowed(c"huge", Luau, "a constant"),
    Allowed(c"ldexp", Luau, PURE),
    Allowed(c"log", Prelude, "takes one argument and ignores a base, as in Lua 5.1"),
    Allowed(c"log10", Luau, PURE),
    Allowed(c"max", Luau, PURE),
    Allowed(c"min", Luau, PURE),
    Allowed(c"mod", Prelude, "the name of fmod in Lua 5.0, which 5.1 keeps"),
    Allowed(c"modf", Luau, PURE),
    Allowed(c"pi", Luau, "a constant"),
    Allowed(c"pow", Luau, PURE),
    Allowed(c"rad", Luau, PURE),
    Allowed(c"random", Ours(native(math::random)), "the sequence of Redis, with a state that ends with the run"),
    Allowed(c"randomseed", Ours(native(math::randomseed)), "seeds this run only"),
    Allowed(c"sin", Luau, PURE),
    Allowed(c"sinh", Luau, PURE),
    Allowed(c"sqrt", Luau, PURE),
    Allowed(c"tan", Luau, PURE),
    Allowed(c"tanh", Luau, PURE),
];

const COROUTINE: &[Allowed] = &[
    Allowed(c"create", Luau, PURE),
    Allowed(c"resume", Luau, CALLER),
    Allowed(c"running", Luau, PURE),
    Allowed(c"status", Luau, PURE),
    Allowed(c"wrap", Luau, CALLER),
    Allowed(c"yield", Luau, PURE),
];

const OS: &[Allowed] = &[Allowed(c"clock", Luau, "measures; there is no way from here to the system")];

/// The libraries of Luau that the lists draw on.
const OPENED: &[ffi::lua_CFunction] =
    &[ffi::luaopen_base, ffi::luaopen_string, ffi::luaopen_table, ffi::luaopen_math, ffi::luaopen_coroutine, ffi::luaopen_os];

/// The chunk name of the prelude.
pub(super) const PRELUDE_NAME: &[u8] = b"=prelude";

const PRELUDE: &[u8] = include_bytes!("../../../lua/prelude/base.lua");

/// Builds the globals of a new VM and makes them the thread's.
pub(super) fn install(s: Stack) -> c_int {
    for &open in OPENED {
        s.push_native(Native { function: open, resume: None }, c"open");
        s.call(0, 0);
    }
    s.push_nil();
    s.raw_set_field(Stack::REGISTRY, c"_LOADED");
    s.push_copy(Stack::GLOBALS);
    push_prelude(s);
    // From here on: 1 Luau's own globals, 2 what the prelude made, 3 the globals of scripts.
    s.push_table(0, 64);
    LIBRARIES.iter().for_each(|library| push_library(s, library));
    NAMESPACES.iter().for_each(|namespace| push_namespace(s, namespace));
    set_constants(s);
    guard_strings(s);
    guard(s);
    s.set_safe_globals(3, true);
    s.remove(2);
    s.context().names.set(Names::pin(s));
    s.context().libraries.set(Tables::pin(s));
    s.set_readonly(1, true);
    s.push_copy(2);
    s.replace(Stack::GLOBALS);
    0
}

/// Runs the prelude in Luau's own globals, which are then the mark of its functions.
fn push_prelude(s: Stack) {
    s.set_safe_globals(Stack::GLOBALS, true);
    if !s.push_compiled(PRELUDE, c"=prelude") {
        s.raise();
    }
    s.push_native(native(base::loadstring), c"loadstring");
    s.call(1, 1);
}

/// Puts a library into the globals of scripts, or its functions if it has no name.
fn push_library(s: Stack, &Library(name, allowed): &Library) {
    if name.is_empty() {
        let hides = !s.context().limits.get().deprecated_api;
        for entry in allowed.iter().filter(|entry| !(hides && DEPRECATED.contains(&entry.0))) {
            push_allowed(s, 1, 2, entry);
            s.raw_set_field(3, entry.0);
        }
        return;
    }
    s.raw_get_field(1, name);
    s.raw_get_field(2, name);
    s.push_table(0, allowed.len());
    for entry in allowed {
        push_allowed(s, 4, 5, entry);
        s.raw_set_field(6, entry.0);
    }
    s.set_readonly(6, true);
    s.raw_set_field(3, name);
    s.set_top(3);
}

fn push_allowed(s: Stack, luau: c_int, prelude: c_int, &Allowed(name, from, _): &Allowed) {
    match from {
        Luau => s.raw_get_field(luau, name),
        // The base functions of the prelude have a table of their own.
        Prelude => s.raw_get_field(prelude, name),
        Ours(function) => s.push_native(function, name),
        Guarded(function, original) => {
            // The name of Lua 5.0 has the same function behind it.
            s.raw_get_field(luau, if name == c"gfind" { c"gmatch" } else { name });
            s.keep_original(original);
            s.push_native(function, name);
        }
    }
}

fn push_namespace(s: Stack, &Namespace(names, open): &Namespace) {
    open(s);
    s.set_readonly(-1, true);
    for name in names {
        s.push_copy(-1);
        s.raw_set_field(3, name);
    }
    s.pop(1);
}

fn set_constants(s: Stack) {
    s.push_bytes(b"Lua 5.1");
    s.raw_set_field(3, c"_VERSION");
    s.push_copy(3);
    s.raw_set_field(3, c"_G");
}

/// Methods of strings are those of the library that scripts see.
fn guard_strings(s: Stack) {
    s.push_bytes(b"");
    if s.push_metatable(-1) {
        s.raw_get_field(3, c"string");
        s.raw_set_field(-2, c"__index");
        s.set_readonly(-1, true);
    }
    s.set_top(3);
}

/// In the table on the top a name that is missing is an error from now on, and nothing can be changed.
pub(super) fn guard(s: Stack) {
    s.push_table(0, 2);
    s.push_native(native(missing_global), c"__index");
    s.raw_set_field(-2, c"__index");
    s.push_native(native(new_global), c"__newindex");
    s.raw_set_field(-2, c"__newindex");
    s.set_readonly(-1, true);
    s.set_metatable(-2);
    s.set_readonly(-1, true);
}

/// Outside a run it is the loader that asks: what is nil then is looked up again in the run.
fn missing_global(s: Stack) -> c_int {
    if s.context().task.get().is_none() {
        s.push_nil();
        return 1;
    }
    s.raise_about(c"Script attempted to access nonexistent global variable '%s'", 2)
}

fn new_global(s: Stack) -> c_int {
    s.raise_text(c"Attempt to modify a readonly table")
}
