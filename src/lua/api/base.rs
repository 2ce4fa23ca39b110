//! Functions of the base library that differ from Luau's, for compatibility with Redis or for safety.
//!
//! `getfenv` and `setfenv` are here because the functions of the prelude live as long as the VM: a script that changed their
//! globals could pass data to later scripts.

use std::ffi::{CStr, c_int};

use crate::lua::source::refusal;
use crate::lua::vm::error_text::in_words_of_redis;
use crate::lua::vm::stack::{CompileOutcome, Kind, Stack};

/// As in Lua, but of an error that is a table with a field `err` the caller gets that text. With this, Redis keeps scripts
/// working that were written when errors were strings.
pub(in crate::lua) fn pcall(s: Stack<'_>) -> c_int {
    s.check_any(1);
    s.protected_call_then_resume(s.top() - 1, 0)
}

/// Runs when the call that `pcall` protects has ended.
pub(in crate::lua) fn pcall_ended(s: Stack<'_>, status: c_int) -> c_int {
    if !s.reserve(4) {
        s.raise_text(c"stack overflow");
    }
    s.push_bool(status == 0);
    if status == 0 {
        s.insert(1);
        return s.top();
    }
    s.insert(-2);
    // No script continues after a limit.
    if s.context().termination().is_some() {
        s.raise();
    }
    2 + translate_error(s)
}

/// Replaces the error on the top by the one that Redis hands to a script. Answers the number of extra values: after a table
/// without a text Redis leaves the nil that it found there.
fn translate_error(s: Stack<'_>) -> c_int {
    match s.kind(-1) {
        Kind::Table => {
            s.push_ref(s.context().names.get().err);
            s.raw_get(-2);
            if s.coerced_bytes(-1).is_none() {
                return 1;
            }
            s.replace(-2);
        }
        Kind::String => {
            let [text, replaced] = in_words_of_redis(s.bytes(-1).unwrap_or_default());
            if !replaced.is_empty() {
                s.push_bytes(text);
                s.push_bytes(replaced);
                s.concat(2);
                s.replace(-2);
            }
        }
        _ => {}
    }
    0
}

/// Compiles text and pushes the function, or nil and the text of the error. No bytecode can be loaded this way: Luau compiles
/// whatever it gets.
pub(in crate::lua) fn loadstring(s: Stack<'_>) -> c_int {
    let source = s.check_bytes(1);
    let name = if s.kind(2) == Kind::Nil { s.c_string(1) } else { s.c_string(2) };
    if let Some(why) = refusal(source) {
        s.push_nil();
        s.push_bytes(why);
        return 2;
    }
    if s.push_compiled(source, name.unwrap_or(c"=?")) != CompileOutcome::Error {
        return 1;
    }
    s.push_nil();
    s.insert(-2);
    2
}

/// `count` works. All other options answer 0 and do nothing: with them one script could slow down the others.
pub(in crate::lua) fn collectgarbage(s: Stack<'_>) -> c_int {
    const COUNT: &[u8] = b"count";
    let option = if s.kind(1) == Kind::Nil { b"collect" } else { s.check_bytes(1) };
    // No machine has 2^53 bytes of memory, so the conversion is exact.
    #[allow(clippy::cast_precision_loss)]
    let used = s.context().allocator.used() as f64;
    s.push_number(if option == COUNT { used / 1024.0 } else { 0.0 });
    1
}

/// Pushes the globals of a function, or of the function a number of levels up.
pub(in crate::lua) fn getfenv(s: Stack<'_>) -> c_int {
    push_function(s, 1.0);
    if s.is_lua_function(-1) && !is_ours(s) {
        s.push_globals_of(-1);
    } else {
        s.push_copy(Stack::GLOBALS);
    }
    1
}

/// Changes the globals of a function of the script, or (level 0) of the thread.
pub(in crate::lua) fn setfenv(s: Stack<'_>) -> c_int {
    const REFUSED: &CStr = c"'setfenv' cannot change environment of given object";
    s.check_table(2);
    s.context().run.rebound.set(true);
    if s.kind(1) == Kind::Number && s.number(1) == 0.0 {
        s.push_thread();
        s.push_copy(2);
        s.set_globals_of(-2);
        return 0;
    }
    push_function(s, f64::NAN);
    if !s.is_lua_function(-1) || is_ours(s) {
        s.raise_text(REFUSED);
    }
    s.push_copy(2);
    s.set_globals_of(-2);
    1
}

/// Pushes the function that the first argument names. If it is missing, `level` is used.
fn push_function(s: Stack<'_>, level: f64) {
    if s.kind(1) == Kind::Function {
        s.push_copy(1);
        return;
    }
    let level = if s.kind(1) == Kind::Nil && !level.is_nan() { level } else { s.check_number(1) };
    // The stack has at most 20,000 frames. A level beyond that is as invalid as a negative one.
    let found = (0.0..=20_000.0).contains(&level) && {
        #[allow(clippy::cast_possible_truncation)]
        let level = level as c_int;
        s.push_function_at(level)
    };
    if !found {
        s.raise_argument(1, c"invalid level");
    }
}

/// Whether the function on the top belongs to the prelude. It does if its globals are those of the prelude.
fn is_ours(s: Stack<'_>) -> bool {
    s.push_globals_of(-1);
    s.push_ref(s.context().names.get().prelude_globals);
    let ours = s.same(-1, -2);
    s.pop(2);
    ours
}
