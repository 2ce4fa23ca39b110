//! The value that a script returns becomes a reply.
//!
//! It takes two passes, `measure` and `write`, so that nothing is written of a reply that is too large. Both read tables raw: no
//! metamethod runs, so nothing changes between them. `measure` may raise; `write` cannot.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use super::SLOTS_PER_LEVEL;
use crate::lua::limits::{Limits, MAX_DEPTH, VALUE_BYTES};
use crate::lua::numbers::truncated;
use crate::lua::port::{Protocol, ReplySink};
use crate::lua::vm::pinned::{Names, Ref};
use crate::lua::vm::stack::{Kind, Quiet, Stack};

/// A reply that takes longer to measure counts as too large. A gigabyte takes a few seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// Replaces values that are nested deeper than the limit.
const TOO_DEEP: &[u8] = b"ERR reached lua stack limit";

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

/// The fields that give a table its shape, in the order in which Redis looks for them, and the type that each must have.
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

/// Up to this length it is faster to look at every key than to look up each field.
const SHORT: usize = 8;

/// Whether the table on the top is short and has no named field, as most tables are.
fn is_short_list(s: Quiet<'_>) -> bool {
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

/// The shape of the table on the top. Pushes the field that decides it, if one does.
fn shape(s: Quiet<'_>, names: &Names) -> Shape {
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

fn is_verbatim(s: Quiet<'_>, names: &Names) -> bool {
    let is_string = |name| {
        s.push_ref(name);
        s.raw_get(-2);
        let found = s.kind(-1) == Kind::String;
        s.pop(1);
        found
    };
    is_string(names.format) && is_string(names.string)
}

/// The reply is larger than the limit, or measuring it took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct TooLarge;

/// The rest of the limits while a reply is measured.
struct Meter<'a> {
    names: &'a Names,
    bytes: usize,
    depth: usize,
    /// When this first saw that the run is long.
    long_since: Option<Instant>,
}

impl Meter<'_> {
    fn take(&mut self, bytes: usize) -> Result<(), TooLarge> {
        self.bytes = bytes.checked_add(VALUE_BYTES).and_then(|n| self.bytes.checked_sub(n)).ok_or(TooLarge)?;
        Ok(())
    }

    /// Measures the value on the top.
    fn value(&mut self, s: Stack<'_>, depth: usize) -> Result<(), TooLarge> {
        if s.kind(-1) != Kind::Table {
            return self.take(s.bytes(-1).map_or(0, <[u8]>::len));
        }
        self.take(0)?;
        // A table that holds itself twice is a large reply of few bytes. Nothing calls Lua here, so the time limits are checked
        // here. It takes long to walk a table that was once large, and nothing can stop the writing, which takes as long as this.
        let is_long = s.context().pause_if_long();
        if s.context().termination().is_some()
            || (is_long && self.long_since.get_or_insert_with(Instant::now).elapsed() > LONGEST)
        {
            return Err(TooLarge);
        }
        if depth >= self.depth {
            return Ok(());
        }
        if !s.reserve(SLOTS_PER_LEVEL) {
            s.raise_text(c"not enough memory for the reply");
        }
        let top = s.top();
        let measured = match shape(s.quiet(), self.names) {
            Shape::Array => self.elements(s, depth),
            Shape::Map | Shape::Set => self.pairs(s, depth),
            Shape::Verbatim => self.pairs(s, self.depth),
            _ => self.take(s.bytes(-1).map_or(0, <[u8]>::len)),
        };
        s.set_top(top);
        measured
    }

    fn elements(&mut self, s: Stack<'_>, depth: usize) -> Result<(), TooLarge> {
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
    fn pairs(&mut self, s: Stack<'_>, depth: usize) -> Result<(), TooLarge> {
        s.push_nil();
        while s.next(-2) {
            self.value(s, depth + 1)?;
            s.pop(1);
            self.value(s, depth + 1)?;
        }
        Ok(())
    }
}

/// Checks that the value on the top can be written within the limits.
pub(in crate::lua) fn measure(s: Stack<'_>, names: &Names, limits: &Limits) -> Result<(), TooLarge> {
    if s.kind(-1) != Kind::Table {
        let fits = s.bytes(-1).is_none_or(|bytes| bytes.len().saturating_add(VALUE_BYTES) <= limits.reply_bytes);
        return if fits { Ok(()) } else { Err(TooLarge) };
    }
    Meter { names, bytes: limits.reply_bytes, depth: limits.reply_depth.min(MAX_DEPTH), long_since: None }.value(s, 0)
}

/// Writes the value on the top, which was measured before.
pub(in crate::lua) fn write(s: Quiet<'_>, names: &Names, limits: &Limits, sink: &mut dyn ReplySink) {
    let typed = s.context().run.protocol.get() == Protocol::Resp3;
    Writer { names, depth: limits.reply_depth.min(MAX_DEPTH), typed, sink }.value(s, 0);
}

struct Writer<'a> {
    names: &'a Names,
    depth: usize,
    /// The script speaks RESP3, so its booleans are booleans.
    typed: bool,
    sink: &'a mut dyn ReplySink,
}

impl Writer<'_> {
    fn value(&mut self, s: Quiet<'_>, depth: usize) {
        match s.kind(-1) {
            Kind::String => self.sink.bulk(s.bytes(-1).unwrap_or_default()),
            Kind::Number => self.sink.integer(truncated(s.number(-1))),
            Kind::Boolean if self.typed => self.sink.boolean(s.truth(-1)),
            Kind::Boolean if s.truth(-1) => self.sink.integer(1),
            Kind::Table if depth >= self.depth || !s.reserve(SLOTS_PER_LEVEL) => self.sink.error(TOO_DEEP),
            Kind::Table => self.table(s, depth),
            Kind::Nil | Kind::Boolean | Kind::Function | Kind::Other => self.sink.null(),
        }
    }

    fn table(&mut self, s: Quiet<'_>, depth: usize) {
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

    fn verbatim(&mut self, s: Quiet<'_>) {
        s.push_ref(self.names.format);
        s.raw_get(-2);
        s.push_ref(self.names.string);
        s.raw_get(-3);
        self.sink.verbatim(s.bytes(-2).unwrap_or_default(), s.bytes(-1).unwrap_or_default());
    }

    fn map(&mut self, s: Quiet<'_>, depth: usize) {
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

    fn set(&mut self, s: Quiet<'_>, depth: usize) {
        self.sink.set(count_pairs(s));
        s.push_nil();
        while s.next(-2) {
            s.pop(1);
            self.value(s, depth + 1);
        }
    }

    fn array(&mut self, s: Quiet<'_>, depth: usize) {
        let count = count_elements(s);
        self.sink.array(usize::try_from(count).unwrap_or_default());
        for index in 1..=count {
            s.raw_get_element(-1, index);
            self.value(s, depth + 1);
            s.pop(1);
        }
    }
}

/// The number of elements in the table on the top before the first nil.
fn count_elements(s: Quiet<'_>) -> c_int {
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

/// The number of pairs in the table on the top.
fn count_pairs(s: Quiet<'_>) -> usize {
    let mut count = 0;
    s.push_nil();
    while s.next(-2) {
        s.pop(1);
        count += 1;
    }
    count
}
