//! The reply of a command, as protocol text, becomes a Lua value: one small function per type of RESP2 and RESP3.

use std::ffi::c_int;

use super::SLOTS_PER_LEVEL;
use crate::lua::vm::pinned::{Names, Ref};
use crate::lua::vm::stack::Stack;
use crate::primitives::resp::{Part, Reader};

/// Levels of nesting in the reply of a command. No command has more than a few.
const MAX_DEPTH: usize = 128;

/// The kind of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Pushed {
    Value,
    /// An error, as a table.
    Error,
}

/// The text is not one complete reply, or it is nested deeper than [`MAX_DEPTH`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Malformed;

/// Pushes the one value that the protocol text `reply` holds. If it is malformed, the values pushed so far stay.
pub(in crate::lua) fn push_reply(s: Stack<'_>, names: &Names, reply: &[u8]) -> Result<Pushed, Malformed> {
    let mut reader = Reader::new(reply);
    let pushed = push_value(s, names, &mut reader, 0)?;
    if reader.is_at_end() { Ok(pushed) } else { Err(Malformed) }
}

fn push_value(s: Stack<'_>, names: &Names, reader: &mut Reader<'_>, depth: usize) -> Result<Pushed, Malformed> {
    match reader.part().ok_or(Malformed)? {
        Part::Bulk(text) => s.push_bytes(text),
        Part::Absent | Part::AbsentArray => s.push_bool(false),
        Part::Integer(number) => push_integer(s, number),
        // Most commands that write reply with it, and a copy is faster than a new table.
        Part::Status(b"OK") => s.push_copy_of_table(names.ok_reply),
        other => return push_other(s, names, other, reader, depth),
    }
    Ok(Pushed::Value)
}

/// The replies of fewer calls: their code is kept apart from that of the others, which fits the instruction cache so.
#[inline(never)]
fn push_other(s: Stack<'_>, names: &Names, part: Part<'_>, reader: &mut Reader<'_>, depth: usize) -> Result<Pushed, Malformed> {
    match part {
        Part::Bulk(_) | Part::Absent | Part::AbsentArray | Part::Integer(_) => return Err(Malformed),
        Part::Status(text) => push_field(s, names.ok, |s| s.push_bytes(text)),
        Part::Array(len) => push_array(s, names, len, reader, depth)?,
        Part::Error(text) => {
            push_error(s, names, text);
            return Ok(Pushed::Error);
        }
        Part::Null => s.push_nil(),
        Part::Bool(value) => s.push_bool(value),
        Part::Double(text) => push_double(s, names, text)?,
        Part::BigNumber(digits) => push_field(s, names.big_number, |s| s.push_bytes(digits)),
        Part::Verbatim { format, text } => push_verbatim(s, names, format, text),
        Part::Map(pairs) => push_map(s, names, pairs, reader, depth)?,
        Part::Set(len) => push_set(s, names, len, reader, depth)?,
        Part::Attributes(pairs) => return push_after_attributes(s, names, pairs, reader, depth),
        Part::Push(_) => return Err(Malformed),
    }
    Ok(Pushed::Value)
}

/// Pushes a table with one field, whose value `push` pushes.
fn push_field(s: Stack<'_>, name: Ref, push: impl FnOnce(Stack<'_>)) {
    s.push_table(0, 1);
    s.push_ref(name);
    push(s);
    s.raw_set(-3);
}

/// Lua has only doubles, so an integer beyond 2^53 loses its last digits, as in Redis.
#[allow(clippy::cast_precision_loss)]
fn push_integer(s: Stack<'_>, number: i64) {
    s.push_number(number as f64);
}

/// The field `ignore_error_stats_update` says that the server counted this error when the command failed.
fn push_error(s: Stack<'_>, names: &Names, text: &[u8]) {
    s.push_table(0, 2);
    s.push_ref(names.err);
    if text.contains(&b' ') {
        s.push_bytes(text);
    } else {
        push_with_code(s, text);
    }
    s.raw_set(-3);
    s.push_ref(names.ignore_error_stats_update);
    s.push_bool(true);
    s.raw_set(-3);
}

/// Pushes the text of an error that has no code, with the general code before it.
pub(in crate::lua) fn push_with_code(s: Stack<'_>, text: &[u8]) {
    s.push_bytes(b"ERR ");
    s.push_bytes(text);
    s.concat(2);
}

fn push_array(s: Stack<'_>, names: &Names, len: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    check_nesting(s, depth)?;
    s.push_table(len, 0);
    for index in 1..=c_int::try_from(len).map_err(|_| Malformed)? {
        push_value(s, names, reader, depth + 1)?;
        s.raw_set_element(-2, index);
    }
    Ok(())
}

/// Checks that there is stack for one more level. The reader has checked that the text can hold the values of an aggregate, so a false
/// length reserves nothing.
fn check_nesting(s: Stack<'_>, depth: usize) -> Result<(), Malformed> {
    if depth < MAX_DEPTH && s.reserve(SLOTS_PER_LEVEL) { Ok(()) } else { Err(Malformed) }
}

/// `{double = number}`
fn push_double(s: Stack<'_>, names: &Names, text: &[u8]) -> Result<(), Malformed> {
    let number: f64 = std::str::from_utf8(text).map_err(|_| Malformed)?.parse().map_err(|_| Malformed)?;
    push_field(s, names.double, |s| s.push_number(number));
    Ok(())
}

/// `{verbatim_string = {format = 'txt', string = text}}`
fn push_verbatim(s: Stack<'_>, names: &Names, format: &[u8], text: &[u8]) {
    push_field(s, names.verbatim_string, |s| {
        s.push_table(0, 2);
        for (name, value) in [(names.format, format), (names.string, text)] {
            s.push_ref(name);
            s.push_bytes(value);
            s.raw_set(-3);
        }
    });
}

/// `{map = {key = value, ...}}`
fn push_map(s: Stack<'_>, names: &Names, pairs: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    check_nesting(s, depth)?;
    s.push_table(0, 1);
    s.push_ref(names.map);
    s.push_table(0, pairs);
    for _ in 0..pairs {
        push_value(s, names, reader, depth + 1)?;
        push_value(s, names, reader, depth + 1)?;
        s.raw_set(-3);
    }
    s.raw_set(-3);
    Ok(())
}

/// `{set = {member = true, ...}}`
fn push_set(s: Stack<'_>, names: &Names, len: usize, reader: &mut Reader<'_>, depth: usize) -> Result<(), Malformed> {
    check_nesting(s, depth)?;
    s.push_table(0, 1);
    s.push_ref(names.set);
    s.push_table(0, len);
    for _ in 0..len {
        push_value(s, names, reader, depth + 1)?;
        s.push_bool(true);
        s.raw_set(-3);
    }
    s.raw_set(-3);
    Ok(())
}

/// Reads attributes and drops them, as in Redis.
fn push_after_attributes(
    s: Stack<'_>,
    names: &Names,
    pairs: usize,
    reader: &mut Reader<'_>,
    depth: usize,
) -> Result<Pushed, Malformed> {
    check_nesting(s, depth)?;
    for _ in 0..pairs.saturating_mul(2) {
        push_value(s, names, reader, depth + 1)?;
        s.pop(1);
    }
    push_value(s, names, reader, depth + 1)
}
