//! Functions of Luau's libraries that could work for minutes without a safepoint at which a run can end: searches in long texts,
//! and the comparisons of a sort. Short work goes to Luau's own function in the same frame, so its errors are Luau's.

use std::ffi::c_int;

use memchr::memmem;

use super::library_call::obey_limits;
use crate::lua::numbers::truncated;
use crate::lua::vm::pinned::Original;
use crate::lua::vm::stack::{Buffer, Kind, Stack, native};

/// Above this product of the lengths, the search uses an algorithm that is linear in their sum.
const LONG: usize = 1 << 24;

/// A pattern with a set is refused above this product of its length and that of the text: the set can be nearly as long as the
/// pattern, and every byte of the text is compared with all of it.
const TOO_LONG: usize = 1 << 28;

/// Sorts of longer tables, and of longer strings, check the limits between comparisons.
const MANY: usize = 65_536;
const LONG_STRING: usize = 1024;

/// `string.find`
pub(in crate::lua) fn find(s: Stack<'_>) -> c_int {
    if let (Some(text), Some(pattern)) = (s.bytes(1), s.bytes(2))
        && product(text, pattern) > LONG
        && (s.truth(4) || !has_specials(pattern))
        && (s.kind(3) == Kind::Nil || s.is_number(3))
    {
        return find_plain(s, text, pattern);
    }
    search(s, Original::Find)
}

/// `string.match`
pub(in crate::lua) fn match_(s: Stack<'_>) -> c_int {
    search(s, Original::Match)
}

/// `string.gmatch`
pub(in crate::lua) fn gmatch(s: Stack<'_>) -> c_int {
    search(s, Original::GMatch)
}

/// `string.gsub`
pub(in crate::lua) fn gsub(s: Stack<'_>) -> c_int {
    read_replacement(s);
    search(s, Original::GSub)
}

/// Removes each percent sign that neither a digit nor another percent sign follows, as Lua 5.1 does. Luau refuses them.
fn read_replacement(s: Stack<'_>) {
    let Some(mut rest) = s.bytes(3).filter(|text| text.contains(&b'%')) else { return };
    let top = s.top();
    let mut text = Buffer::new(s);
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (plain, escape) = rest.split_at(at);
        text.extend(plain);
        match escape.get(1) {
            Some(next) if next.is_ascii_digit() || *next == b'%' => text.extend(&[b'%', *next]),
            Some(next) => text.extend(&[*next]),
            // 5.1 finds the NUL that follows every string.
            None => text.extend(b"\0"),
        }
        rest = escape.get(2..).unwrap_or_default();
    }
    text.extend(rest);
    s.push_bytes(text.bytes());
    s.replace(3);
    s.set_top(top);
}

fn search(s: Stack<'_>, original: Original) -> c_int {
    if let (Some(text), Some(pattern)) = (s.bytes(1), s.bytes(2))
        && pattern.contains(&b'[')
        && product(text, pattern) > TOO_LONG
    {
        s.raise_text(c"pattern too complex");
    }
    s.run_original(original)
}

fn product(text: &[u8], pattern: &[u8]) -> usize {
    text.len().saturating_mul(pattern.len())
}

/// Whether Luau sees more than plain text in the pattern.
fn has_specials(pattern: &[u8]) -> bool {
    pattern.iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn find_plain(s: Stack<'_>, text: &[u8], part: &[u8]) -> c_int {
    let init = if s.kind(3) == Kind::Nil { 1 } else { truncated(s.number(3)) };
    let from_end = || usize::try_from(init.unsigned_abs()).map_or(0, |back| text.len().saturating_sub(back));
    let start = if init < 0 { from_end() } else { usize::try_from(init.saturating_sub(1)).unwrap_or(0) };
    let found = text.get(start..).and_then(|rest| memmem::find(rest, part));
    let Some(at) = found.map(|at| at.saturating_add(start)) else {
        s.push_nil();
        return 1;
    };
    s.push_count(at.saturating_add(1));
    s.push_count(at.saturating_add(part.len()));
    2
}

/// `table.sort`
pub(in crate::lua) fn sort(s: Stack<'_>) -> c_int {
    if s.kind(1) == Kind::Table && s.kind(2) == Kind::Nil && is_long(s) {
        s.set_top(1);
        s.push_native(native(less), c"less");
    }
    s.run_original(Original::Sort)
}

/// Whether comparing the elements of the table may take long. The first element gives the type of all: two types cannot be
/// sorted.
fn is_long(s: Stack<'_>) -> bool {
    let count = s.length(1);
    let long_string = |index| {
        s.raw_get_element(1, index);
        let length = s.bytes(-1).map(<[u8]>::len);
        s.pop(1);
        length
    };
    if count > MANY {
        return true;
    }
    let last = c_int::try_from(count).unwrap_or(c_int::MAX);
    long_string(1).is_some() && (1..=last).any(|index| long_string(index).is_some_and(|length| length > LONG_STRING))
}

/// `a < b`. Checks the limits every 16 calls.
fn less(s: Stack<'_>) -> c_int {
    let pace = &s.context().run.pace;
    pace.set(pace.get().wrapping_add(1));
    if pace.get().is_multiple_of(16) {
        obey_limits(s);
    }
    let less = s.is_less(1, 2);
    s.push_bool(less);
    1
}
