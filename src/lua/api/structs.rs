//! `struct`: values to bytes and back, by a format. It is Roberto Ierusalimschy's library, as Redis has it.
//!
//! | letter | meaning |
//! |---|---|
//! | `<` `>` `!n` | little endian (the default), big endian, alignment to at most `n` bytes (8 if `n` is missing; the default is 1) |
//! | `b` `h` `i` `l` `T`, `in` | integer of 1, 2, 4, 8, 8 or `n` bytes, signed; capitals are unsigned; at most 32 bytes |
//! | `f` `d` | float, double |
//! | `x`, blank | a zero byte, nothing |
//! | `s`, `cn` | string that ends with a zero, string of `n` bytes (`c0`: the whole string; in `unpack`, the value before is its length) |
//!
//! An integer has 64 bits whatever its size: `pack` fills a wider one with zeros and cuts a narrower one. A format ends at its
//! first NUL.

use std::ffi::{CStr, c_int};

use super::library_call::{LibraryCall, Pace, reserve};
use crate::lua::numbers::truncated;
use crate::lua::vm::stack::{Buffer, Native, Stack, native};

const FUNCTIONS: &[(&CStr, Native)] = &[(c"pack", native(pack)), (c"size", native(size)), (c"unpack", native(unpack))];

/// Bytes of the longest integer.
const MAX_INTEGER: usize = 32;

/// The largest number in a format.
const MAX_NUMBER: usize = 0x7fff_ffff;

/// The alignment that `!` means without a number.
const NATIVE_ALIGNMENT: usize = 8;

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, FUNCTIONS.len());
    s.set_functions(FUNCTIONS);
}

/// A format that is being read, and the state that its control letters set.
struct Format<'r> {
    s: Stack<'r>,
    call: LibraryCall<'r>,
    rest: &'r [u8],
    big_endian: bool,
    alignment: usize,
    pace: Pace,
}

impl<'r> Format<'r> {
    /// The format in the first argument.
    fn of(s: Stack<'r>, call: LibraryCall<'r>) -> Self {
        let text = call.bytes(1);
        let rest = text.split(|&byte| byte == 0).next().unwrap_or_default();
        Self { s, call, rest, big_endian: false, alignment: 1, pace: Pace::default() }
    }

    /// The next letter and its size, 0 if the letter has none.
    fn next(&mut self) -> Option<(u8, usize)> {
        self.pace.step(self.s);
        let (&letter, rest) = self.rest.split_first()?;
        self.rest = rest;
        let size = match letter {
            b'b' | b'B' | b'x' => 1,
            b'h' | b'H' => 2,
            b'f' => 4,
            b'l' | b'L' | b'T' | b'd' => 8,
            b'c' => self.number(1),
            b'i' | b'I' => self.integer_size(),
            _ => 0,
        };
        Some((letter, size))
    }

    /// The number that follows, or `default`.
    fn number(&mut self, default: usize) -> usize {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at_checked(digits).unwrap_or_default();
        self.rest = rest;
        if digits.is_empty() {
            return default;
        }
        let mut number = 0_usize;
        for digit in digits {
            number = number.saturating_mul(10).saturating_add(usize::from(digit - b'0'));
            if number > MAX_NUMBER {
                self.s.raise_text(c"integral size overflow");
            }
        }
        number
    }

    fn integer_size(&mut self) -> usize {
        let size = self.number(4);
        if size > MAX_INTEGER {
            self.s.raise_line(format_args!("integral size {size} is larger than limit of {MAX_INTEGER}"));
        }
        size
    }

    /// Zero bytes before a value of this size at the offset `at`.
    fn padding(&self, at: usize, letter: u8, size: usize) -> usize {
        if size == 0 || letter == b'c' {
            return 0;
        }
        let size = size.min(self.alignment);
        let mask = size - 1;
        size.wrapping_sub(at & mask) & mask
    }

    /// Applies a control letter; raises if it is unknown.
    fn control(&mut self, letter: u8) {
        match letter {
            b' ' => {}
            b'<' => self.big_endian = false,
            b'>' => self.big_endian = true,
            b'!' => {
                self.alignment = self.number(NATIVE_ALIGNMENT);
                if !self.alignment.is_power_of_two() {
                    self.s.raise_line(format_args!("alignment {} is not a power of 2", self.alignment));
                }
            }
            _ => self.call.refuse(1, format_args!("invalid format option '{}'", char::from(letter))),
        }
    }

    /// Turns little endian bytes into those of the format, and back.
    fn order<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }
}

/// `struct.pack(format, ...)`: pushes the bytes of the values.
fn pack(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "pack");
    let mut format = Format::of(s, call);
    // A missing argument reads as nil, as in the original, which marks the end of its arguments with one.
    s.push_nil();
    let mut output = Buffer::new(s);
    let mut argument = 2;
    let mut at = 0_usize;
    while let Some((letter, mut size)) = format.next() {
        let padding = format.padding(at, letter, size);
        at += padding;
        (0..padding).for_each(|_| output.extend(&[0]));
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'i' | b'I' | b'l' | b'L' | b'T' => {
                let mut bytes = [0; MAX_INTEGER];
                let value = unsigned(call.number(argument)).to_le_bytes();
                bytes.iter_mut().zip(value).for_each(|(place, byte)| *place = byte);
                let bytes = bytes.get_mut(..size).unwrap_or_default();
                if format.big_endian {
                    bytes.reverse();
                }
                output.extend(bytes);
                argument += 1;
            }
            b'x' => output.extend(&[0]),
            b'f' => {
                #[allow(clippy::cast_possible_truncation)]
                let single = call.number(argument) as f32;
                output.extend(&format.order(single.to_le_bytes()));
                argument += 1;
            }
            b'd' => {
                output.extend(&format.order(call.number(argument).to_le_bytes()));
                argument += 1;
            }
            b'c' | b's' => {
                size = push_string(&mut output, call, argument, letter, size);
                argument += 1;
            }
            _ => format.control(letter),
        }
        at += size;
    }
    s.push_bytes(output.bytes());
    1
}

/// Writes a string and answers the number of bytes written.
fn push_string(output: &mut Buffer<'_>, call: LibraryCall<'_>, argument: c_int, letter: u8, size: usize) -> usize {
    let text = call.bytes(argument);
    let size = if size == 0 { text.len() } else { size };
    let Some(text) = text.get(..size) else {
        // The original names the next argument in this error.
        call.refuse(argument + 1, format_args!("string too short"));
    };
    output.extend(text);
    if letter == b's' {
        output.extend(&[0]);
        return size + 1;
    }
    size
}

/// `struct.unpack(format, data [, offset])`: pushes the values in the data, and the offset after them.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap, clippy::cast_precision_loss)]
fn unpack(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "unpack");
    let mut format = Format::of(s, call);
    let data = call.bytes(2);
    // A negative offset becomes one beyond all data.
    let start = call.integer_or(3, 1) as usize;
    if start == 0 {
        call.refuse(3, format_args!("offset must be 1 or greater"));
    }
    let mut at = start - 1;
    let base = s.top();
    while let Some((letter, mut size)) = format.next() {
        at = at.wrapping_add(format.padding(at, letter, size));
        let mut field = field(call, data, at, size);
        if !reserve(s, 2) {
            s.raise_text(c"stack overflow (too many results)");
        }
        match letter {
            b'b' | b'B' | b'h' | b'H' | b'i' | b'I' | b'l' | b'L' | b'T' => {
                s.push_number(integer(field, format.big_endian, letter.is_ascii_lowercase()));
            }
            b'f' => s.push_number(f32::from_le_bytes(format.order(field.try_into().unwrap_or_default())).into()),
            b'd' => s.push_number(f64::from_le_bytes(format.order(field.try_into().unwrap_or_default()))),
            b'c' => {
                if size == 0 {
                    if s.top() == base || !s.is_number(-1) {
                        s.raise_text(c"format 'c0' needs a previous size");
                    }
                    size = unsigned(s.number(-1)) as usize;
                    s.pop(1);
                    field = self::field(call, data, at, size);
                }
                s.push_bytes(field);
            }
            b's' => {
                let rest = data.get(at..).unwrap_or_default();
                let Some(end) = rest.iter().position(|&byte| byte == 0) else {
                    s.raise_text(c"unfinished string in data");
                };
                s.push_bytes(rest.get(..end).unwrap_or_default());
                size = end + 1;
            }
            b'x' => {}
            _ => format.control(letter),
        }
        at += size;
    }
    s.push_number(at.wrapping_add(1) as i64 as f64);
    s.top() - base
}

/// The bytes of a value.
fn field<'a>(call: LibraryCall<'_>, data: &'a [u8], at: usize, size: usize) -> &'a [u8] {
    match at.checked_add(size).and_then(|end| data.get(at..end)) {
        Some(field) => field,
        None => call.refuse(2, format_args!("data string too short")),
    }
}

/// `struct.size(format)`: pushes the number of bytes that the format takes. Unknown letters and digits count nothing here.
#[allow(clippy::cast_precision_loss)]
fn size(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "size");
    let mut format = Format::of(s, call);
    let mut at = 0_usize;
    while let Some((letter, size)) = format.next() {
        at = at.wrapping_add(format.padding(at, letter, size));
        match letter {
            b's' => call.refuse(1, format_args!("option 's' has no fixed size")),
            b'c' if size == 0 => call.refuse(1, format_args!("option 'c0' has no fixed size")),
            letter if !letter.is_ascii_alphanumeric() => format.control(letter),
            _ => {}
        }
        at = at.wrapping_add(size);
    }
    s.push_number(at as f64);
    1
}

/// The 64 bits of a number, as the cast of a C compiler on x86-64 gives them, also where C leaves the result open.
#[allow(clippy::cast_sign_loss)]
fn unsigned(number: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if number >= HALF { truncated(number - HALF) as u64 ^ (1 << 63) } else { truncated(number) as u64 }
}

/// The integer that the bytes hold.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_precision_loss)]
fn integer(bytes: &[u8], big_endian: bool, signed: bool) -> f64 {
    let join = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
    let value = if big_endian { bytes.iter().fold(0, join) } else { bytes.iter().rev().fold(0, join) };
    if !signed {
        return value as f64;
    }
    // Of an integer wider than 64 bits the sign bit is where the processor's shift puts it, as in the original.
    let sign = u64::MAX.wrapping_shl((bytes.len() * 8).wrapping_sub(1) as u32);
    let value = if value & sign == 0 { value } else { value | sign };
    value as i64 as f64
}
