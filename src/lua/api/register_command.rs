//! The table `redis` that a command file sees while it loads: `register_command`, the log, and the server's version.
//!
//! Errors name the file and the line of the call, and say what was expected.

use std::ffi::c_int;
use std::fmt;

use crate::lua::declaration::{CommandFlags, Declaration, Fields, MOST_COMMANDS};
use crate::lua::port::ScriptFlags;
use crate::lua::vm::pinned::Ref;
use crate::lua::vm::stack::{Kind, Quiet, Stack, native};
use crate::lua::vm::task::Registered;

use super::{redis, register};

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, 12);
    s.push_native(native(register_command), c"register_command");
    s.raw_set_field(-2, c"register_command");
    redis::set_always(s);
}

/// `redis.register_command{name = ..., callback = ..., ...}`
fn register_command(s: Stack<'_>) -> c_int {
    // Code can keep this function and call it after the load.
    if !s.context().run.is_loading() {
        refuse(s, format_args!("can only be called while a file is being loaded"));
    }
    if s.top() != 1 || s.kind(1) != Kind::Table {
        refuse(s, format_args!("expected one table, as in redis.register_command{{name = 'MY.COMMAND', callback = f}}"));
    }
    let mut fields = Fields::default();
    s.push_nil();
    while s.next(1) {
        read(s, &mut fields);
        s.pop(1);
    }
    if let Err(expected) = check(s.quiet(), &fields) {
        refuse(s, format_args!("{expected}"));
    }
    s.raw_get_field(1, c"callback");
    let callback = s.pin();
    declare(s.quiet(), &fields, callback);
    0
}

/// Checks a declaration. The error says what was expected.
fn check(s: Quiet<'_>, fields: &Fields<'_>) -> Result<(), &'static str> {
    let declaration = fields.declaration()?;
    let declared = &s.context().run.declared;
    let all = declared.take();
    let twice = all.iter().any(|other| other.name == declaration.name);
    let full = all.len() >= MOST_COMMANDS;
    declared.set(all);
    if twice {
        Err("this file already declares this name")
    } else if full {
        Err("the file declares more than 256 commands")
    } else {
        Ok(())
    }
}

/// Adds a declaration that was checked.
fn declare(s: Quiet<'_>, fields: &Fields<'_>, callback: Ref) {
    let line = s.frame(1).and_then(|caller| u32::try_from(caller.line).ok()).unwrap_or_default();
    if let Ok(declaration) = fields.declaration() {
        let name = declaration.name.to_bytes().into();
        let flags = ScriptFlags { rollback: declaration.flags.rollback(), ..ScriptFlags::default() };
        register::register(s, Registered { name, callback, flags });
        let declared = &s.context().run.declared;
        let mut all = declared.take();
        all.push(Declaration { line, ..declaration });
        declared.set(all);
    }
}

/// Reads the field whose name and value are on the top.
fn read<'r>(s: Stack<'r>, fields: &mut Fields<'r>) {
    match s.bytes(-2).unwrap_or_default() {
        b"name" => fields.name = Some(text(s, "name")),
        b"summary" => fields.summary = text(s, "summary"),
        b"complexity" => fields.complexity = text(s, "complexity"),
        b"since" => fields.since = text(s, "since"),
        b"access" => fields.access = Some(text(s, "access")),
        b"arity" => fields.arity = Some(number(s, "arity")),
        b"numkeys" => fields.numkeys = Some(number(s, "numkeys")),
        b"keys" => fields.keys = Some(keys(s)),
        b"flags" => fields.flags = flags(s),
        b"callback" => {
            if s.kind(-1) != Kind::Function {
                refuse_type(s, "callback", "a function");
            }
            fields.callback = true;
        }
        _ => refuse(
            s,
            format_args!(
                "unknown field; the fields are name, callback, summary, complexity, since, arity, keys, numkeys, access, flags"
            ),
        ),
    }
}

fn text<'r>(s: Stack<'r>, field: &str) -> &'r [u8] {
    if s.kind(-1) != Kind::String {
        refuse_type(s, field, "a string");
    }
    s.bytes(-1).unwrap_or_default()
}

fn number(s: Stack<'_>, field: &str) -> f64 {
    if s.kind(-1) != Kind::Number {
        refuse_type(s, field, "an integer");
    }
    s.number(-1)
}

/// The three numbers in the list on the top.
fn keys(s: Stack<'_>) -> [f64; 3] {
    if s.kind(-1) != Kind::Table || entries(s) != 3 {
        refuse_type(s, "keys", "{first, last, step}");
    }
    let mut keys = [0.0; 3];
    for (key, place) in keys.iter_mut().zip(1..) {
        s.raw_get_element(-1, place);
        if s.kind(-1) != Kind::Number {
            refuse_type(s, "keys", "{first, last, step}");
        }
        *key = s.number(-1);
        s.pop(1);
    }
    keys
}

/// The flags in the list on the top.
fn flags(s: Stack<'_>) -> CommandFlags {
    if s.kind(-1) != Kind::Table {
        refuse_type(s, "flags", "a list of strings");
    }
    let mut flags = CommandFlags::default();
    let mut left = entries(s);
    for place in 1.. {
        s.raw_get_element(-1, place);
        if left == 0 {
            s.pop(1);
            break;
        }
        left -= 1;
        let Some(more) = s.bytes(-1).and_then(|name| flags.with(name)) else {
            refuse(
                s,
                format_args!(
                    "flags must be a list of 'write', 'readonly', 'deny-oom', 'fast', 'admin', 'allow-stale', 'no-monitor', \
                     'no-slowlog', 'rollback'"
                ),
            )
        };
        flags = more;
        s.pop(1);
    }
    flags
}

/// The number of entries in the table on the top, whatever their keys.
fn entries(s: Stack<'_>) -> usize {
    let table = s.top();
    let mut count = 0;
    s.push_nil();
    while s.next(table) {
        s.pop(1);
        count += 1;
    }
    count
}

fn refuse_type(s: Stack<'_>, field: &str, expected: &str) -> ! {
    refuse(s, format_args!("{field} must be {expected}, got a {}", s.type_name(-1)))
}

/// Raises an error with the line of the call.
fn refuse(s: Stack<'_>, expected: fmt::Arguments<'_>) -> ! {
    s.raise_line(format_args!("redis.register_command: {expected}"))
}
