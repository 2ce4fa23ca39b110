//! The text of a Lua error, in the words of Redis.
//!
//! An error is any Lua value. Redis knows two kinds: tables with a field `err`, whose text starts with a code, and all other
//! values, which get the general code. Nothing here raises: the error handler uses it when there may be no memory left.

use std::ffi::c_int;

use super::pinned::Names;
use super::stack::{Kind, Quiet};
use super::task::{Failure, RunName};
use crate::lua::numbers::text;

/// Appends the text of an error value, with its code: `err` of a table, or the general code and the value itself.
pub(in crate::lua) fn describe(s: Quiet<'_>, index: c_int, names: &Names, into: &mut Vec<u8>) {
    if s.kind(index) != Kind::Table {
        into.extend_from_slice(b"ERR ");
        describe_value(s, index, into);
        return;
    }
    s.push_copy(index);
    s.push_ref(names.err);
    s.raw_get(-2);
    match s.kind(-1) {
        Kind::String | Kind::Number => describe_value(s, -1, into),
        _ => into.extend_from_slice(b"ERR unknown error"),
    }
    s.pop(2);
}

fn describe_value(s: Quiet<'_>, index: c_int, into: &mut Vec<u8>) {
    match s.kind(index) {
        Kind::String => into.extend_from_slice(in_words_of_redis(s.bytes(index).unwrap_or_default()).concat().as_slice()),
        Kind::Number => text::write(s.number(index), into),
        Kind::Boolean => into.extend_from_slice(if s.truth(index) { b"true" } else { b"false" }),
        _ => into.extend_from_slice(s.type_name(index).as_bytes()),
    }
}

/// Luau's text for a write to a read-only table, in the words of Redis, which scripts and tests look for. They differ in one
/// letter.
pub(in crate::lua) fn in_words_of_redis(text: &[u8]) -> [&[u8]; 2] {
    match text.strip_suffix(b"attempt to modify a readonly table") {
        Some(position) => [position, b"Attempt to modify a readonly table"],
        None => [text, b""],
    }
}

/// The message with its position before it, unless it has that already.
fn with_line(message: &[u8], place: &[u8]) -> Vec<u8> {
    let place = place.strip_prefix(b"@").unwrap_or(place);
    let file = place.rsplitn(2, |&byte| byte == b':').nth(1).unwrap_or_default();
    let bare = message.strip_prefix(b"ERR ").unwrap_or(message);
    if file.is_empty() || bare.starts_with(file) { message.to_vec() } else { [place, b": ", bare].concat() }
}

/// The message, with the position that Redis adds.
pub(super) fn with_place(failure: &Failure, name: RunName<'_>) -> Vec<u8> {
    let mut text = failure.message.clone();
    let hex;
    let name = match name {
        RunName::Script(digest) => {
            hex = digest.hex();
            Some(&hex[..])
        }
        RunName::Function(name) => Some(name),
        RunName::Library => None,
        RunName::CommandFile => return with_line(&text, &failure.place),
    };
    if let Some(name) = name.filter(|_| !failure.place.is_empty()) {
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(name);
        text.extend_from_slice(b", on ");
        text.extend_from_slice(&failure.place);
        text.push(b'.');
    }
    text
}
