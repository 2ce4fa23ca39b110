//! `cjson.encode`: a Lua value becomes JSON.

use std::ffi::c_int;

use super::{SLOTS_PER_LEVEL, Settings, settings};
use crate::lua::api::library_call::Pace;
use crate::lua::limits::MAX_DEPTH;
use crate::lua::numbers::{printf, truncated};
use crate::lua::vm::stack::{Buffer, Kind, Stack};

pub(super) fn encode(s: Stack<'_>) -> c_int {
    if s.top() != 1 {
        s.raise_bad_argument(1, format_args!("expected 1 argument"));
    }
    let mut encoder = Encoder { s, settings: settings::current(s).get(), text: Buffer::new(s), pace: Pace::default() };
    s.push_copy(1);
    encoder.value(0);
    s.push_bytes(encoder.text.bytes());
    1
}

struct Encoder<'r> {
    s: Stack<'r>,
    settings: Settings,
    text: Buffer<'r>,
    pace: Pace,
}

impl Encoder<'_> {
    fn refuse(&self, index: c_int, reason: &str) -> ! {
        self.s.raise_line(format_args!("Cannot serialise {}: {reason}", self.s.type_name(index)))
    }

    /// Writes the value on the top.
    fn value(&mut self, depth: i32) {
        self.pace.step(self.s);
        match self.s.kind(-1) {
            Kind::String => self.string(-1),
            Kind::Number => self.number(-1),
            Kind::Boolean if self.s.truth(-1) => self.text.extend(b"true"),
            Kind::Boolean => self.text.extend(b"false"),
            Kind::Table => self.table(depth + 1),
            Kind::Nil => self.text.extend(b"null"),
            Kind::Other if self.s.is_null(-1) => self.text.extend(b"null"),
            Kind::Function | Kind::Other => self.refuse(-1, "type not supported"),
        }
    }

    fn string(&mut self, index: c_int) {
        let mut rest = self.s.bytes(index).unwrap_or_default();
        self.text.extend(b"\"");
        while let Some(end) = rest.iter().position(|&byte| is_escaped(byte)) {
            let (plain, after) = rest.split_at(end);
            self.text.extend(plain);
            let Some((&byte, after)) = after.split_first() else {
                break;
            };
            self.escape(byte);
            rest = after;
        }
        self.text.extend(rest);
        self.text.extend(b"\"");
    }

    fn escape(&mut self, byte: u8) {
        let short: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'/' => b"\\/",
            0x08 => b"\\b",
            b'\t' => b"\\t",
            b'\n' => b"\\n",
            0x0c => b"\\f",
            b'\r' => b"\\r",
            _ => {
                let digit = |n: u8| if n < 10 { b'0' + n } else { b'a' - 10 + n };
                return self.text.extend(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
            }
        };
        self.text.extend(short);
    }

    fn number(&mut self, index: c_int) {
        let value = self.s.number(index);
        if !value.is_finite() {
            match self.settings.encode_invalid {
                0 => self.refuse(index, "must not be NaN or Inf"),
                // The original writes NaN without its sign.
                1 if value.is_nan() => return self.text.extend(b"nan"),
                1 => {}
                _ => return self.text.extend(b"null"),
            }
        }
        self.text.extend(printf::general(value, self.settings.precision).bytes());
    }

    fn table(&mut self, depth: i32) {
        let within = depth <= self.settings.encode_depth && usize::try_from(depth).is_ok_and(|depth| depth <= MAX_DEPTH);
        if !within || !self.s.reserve(SLOTS_PER_LEVEL) {
            self.s.raise_line(format_args!("Cannot serialise, excessive nesting ({depth})"));
        }
        match self.array_length() {
            Some(0) if !self.is_marked() => self.text.extend(b"{}"),
            Some(length) => self.array(length, depth),
            None => self.object(depth),
        }
    }

    /// The last index of the table on the top, if it is an array. A table with an index that C's `int` cannot hold is an object:
    /// lua-cjson loses elements there, depending on the order of the fields.
    fn array_length(&mut self) -> Option<i32> {
        let (mut last, mut items, mut place) = (0_i32, 0_i32, 0);
        while let Some(next) = self.s.entry_from(-1, place) {
            self.pace.step(self.s);
            place = next;
            let key = if self.s.kind(-2) == Kind::Number { self.s.number(-2) } else { 0.0 };
            self.s.pop(2);
            if !(1.0..=f64::from(i32::MAX)).contains(&key) || key.floor() != key {
                return None;
            }
            last = last.max(i32::try_from(truncated(key)).unwrap_or(i32::MAX));
            items = items.saturating_add(1);
        }
        let Settings { sparse_convert, sparse_ratio, sparse_safe, .. } = self.settings;
        if sparse_ratio > 0 && last > items.saturating_mul(sparse_ratio) && last > sparse_safe {
            if sparse_convert == 0 {
                self.refuse(-1, "excessively sparse array");
            }
            return None;
        }
        Some(last)
    }

    /// Whether the table on the top was read as an array while `decode_array_with_array_mt` was on.
    fn is_marked(&self) -> bool {
        self.s.push_metatable(-1) && {
            self.s.push_ref(self.s.context().json_array.get());
            let marked = self.s.same(-1, -2);
            self.s.pop(2);
            marked
        }
    }

    fn array(&mut self, length: i32, depth: i32) {
        self.text.extend(b"[");
        for index in 1..=length {
            if index > 1 {
                self.text.extend(b",");
            }
            self.s.raw_get_element(-1, index);
            self.value(depth);
            self.s.pop(1);
        }
        self.text.extend(b"]");
    }

    fn object(&mut self, depth: i32) {
        self.text.extend(b"{");
        let mut place = 0;
        while let Some(next) = self.s.entry_from(-1, place) {
            if place > 0 {
                self.text.extend(b",");
            }
            place = next;
            match self.s.kind(-2) {
                Kind::Number => {
                    self.text.extend(b"\"");
                    self.number(-2);
                    self.text.extend(b"\":");
                }
                Kind::String => {
                    self.string(-2);
                    self.text.extend(b":");
                }
                _ => self.refuse(-2, "table key must be a number or string"),
            }
            self.value(depth);
            self.s.pop(2);
        }
        self.text.extend(b"}");
    }
}

fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'/' | b'\\' | 0x7f)
}
