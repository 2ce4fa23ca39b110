//! The table `redis` that the code of a function library sees while it loads: `register_function`, the log, and the server's
//! version.

use std::ffi::c_int;

use crate::lua::port::ScriptFlags;
use crate::lua::vm::stack::{Kind, Quiet, Stack, native};
use crate::lua::vm::task::Registered;

use super::redis;

/// The most functions of a library: their names are not in the VM's memory.
const MOST_FUNCTIONS: usize = 4096;

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, 12);
    s.push_native(native(register_function), c"register_function");
    s.raw_set_field(-2, c"register_function");
    redis::set_always(s);
    if s.context().version.valkey.as_ref().is_some_and(|valkey| valkey.number >= CRASHES_ON_LOG) {
        s.push_native(native(no_log), c"log");
        s.raw_set_field(-2, c"log");
    }
}

/// From this version on, Valkey crashes on a log line of code that it loads, and it loads every library that this engine loads.
const CRASHES_ON_LOG: u32 = 0x0009_0100;

fn no_log(s: Stack<'_>) -> c_int {
    redis::refuse(s, b"ERR redis.log() cannot be called while this server loads a library")
}

/// The slot of the callback, in both forms of the call.
const CALLBACK: c_int = 2;
/// The slot of the name in the form with named arguments. It keeps text alive that was made of a number.
const NAME: c_int = 3;

/// A declared function as plain data without a destructor. The name is a string of the VM in a slot that does not change.
#[derive(Clone, Copy, Default)]
struct Declared<'r> {
    name: &'r [u8],
    flags: ScriptFlags,
}

/// `redis.register_function(name, callback)`, or with one table of named arguments.
fn register_function(s: Stack<'_>) -> c_int {
    // Code can keep this function and call it after the load.
    if !s.context().run.is_loading() {
        redis::refuse(s, b"ERR redis.register_function can only be called on FUNCTION LOAD command");
    }
    let declared = match s.top() {
        1 => named(s),
        2 => positional(s),
        _ => redis::refuse(s, b"ERR wrong number of arguments to redis.register_function"),
    };
    if let Err(refusal) = check(s.quiet(), declared.name) {
        redis::refuse(s, refusal);
    }
    s.push_copy(CALLBACK);
    // `Vm::unload` unpins it.
    let callback = s.pin();
    register(s.quiet(), Registered { name: declared.name.into(), callback, flags: declared.flags });
    0
}

pub(super) fn register(s: Quiet<'_>, function: Registered) {
    let registered = &s.context().run.registered;
    let mut all = registered.take();
    all.push(function);
    registered.set(all);
}

/// Checks the name of another function. Names are compared without case: the server takes two functions that differ in case only,
/// and aborts when such a library is deleted.
fn check(s: Quiet<'_>, name: &[u8]) -> Result<(), &'static [u8]> {
    let registered = &s.context().run.registered;
    let all = registered.take();
    let (taken, count) = (all.iter().any(|other| other.name.eq_ignore_ascii_case(name)), all.len());
    registered.set(all);
    if name.is_empty() || !name.iter().all(|&byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
        Err(b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long")
    } else if taken {
        Err(b"ERR Function already exists in the library")
    } else if count >= MOST_FUNCTIONS {
        Err(b"ERR too many functions in a library")
    } else {
        Ok(())
    }
}

fn positional(s: Stack<'_>) -> Declared<'_> {
    if s.coerced_bytes(1).is_none() {
        redis::refuse(s, b"ERR first argument to redis.register_function must be a string");
    }
    if s.kind(CALLBACK) != Kind::Function {
        redis::refuse(s, b"ERR second argument to redis.register_function must be a function");
    }
    Declared { name: s.bytes(1).unwrap_or_default(), flags: ScriptFlags::default() }
}

fn named(s: Stack<'_>) -> Declared<'_> {
    if s.kind(1) != Kind::Table {
        redis::refuse(
            s,
            b"ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        );
    }
    let mut declared = Declared::default();
    // Makes the two slots, and pushes the key before the first one.
    s.set_top(NAME);
    s.push_nil();
    while s.next(1) {
        if s.kind(-2) != Kind::String {
            redis::refuse(s, b"ERR named argument key given to redis.register_function is not a string");
        }
        read(s, &mut declared);
        s.pop(1);
    }
    let Some(name) = s.bytes(NAME) else {
        redis::refuse(s, b"ERR redis.register_function must get a function name argument");
    };
    if s.kind(CALLBACK) == Kind::Nil {
        redis::refuse(s, b"ERR redis.register_function must get a callback argument");
    }
    Declared { name, ..declared }
}

/// Reads the named argument whose name and value are on the top.
fn read<'r>(s: Stack<'r>, declared: &mut Declared<'r>) {
    let name = s.bytes(-2).unwrap_or_default();
    let is = |word: &[u8]| name.eq_ignore_ascii_case(word);
    let kind = s.kind(-1);
    if is(b"function_name") {
        if s.coerced_bytes(-1).is_none() {
            redis::refuse(s, b"ERR function_name argument given to redis.register_function must be a string");
        }
        s.push_copy(-1);
        s.replace(NAME);
    } else if is(b"description") {
        if s.coerced_bytes(-1).is_none() {
            redis::refuse(s, b"ERR description argument given to redis.register_function must be a string");
        }
    } else if is(b"callback") {
        if kind != Kind::Function {
            redis::refuse(s, b"ERR callback argument given to redis.register_function must be a function");
        }
        s.push_copy(-1);
        s.replace(CALLBACK);
    } else if is(b"flags") {
        if kind != Kind::Table {
            redis::refuse(s, b"ERR flags argument to redis.register_function must be a table representing function flags");
        }
        declared.flags = flags(s);
    } else {
        redis::refuse(s, b"ERR unknown argument given to redis.register_function");
    }
}

/// The flags in the list on the top. `rollback` may also be a field, as in `{rollback = true}`: the server loads every library, too,
/// refuses an element that it does not know, and ignores fields.
fn flags(s: Stack<'_>) -> ScriptFlags {
    s.raw_get_field(-1, c"rollback");
    let mut flags = ScriptFlags { rollback: s.truth(-1), ..ScriptFlags::default() };
    s.pop(1);
    for place in 1.. {
        s.raw_get_element(-1, place);
        let known = match s.kind(-1) {
            Kind::Nil => {
                s.pop(1);
                break;
            }
            Kind::String => flags.set(&s.bytes(-1).unwrap_or_default().to_ascii_lowercase()),
            _ => false,
        };
        s.pop(1);
        if !known {
            redis::refuse(s, b"ERR unknown flag given");
        }
    }
    flags
}
