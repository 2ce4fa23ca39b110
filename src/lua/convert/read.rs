//! The reply of a command, as protocol text, becomes a Lua value: one small function per type of RESP2 and RESP3.

use std::ffi::c_int;

use super::{Names, SLOTS_PER_LEVEL};
use crate::lua::vm::stack::{Ref, Stack};

/// Levels of nesting in the reply of a command. No command has more than a few.
const MAX_DEPTH: usize = 128;

/// What a command replied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) enum Pushed {
    /// A value.
    Value,
    /// An error, as a table.
    Error,
}

/// The text is no complete reply, or a reply of absurd depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Malformed;

/// Pushes the one value that the protocol text `reply` holds. What was pushed of a malformed one stays.
pub(in crate::lua) fn push_reply(s: Stack, names: &Names, reply: &[u8]) -> Result<Pushed, Malformed> {
    let mut rest = reply;
    let pushed = push_value(s, names, &mut rest, 0)?;
    if rest.is_empty() { Ok(pushed) } else { Err(Malformed) }
}

fn push_value(s: Stack, names: &Names, rest: &mut &[u8], depth: usize) -> Result<Pushed, Malformed> {
    let (&kind, after) = rest.split_first().ok_or(Malformed)?;
    *rest = after;
    let line = take_line(rest)?;
    match kind {
        b'$' => push_bulk(s, line, rest)?,
        b':' => push_integer(s, line)?,
        // Most commands that write say so, and a copy is made faster than a table.
        b'+' if line == b"OK" => s.push_copy_of_table(names.ok_reply),
        b'+' => push_field(s, names.ok, |s| s.push_bytes(line)),
        b'*' => push_array(s, names, line, rest, depth)?,
        b'-' => {
            push_error(s, names, line);
            return Ok(Pushed::Error);
        }
        b'_' => s.push_nil(),
        b'#' => s.push_bool(line == b"t"),
        b',' => push_double(s, names, line)?,
        b'(' => push_field(s, names.big_number, |s| s.push_bytes(line)),
        b'=' => push_verbatim(s, names, line, rest)?,
        b'%' => push_map(s, names, line, rest, depth)?,
        b'~' => push_set(s, names, line, rest, depth)?,
        b'|' => return push_behind_attributes(s, names, line, rest, depth),
        _ => return Err(Malformed),
    }
    Ok(Pushed::Value)
}

/// Pushes a table with one field, whose value `push` pushes.
fn push_field(s: Stack, name: Ref, push: impl FnOnce(Stack)) {
    s.push_table(0, 1);
    s.push_ref(name);
    push(s);
    s.raw_set(-3);
}

/// The bytes up to CR LF.
fn take_line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let end = rest.iter().position(|&b| b == b'\r').ok_or(Malformed)?;
    let (line, after) = rest.split_at_checked(end).ok_or(Malformed)?;
    *rest = after.strip_prefix(b"\r\n").ok_or(Malformed)?;
    Ok(line)
}

fn integer(line: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = match line.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, line),
    };
    if digits.is_empty() {
        return Err(Malformed);
    }
    let mut value = 0_i64;
    for &digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        if digit > 9 {
            return Err(Malformed);
        }
        let shifted = value.checked_mul(10).ok_or(Malformed)?;
        value = if negative { shifted.checked_sub(digit) } else { shifted.checked_add(digit) }.ok_or(Malformed)?;
    }
    Ok(value)
}

/// A length; `None` is the null of RESP2.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    match integer(line)? {
        -1 => Ok(None),
        n => usize::try_from(n).map(Some).map_err(|_| Malformed),
    }
}

fn push_bulk(s: Stack, line: &[u8], rest: &mut &[u8]) -> Result<(), Malformed> {
    match length(line)? {
        Some(len) => s.push_bytes(take_text(rest, len)?),
        None => s.push_bool(false),
    }
    Ok(())
}

/// `len` bytes, and the CR LF behind them.
fn take_text<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (text, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after.strip_prefix(b"\r\n").ok_or(Malformed)?;
    Ok(text)
}

/// Lua has only doubles: an integer beyond 2^53 loses its last digits, as in Redis.
#[allow(clippy::cast_precision_loss)]
fn push_integer(s: Stack, line: &[u8]) -> Result<(), Malformed> {
    s.push_number(integer(line)? as f64);
    Ok(())
}

/// The server has counted this error when the command failed, which the mark says.
fn push_error(s: Stack, names: &Names, text: &[u8]) {
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

/// An error text without a code, behind the general one.
pub(in crate::lua) fn push_with_code(s: Stack, text: &[u8]) {
    s.push_bytes(b"ERR ");
    s.push_bytes(text);
    s.concat(2);
}

fn push_array(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8], depth: usize) -> Result<(), Malformed> {
    let Some(len) = length(line)? else {
        s.push_bool(false);
        return Ok(());
    };
    let len = check_aggregate(s, len, rest, depth)?;
    s.push_table(len, 0);
    for index in 1..=c_int::try_from(len).map_err(|_| Malformed)? {
        push_value(s, names, rest, depth + 1)?;
        s.raw_set_element(-2, index);
    }
    Ok(())
}

/// Makes sure that an aggregate of `values` values can be there and that there is stack for it. The shortest value has 3 bytes: a
/// length that lies reserves nothing.
fn check_aggregate(s: Stack, values: usize, rest: &[u8], depth: usize) -> Result<usize, Malformed> {
    let fits = values <= rest.len() / 3 && depth < MAX_DEPTH && s.reserve(SLOTS_PER_LEVEL);
    if fits { Ok(values) } else { Err(Malformed) }
}

/// The pairs of a map or of attributes.
fn check_pairs(s: Stack, line: &[u8], rest: &[u8], depth: usize) -> Result<usize, Malformed> {
    let pairs = length(line)?.ok_or(Malformed)?;
    check_aggregate(s, pairs.checked_mul(2).ok_or(Malformed)?, rest, depth)?;
    Ok(pairs)
}

/// `{double = number}`
fn push_double(s: Stack, names: &Names, line: &[u8]) -> Result<(), Malformed> {
    let number: f64 = std::str::from_utf8(line).map_err(|_| Malformed)?.parse().map_err(|_| Malformed)?;
    push_field(s, names.double, |s| s.push_number(number));
    Ok(())
}

/// `{verbatim_string = {format = 'txt', string = text}}`
fn push_verbatim(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8]) -> Result<(), Malformed> {
    let text = take_text(rest, length(line)?.ok_or(Malformed)?)?;
    let (format, text) = text.split_at_checked(3).ok_or(Malformed)?;
    let text = text.strip_prefix(b":").ok_or(Malformed)?;
    push_field(s, names.verbatim_string, |s| {
        s.push_table(0, 2);
        for (name, value) in [(names.format, format), (names.string, text)] {
            s.push_ref(name);
            s.push_bytes(value);
            s.raw_set(-3);
        }
    });
    Ok(())
}

/// `{map = {key = value, ...}}`
fn push_map(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8], depth: usize) -> Result<(), Malformed> {
    let pairs = check_pairs(s, line, rest, depth)?;
    s.push_table(0, 1);
    s.push_ref(names.map);
    s.push_table(0, pairs);
    for _ in 0..pairs {
        push_value(s, names, rest, depth + 1)?;
        push_value(s, names, rest, depth + 1)?;
        s.raw_set(-3);
    }
    s.raw_set(-3);
    Ok(())
}

/// `{set = {member = true, ...}}`
fn push_set(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8], depth: usize) -> Result<(), Malformed> {
    let len = check_aggregate(s, length(line)?.ok_or(Malformed)?, rest, depth)?;
    s.push_table(0, 1);
    s.push_ref(names.set);
    s.push_table(0, len);
    for _ in 0..len {
        push_value(s, names, rest, depth + 1)?;
        s.push_bool(true);
        s.raw_set(-3);
    }
    s.raw_set(-3);
    Ok(())
}

/// Attributes are read and dropped, as in Redis.
fn push_behind_attributes(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8], depth: usize) -> Result<Pushed, Malformed> {
    let pairs = check_pairs(s, line, rest, depth)?;
    for _ in 0..pairs.saturating_mul(2) {
        push_value(s, names, rest, depth + 1)?;
        s.pop(1);
    }
    push_value(s, names, rest, depth + 1)
}
