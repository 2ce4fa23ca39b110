//! The globals of scripts, and the allow lists that they are built from: one row per name, with the reason why the name is
//! allowed.
//!
//! The globals are one table, made once per VM and read-only like everything in it. Only `KEYS` and `ARGV` change: the engine
//! sets them between runs. A name that is in no list does not exist. The libraries are those of Lua 5.1 as Redis offers them.
//! Additions of Luau are left out, so a script that works here works there. Functions that Luau lacks come from `lua/prelude` or
//! from `api`.

pub mod library_globals;

use std::ffi::{CStr, c_int};

use super::api::{atomic, base, bit, cjson, cmsgpack, guarded, math, redis, structs};
use super::vm::pinned::{LibraryTables, Names, Original};
use super::vm::stack::{CompileOutcome, Native, Stack, native, native_with_resume};

/// Globals that change between runs: the compiler must not cache their values.
pub(super) const MUTABLE_GLOBALS: &[&CStr] = &[c"KEYS", c"ARGV"];

/// Functions that Luau's compiler would replace by instructions of its own, and that scripts must not get: they are not in the
/// lists below, or the lists have another function of that name.
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

/// The origin of a function.
#[derive(Clone, Copy)]
enum Origin {
    /// Luau's library of the same name.
    Luau,
    /// `lua/prelude`.
    Prelude,
    /// A function of `api`.
    Ours(Native),
    /// A function of `api` that wraps Luau's.
    Guarded(Native, Original),
}
use Origin::{Guarded, Luau, Ours, Prelude};

/// A name and the reason why it is allowed.
struct Allowed(&'static CStr, Origin, #[expect(dead_code, reason = "for the reader of the list")] &'static str);

/// A library of Lua: its name (empty for the globals themselves) and its functions.
struct Library(&'static CStr, &'static [Allowed]);

/// A table of `api`: its names and the function that pushes it.
struct Namespace(&'static [&'static CStr], fn(Stack<'_>));

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

const SEARCH: &str = "obeys the interrupt, bounds its recursion, and refuses searches that would take too long";
const PURE: &str = "computes from its arguments only";
const RAW: &str = "obeys read-only tables";
const CALLER: &str = "calls functions of the script, and obeys the interrupt";

const BASE: &[Allowed] = &[
    Allowed(c"assert", Luau, PURE),
    Allowed(c"collectgarbage", Ours(native(base::collectgarbage)), "counts; a script must not run the collector"),
    Allowed(c"error", Luau, PURE),
    Allowed(c"gcinfo", Luau, "counts"),
    Allowed(c"getfenv", Ours(native(base::getfenv)), "hides the globals of the prelude"),
    Allowed(c"getmetatable", Luau, "metatables that outlive a run are read-only"),
    Allowed(c"ipairs", Luau, PURE),
    Allowed(c"load", Prelude, "text only; takes a function as in Lua 5.1, unlike Luau"),
    Allowed(c"loadstring", Ours(native(base::loadstring)), "text only"),
    Allowed(c"newproxy", Luau, "Luau has no finalizers"),
    Allowed(c"next", Luau, PURE),
    Allowed(c"pairs", Luau, PURE),
    Allowed(c"pcall", Ours(native_with_resume(base::pcall, base::pcall_ended)), "converts errors as Redis does"),
    Allowed(c"rawequal", Luau, PURE),
    Allowed(c"rawget", Luau, PURE),
    Allowed(c"rawset", Luau, RAW),
    Allowed(c"select", Luau, PURE),
    Allowed(c"setfenv", Ours(native(base::setfenv)), "refuses the functions of the prelude"),
    Allowed(c"setmetatable", Luau, RAW),
    Allowed(c"tonumber", Luau, PURE),
    Allowed(c"tostring", Luau, PURE),
    Allowed(c"type", Luau, PURE),
    Allowed(c"unpack", Luau, "checks its range"),
    Allowed(c"xpcall", Luau, CALLER),
];

/// Functions that servers hide unless `lua-enable-deprecated-api` or `lua-enable-insecure-api` is set.
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
    Allowed(c"setn", Prelude, "raises that it is obsolete, as in Lua 5.1"),
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
    Allowed(c"random", Ours(native(math::random)), "the sequence of Redis; its state ends with the run"),
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

const OS: &[Allowed] = &[Allowed(c"clock", Luau, "measures time; gives no access to the system")];

/// The chunk name of the prelude.
pub(super) const PRELUDE_NAME: &[u8] = b"=prelude";

const PRELUDE: &[u8] = include_bytes!("../../../lua/prelude/base.lua");

/// The slots of `install`: Luau's own globals, the functions of the prelude, and the globals of scripts; then, for one library,
/// the first two again and the table that scripts get.
const LUAU: c_int = 1;
const FROM_PRELUDE: c_int = 2;
const GLOBALS: c_int = 3;
const LUAU_LIBRARY: c_int = 4;
const PRELUDE_LIBRARY: c_int = 5;
const LIBRARY: c_int = 6;

/// Builds the globals of a new VM and makes them those of the thread. The stack is empty.
pub(super) fn install(s: Stack<'_>) {
    s.open_luau_libraries();
    s.push_nil();
    s.raw_set_field(Stack::REGISTRY, c"_LOADED");
    s.push_copy(Stack::GLOBALS);
    push_prelude(s);
    s.push_table(0, 64);
    LIBRARIES.iter().for_each(|library| push_library(s, library));
    NAMESPACES.iter().for_each(|namespace| push_namespace(s, namespace));
    set_constants(s);
    guard_strings(s);
    guard(s);
    s.set_safe_globals(GLOBALS, true);
    s.context().names.set(Names::pin(s));
    s.context().libraries.set(LibraryTables::pin(s));
    s.set_readonly(LUAU, true);
    s.push_copy(GLOBALS);
    s.replace(Stack::GLOBALS);
}

impl Names {
    /// Pins the names, and the two tables of globals.
    fn pin(s: Stack<'_>) -> Self {
        let name = |text: &[u8]| {
            s.push_bytes(text);
            s.pin()
        };
        let global = |slot| {
            s.push_copy(slot);
            s.pin()
        };
        Self {
            globals: global(GLOBALS),
            prelude_globals: global(LUAU),
            keys: name(b"KEYS"),
            argv: name(b"ARGV"),
            err: name(b"err"),
            ignore_error_stats_update: name(b"ignore_error_stats_update"),
            ok: name(b"ok"),
            double: name(b"double"),
            big_number: name(b"big_number"),
            verbatim_string: name(b"verbatim_string"),
            map: name(b"map"),
            set: name(b"set"),
            format: name(b"format"),
            string: name(b"string"),
            ok_reply: {
                s.push_table(0, 1);
                s.push_bytes(b"OK");
                s.raw_set_field(-2, c"ok");
                s.pin()
            },
        }
    }
}

/// Runs the prelude in Luau's own globals. These identify its functions later.
fn push_prelude(s: Stack<'_>) {
    s.set_safe_globals(Stack::GLOBALS, true);
    if s.push_compiled(PRELUDE, c"=prelude") == CompileOutcome::Error {
        s.raise();
    }
    s.push_native(native(base::loadstring), c"loadstring");
    s.call(1, 1);
}

/// Puts a library into the globals of scripts, or its functions alone if it has no name.
fn push_library(s: Stack<'_>, &Library(name, allowed): &Library) {
    if name.is_empty() {
        let hides = !s.context().limits.get().deprecated_api;
        for entry in allowed.iter().filter(|entry| !(hides && DEPRECATED.contains(&entry.0))) {
            push_allowed(s, LUAU, FROM_PRELUDE, entry);
            s.raw_set_field(GLOBALS, entry.0);
        }
        return;
    }
    s.raw_get_field(LUAU, name);
    s.raw_get_field(FROM_PRELUDE, name);
    s.push_table(0, allowed.len());
    for entry in allowed {
        push_allowed(s, LUAU_LIBRARY, PRELUDE_LIBRARY, entry);
        s.raw_set_field(LIBRARY, entry.0);
    }
    s.set_readonly(LIBRARY, true);
    s.raw_set_field(GLOBALS, name);
    s.set_top(GLOBALS);
}

fn push_allowed(s: Stack<'_>, luau: c_int, prelude: c_int, &Allowed(name, from, _): &Allowed) {
    match from {
        Luau => s.raw_get_field(luau, name),
        Prelude => s.raw_get_field(prelude, name),
        Ours(function) => s.push_native(function, name),
        Guarded(function, original) => {
            // The name of Lua 5.0 stands for the same function.
            s.raw_get_field(luau, if name == c"gfind" { c"gmatch" } else { name });
            s.keep_original(original);
            s.push_native(function, name);
        }
    }
}

fn push_namespace(s: Stack<'_>, &Namespace(names, open): &Namespace) {
    open(s);
    s.set_readonly(-1, true);
    for name in names {
        s.push_copy(-1);
        s.raw_set_field(GLOBALS, name);
    }
    s.pop(1);
}

fn set_constants(s: Stack<'_>) {
    s.push_bytes(b"Lua 5.1");
    s.raw_set_field(GLOBALS, c"_VERSION");
    s.push_copy(GLOBALS);
    s.raw_set_field(GLOBALS, c"_G");
}

/// Makes the library that scripts see the methods of strings.
fn guard_strings(s: Stack<'_>) {
    s.push_bytes(b"");
    if s.push_metatable(-1) {
        s.raw_get_field(GLOBALS, c"string");
        s.raw_set_field(-2, c"__index");
        s.set_readonly(-1, true);
    }
    s.set_top(GLOBALS);
}

/// Makes the table on the top read-only, and access to a missing name in it an error.
pub(super) fn guard(s: Stack<'_>) {
    s.push_table(0, 2);
    s.push_native(native(missing_global), c"__index");
    s.raw_set_field(-2, c"__index");
    s.push_native(native(new_global), c"__newindex");
    s.raw_set_field(-2, c"__newindex");
    s.set_readonly(-1, true);
    s.set_metatable(-2);
    s.set_readonly(-1, true);
}

/// Outside a run the loader looks up a global. A global that is nil then is looked up again in the run.
fn missing_global(s: Stack<'_>) -> c_int {
    if !s.context().run.is_running() {
        s.push_nil();
        return 1;
    }
    s.raise_about(c"Script attempted to access nonexistent global variable '%s'", 2)
}

fn new_global(s: Stack<'_>) -> c_int {
    s.raise_text(c"Attempt to modify a readonly table")
}
