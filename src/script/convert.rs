//! Replies of commands become Lua values, and the value that a script returns becomes a reply.
//!
//! Both directions are total: any bytes and any value give a result or a clean refusal. A reply is written in two passes,
//! `measure` and `write`, so that nothing is written of a reply that is too large. Both read tables raw: no metamethod runs,
//! so nothing can change between them. Names of fields are pinned strings, because pushing one then neither allocates nor
//! raises.

use std::ffi::c_int;

use super::limits::{Limits, MAX_DEPTH, VALUE_BYTES};
use super::port::ReplySink;
use super::stack::{Kind, Ref, Stack};

/// Levels of nesting in the reply of a command. No command has more than a few.
const MAX_REPLY_DEPTH: usize = 128;

/// What a level of a reply takes of the Lua stack, and some.
const SLOTS_PER_LEVEL: c_int = 8;

/// What stands in a reply for what lies deeper than the limit.
const TOO_DEEP: &[u8] = b"ERR reached lua stack limit";

/// Pinned values.
#[derive(Clone, Copy)]
pub(super) struct Names {
    pub globals: Ref,
    pub prelude_globals: Ref,
    pub keys: Ref,
    pub argv: Ref,
    pub err: Ref,
    pub ignore_error_stats_update: Ref,
    ok: Ref,
    double: Ref,
    big_number: Ref,
    verbatim_string: Ref,
    map: Ref,
    set: Ref,
    format: Ref,
    string: Ref,
}

impl Default for Names {
    fn default() -> Self {
        let nil = Ref::NIL;
        Self {
            globals: nil,
            prelude_globals: nil,
            keys: nil,
            argv: nil,
            err: nil,
            ignore_error_stats_update: nil,
            ok: nil,
            double: nil,
            big_number: nil,
            verbatim_string: nil,
            map: nil,
            set: nil,
            format: nil,
            string: nil,
        }
    }
}

impl Names {
    /// Pins the names, and the globals of the prelude and of scripts, which are on the top in this order and stay there.
    pub fn pin(s: Stack) -> Self {
        let name = |text: &[u8]| {
            s.push_bytes(text);
            s.pin()
        };
        let global = |index| {
            s.push_copy(index);
            s.pin()
        };
        Self {
            globals: global(-1),
            prelude_globals: global(-2),
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
        }
    }
}

/// What a command replied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// A value.
    Value,
    /// An error, as a table.
    Error,
}

/// The text is no complete RESP2 reply, or a reply of absurd depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Pushes the one value that the protocol text `reply` holds. What was pushed of a malformed one stays.
pub(super) fn push_reply(s: Stack, names: &Names, reply: &[u8]) -> Result<Pushed, Malformed> {
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
        b'+' => push_status(s, names, line),
        b'*' => push_array(s, names, line, rest, depth)?,
        b'-' => {
            push_error(s, names, line);
            return Ok(Pushed::Error);
        }
        _ => return Err(Malformed),
    }
    Ok(Pushed::Value)
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
    let Some(len) = length(line)? else {
        s.push_bool(false);
        return Ok(());
    };
    let (text, after) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = after.strip_prefix(b"\r\n").ok_or(Malformed)?;
    s.push_bytes(text);
    Ok(())
}

/// Lua has only doubles: an integer beyond 2^53 loses its last digits, as in Redis.
#[allow(clippy::cast_precision_loss)]
fn push_integer(s: Stack, line: &[u8]) -> Result<(), Malformed> {
    s.push_number(integer(line)? as f64);
    Ok(())
}

fn push_status(s: Stack, names: &Names, text: &[u8]) {
    s.push_table(0, 1);
    s.push_ref(names.ok);
    s.push_bytes(text);
    s.raw_set(-3);
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
pub(super) fn push_with_code(s: Stack, text: &[u8]) {
    s.push_bytes(b"ERR ");
    s.push_bytes(text);
    s.concat(2);
}

fn push_array(s: Stack, names: &Names, line: &[u8], rest: &mut &[u8], depth: usize) -> Result<(), Malformed> {
    let Some(len) = length(line)? else {
        s.push_bool(false);
        return Ok(());
    };
    // The shortest value has 4 bytes: a length that lies reserves nothing.
    if len > rest.len() / 4 || depth >= MAX_REPLY_DEPTH || !s.reserve(SLOTS_PER_LEVEL) {
        return Err(Malformed);
    }
    s.push_table(len, 0);
    for index in 1..=c_int::try_from(len).map_err(|_| Malformed)? {
        push_value(s, names, rest, depth + 1)?;
        s.raw_set_element(-2, index);
    }
    Ok(())
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Error,
    Status,
    Double,
    BigNumber,
    Verbatim,
    Map,
    Set,
    Array,
}

/// The shapes that a field makes, in the order in which Redis looks for them, and the type that the field must have.
fn fields(names: &Names) -> [(Ref, Kind, Shape); 7] {
    [
        (names.err, Kind::String, Shape::Error),
        (names.ok, Kind::String, Shape::Status),
        (names.double, Kind::Number, Shape::Double),
        (names.big_number, Kind::String, Shape::BigNumber),
        (names.verbatim_string, Kind::Table, Shape::Verbatim),
        (names.map, Kind::Table, Shape::Map),
        (names.set, Kind::Table, Shape::Set),
    ]
}

/// Up to this length, looking at every key is faster than looking for the fields.
const SHORT: usize = 8;

/// Whether the table on the top is short and has no field, which is what most tables are.
fn is_short_list(s: Stack) -> bool {
    if s.length(-1) > SHORT {
        return false;
    }
    let mut place = 0;
    while let Some(next) = s.entry_from(-1, place) {
        let is_field = s.kind(-2) == Kind::String;
        s.pop(2);
        if is_field {
            return false;
        }
        place = next;
    }
    true
}

/// The shape of the table on the top. The field that makes it, if one does, is pushed.
fn shape(s: Stack, names: &Names) -> Shape {
    if is_short_list(s) {
        return Shape::Array;
    }
    for (name, kind, shape) in fields(names) {
        s.push_ref(name);
        s.raw_get(-2);
        if s.kind(-1) == kind && (shape != Shape::Verbatim || is_verbatim(s, names)) {
            return shape;
        }
        s.pop(1);
    }
    Shape::Array
}

fn is_verbatim(s: Stack, names: &Names) -> bool {
    let is_string = |name| {
        s.push_ref(name);
        s.raw_get(-2);
        let found = s.kind(-1) == Kind::String;
        s.pop(1);
        found
    };
    is_string(names.format) && is_string(names.string)
}

/// The reply is larger than the limit, or measuring it took longer than the run may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// What is left of the limits while a reply is measured.
struct Meter<'a> {
    names: &'a Names,
    bytes: usize,
    depth: usize,
}

impl Meter<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.bytes = bytes.checked_add(VALUE_BYTES).and_then(|n| self.bytes.checked_sub(n)).ok_or(TooLarge)?;
        Ok(())
    }

    /// Measures the value on the top.
    fn value(&mut self, s: Stack, depth: usize) -> Result<(), TooLarge> {
        if s.kind(-1) != Kind::Table {
            return self.take(s.bytes(-1).map_or(0, <[u8]>::len));
        }
        self.take(0)?;
        // A table that holds itself twice is a large reply of few bytes: the time limits must see it, and nothing calls Lua here.
        if s.context().verdict().is_some() {
            return Err(TooLarge);
        }
        if depth >= self.depth {
            return Ok(());
        }
        if !s.reserve(SLOTS_PER_LEVEL) {
            s.raise_text(c"not enough memory for the reply");
        }
        let top = s.top();
        let measured = match shape(s, self.names) {
            Shape::Array => self.elements(s, depth),
            Shape::Map | Shape::Set => self.pairs(s, depth),
            Shape::Verbatim => self.pairs(s, self.depth),
            _ => self.take(s.bytes(-1).map_or(0, <[u8]>::len)),
        };
        s.set_top(top);
        measured
    }

    fn elements(&mut self, s: Stack, depth: usize) -> Result<(), TooLarge> {
        for index in 1.. {
            s.raw_get_element(-1, index);
            if s.kind(-1) == Kind::Nil {
                break;
            }
            self.value(s, depth + 1)?;
            s.pop(1);
        }
        Ok(())
    }

    /// Measures the keys and values of the table on the top.
    fn pairs(&mut self, s: Stack, depth: usize) -> Result<(), TooLarge> {
        s.push_nil();
        while s.next(-2) {
            self.value(s, depth + 1)?;
            s.pop(1);
            self.value(s, depth + 1)?;
        }
        Ok(())
    }
}

/// Makes sure that the value on the top can be written, and that there is stack to do it.
pub(super) fn measure(s: Stack, names: &Names, limits: &Limits) -> Result<(), TooLarge> {
    if s.kind(-1) != Kind::Table && s.bytes(-1).is_none() {
        return Ok(());
    }
    Meter { names, bytes: limits.reply_bytes, depth: limits.reply_depth.min(MAX_DEPTH) }.value(s, 0)
}

/// Writes the value on the top, which was measured before. Never raises.
pub(super) fn write(s: Stack, names: &Names, limits: &Limits, sink: &mut dyn ReplySink) {
    Writer { names, depth: limits.reply_depth.min(MAX_DEPTH), sink }.value(s, 0);
}

struct Writer<'a> {
    names: &'a Names,
    depth: usize,
    sink: &'a mut dyn ReplySink,
}

impl Writer<'_> {
    fn value(&mut self, s: Stack, depth: usize) {
        match s.kind(-1) {
            Kind::String => self.sink.bulk(s.bytes(-1).unwrap_or_default()),
            Kind::Number => self.sink.integer(truncated(s.number(-1))),
            Kind::Boolean if s.truth(-1) => self.sink.integer(1),
            Kind::Table if depth >= self.depth || !s.reserve(SLOTS_PER_LEVEL) => self.sink.error(TOO_DEEP),
            Kind::Table => self.table(s, depth),
            Kind::Nil | Kind::Boolean | Kind::Function | Kind::Other => self.sink.null(),
        }
    }

    fn table(&mut self, s: Stack, depth: usize) {
        let top = s.top();
        match shape(s, self.names) {
            Shape::Error => self.sink.error(s.bytes(-1).unwrap_or_default()),
            Shape::Status => self.sink.status(s.bytes(-1).unwrap_or_default()),
            Shape::Double => self.sink.double(s.number(-1)),
            Shape::BigNumber => self.sink.big_number(s.bytes(-1).unwrap_or_default()),
            Shape::Verbatim => self.verbatim(s),
            Shape::Map => self.map(s, depth),
            Shape::Set => self.set(s, depth),
            Shape::Array => self.array(s, depth),
        }
        s.set_top(top);
    }

    fn verbatim(&mut self, s: Stack) {
        s.push_ref(self.names.format);
        s.raw_get(-2);
        s.push_ref(self.names.string);
        s.raw_get(-3);
        self.sink.verbatim(s.bytes(-2).unwrap_or_default(), s.bytes(-1).unwrap_or_default());
    }

    fn map(&mut self, s: Stack, depth: usize) {
        self.sink.map(count_pairs(s));
        s.push_nil();
        while s.next(-2) {
            s.push_copy(-2);
            self.value(s, depth + 1);
            s.pop(1);
            self.value(s, depth + 1);
            s.pop(1);
        }
    }

    fn set(&mut self, s: Stack, depth: usize) {
        self.sink.set(count_pairs(s));
        s.push_nil();
        while s.next(-2) {
            s.pop(1);
            self.value(s, depth + 1);
        }
    }

    fn array(&mut self, s: Stack, depth: usize) {
        let count = count_elements(s);
        self.sink.array(usize::try_from(count).unwrap_or_default());
        for index in 1..=count {
            s.raw_get_element(-1, index);
            self.value(s, depth + 1);
            s.pop(1);
        }
    }
}

/// Elements of the table on the top before the first nil.
fn count_elements(s: Stack) -> c_int {
    let mut count = 0;
    loop {
        s.raw_get_element(-1, count + 1);
        let end = s.kind(-1) == Kind::Nil;
        s.pop(1);
        if end {
            return count;
        }
        count += 1;
    }
}

/// Pairs in the table on the top.
fn count_pairs(s: Stack) -> usize {
    let mut count = 0;
    s.push_nil();
    while s.next(-2) {
        s.pop(1);
        count += 1;
    }
    count
}

/// Towards zero. What does not fit becomes the smallest integer, which is what Redis' cast gives on x86-64.
pub(super) fn truncated(value: f64) -> i64 {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if (-BOUND..BOUND).contains(&value) {
        // In range, so that only the fraction is lost, which is the point.
        #[allow(clippy::cast_possible_truncation)]
        let integer = value as i64;
        integer
    } else {
        i64::MIN
    }
}
