//! `cmsgpack`: MessagePack, as Redis' lua-cmsgpack 0.4.0 writes and reads it.
//!
//! A table whose keys are the integers from 1 to its length is an array, the empty table included. Any other table is a map. A
//! table inside 16 others is written as nil, so a table that holds itself ends. A number is an integer if it has no fraction and
//! fits in 64 bits, else a float if that loses nothing, else a double. Values that MessagePack does not have, such as functions,
//! are nil.
//!
//! Reading knows the format of 2012: strings are bytes, and the binary, extension and timestamp types are an error.

use std::ffi::{CStr, c_int};

use super::library_call::{LibraryCall, Pace, obey_limits, reserve};
use crate::lua::limits::MAX_DEPTH;
use crate::lua::numbers::truncated;
use crate::lua::vm::stack::{Buffer, Kind, Native, Stack, native};

const FUNCTIONS: &[(&CStr, Native)] = &[
    (c"pack", native(pack)),
    (c"unpack", native(unpack)),
    (c"unpack_one", native(unpack_one)),
    (c"unpack_limit", native(unpack_limit)),
];

const TEXTS: &[(&CStr, &[u8])] = &[
    (c"_NAME", b"cmsgpack"),
    (c"_VERSION", b"lua-cmsgpack 0.4.0"),
    (c"_COPYRIGHT", b"Copyright (C) 2012, Salvatore Sanfilippo"),
    (c"_DESCRIPTION", b"MessagePack C implementation for Lua"),
];

/// The most tables around a value that is written.
const MAX_NESTING: usize = 16;

/// Slots of the Lua stack for one table that is written, with a reserve.
const SLOTS_PER_LEVEL: c_int = 10;

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, FUNCTIONS.len() + TEXTS.len());
    s.set_functions(FUNCTIONS);
    for &(name, text) in TEXTS {
        s.push_bytes(text);
        s.raw_set_field(-2, name);
    }
}

/// `cmsgpack.pack(...)`: the values one after the other, as one string.
fn pack(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "pack");
    let count = s.top();
    if count == 0 {
        call.refuse(0, format_args!("MessagePack pack needs input."));
    }
    if !reserve(s, count) {
        call.refuse(0, format_args!("Too many arguments for MessagePack pack."));
    }
    let mut packer = Packer { s, output: Buffer::new(s) };
    for index in 1..=count {
        s.push_copy(index);
        packer.value(0);
    }
    s.push_bytes(packer.output.bytes());
    1
}

struct Packer<'r> {
    s: Stack<'r>,
    output: Buffer<'r>,
}

impl Packer<'_> {
    /// Writes the value on the top and drops it.
    fn value(&mut self, level: usize) {
        let s = self.s;
        match s.kind(-1) {
            Kind::String => {
                let text = s.bytes(-1).unwrap_or_default();
                self.length_of_string(text.len());
                self.output.extend(text);
            }
            Kind::Number => self.number(s.number(-1)),
            Kind::Boolean => self.output.extend(&[if s.truth(-1) { 0xc3 } else { 0xc2 }]),
            Kind::Table if level < MAX_NESTING => self.table(level),
            _ => self.output.extend(&[0xc0]),
        }
        s.pop(1);
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn number(&mut self, number: f64) {
        let integer = truncated(number);
        let single = number as f32;
        if integer as f64 == number {
            self.integer(integer);
        } else if f64::from(single) == number {
            self.tagged(0xca, &single.to_be_bytes());
        } else {
            self.tagged(0xcb, &number.to_be_bytes());
        }
    }

    fn integer(&mut self, integer: i64) {
        let (tag, width) = match integer {
            -32..=0x7f => (None, 1),
            0x80..=0xff => (Some(0xcc), 1),
            0x100..=0xffff => (Some(0xcd), 2),
            0x1_0000..=0xffff_ffff => (Some(0xce), 4),
            0x1_0000_0000.. => (Some(0xcf), 8),
            -0x80..=-33 => (Some(0xd0), 1),
            -0x8000..=-0x81 => (Some(0xd1), 2),
            -0x8000_0000..=-0x8001 => (Some(0xd2), 4),
            ..=-0x8000_0001 => (Some(0xd3), 8),
        };
        let bytes = integer.to_be_bytes();
        let bytes = bytes.get(bytes.len() - width..).unwrap_or_default();
        match tag {
            Some(tag) => self.tagged(tag, bytes),
            None => self.output.extend(bytes),
        }
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) {
        self.output.extend(&[tag]);
        self.output.extend(bytes);
    }

    fn length_of_string(&mut self, len: usize) {
        match u8::try_from(len) {
            Ok(short @ 0..32) => self.output.extend(&[0xa0 | short]),
            Ok(short) => self.tagged(0xd9, &[short]),
            Err(_) => self.long_length(len, 0xda, 0xdb),
        }
    }

    fn length_of_table(&mut self, len: usize, short: u8, tag16: u8, tag32: u8) {
        match u8::try_from(len) {
            Ok(len @ 0..16) => self.output.extend(&[short | len]),
            _ => self.long_length(len, tag16, tag32),
        }
    }

    /// Every length fits: a string has at most 1 GiB, and a table has fewer elements than that.
    fn long_length(&mut self, len: usize, tag16: u8, tag32: u8) {
        match u16::try_from(len) {
            Ok(len) => self.tagged(tag16, &len.to_be_bytes()),
            Err(_) => self.tagged(tag32, &u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()),
        }
    }

    /// Writes the table on the top. Tables that hold the same table many times are large in the output only. Nothing calls Lua
    /// here, so the limits are checked here.
    fn table(&mut self, level: usize) {
        let s = self.s;
        obey_limits(s);
        if !s.reserve(SLOTS_PER_LEVEL) {
            s.raise_text(c"stack overflow (in function table_is_an_array)");
        }
        let (len, is_list) = shape(s);
        if is_list {
            self.length_of_table(len, 0x90, 0xdc, 0xdd);
            for index in 1..=c_int::try_from(len).unwrap_or(c_int::MAX) {
                s.raw_get_element(-1, index);
                self.value(level + 1);
            }
        } else {
            self.length_of_table(len, 0x80, 0xde, 0xdf);
            s.push_nil();
            while s.next(-2) {
                s.push_copy(-2);
                self.value(level + 1);
                self.value(level + 1);
            }
        }
    }
}

/// The number of pairs in the table on the top, and whether their keys are the integers from 1 to that number. Keys differ, so it
/// is enough to compare the largest one.
fn shape(s: Stack<'_>) -> (usize, bool) {
    let (mut count, mut largest, mut place) = (0_usize, 0.0_f64, 0);
    let mut integers = true;
    while let Some(next) = s.entry_from(-1, place) {
        let key = if s.kind(-2) == Kind::Number { s.number(-2) } else { 0.0 };
        integers &= key > 0.0 && key <= f64::from(c_int::MAX) && key.trunc() == key;
        largest = largest.max(key);
        count += 1;
        place = next;
        s.pop(2);
    }
    #[allow(clippy::cast_precision_loss)]
    let dense = largest == count as f64;
    (count, integers && dense)
}

/// `cmsgpack.unpack(data)`: pushes all values in the data.
fn unpack(s: Stack<'_>) -> c_int {
    unpack_from(s, LibraryCall::new(s, "unpack"), 0, 0)
}

/// `cmsgpack.unpack_one(data [, offset])`: pushes the offset of the next value, or -1, and the value at `offset`.
fn unpack_one(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "unpack_one");
    let offset = call.integer_or(2, 0);
    s.set_top(s.top().min(1));
    unpack_from(s, call, 1, offset)
}

/// `cmsgpack.unpack_limit(data, limit [, offset])`: the same for at most `limit` values. With limit and offset 0 it is `unpack`.
fn unpack_limit(s: Stack<'_>) -> c_int {
    let call = LibraryCall::new(s, "unpack_limit");
    let limit = call.integer(2);
    let offset = call.integer_or(3, 0);
    s.set_top(s.top().min(1));
    unpack_from(s, call, limit, offset)
}

fn unpack_from(s: Stack<'_>, call: LibraryCall<'_>, limit: i64, offset: i64) -> c_int {
    let data = call.bytes(1);
    // The original prints them as C integers of 32 bits, and calls the length a limit.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
    let (shown, len) = (offset as i32, data.len() as i32);
    if offset < 0 || limit < 0 {
        s.raise_line(format_args!("Invalid request to unpack with offset of {shown} and limit of {len}."));
    }
    let Some(rest) = usize::try_from(offset).ok().and_then(|offset| data.get(offset..)) else {
        s.raise_line(format_args!("Start offset {shown} greater than input length {len}."));
    };
    let all = limit == 0 && offset == 0;
    let mut reader = Reader { s, rest, pace: Pace::default() };
    let mut count = 0;
    while !reader.rest.is_empty() && (all || i64::from(count) < limit) {
        match reader.value(0) {
            Ok(()) => count += 1,
            Err(Malformed::Truncated) => s.raise_text(c"Missing bytes in input."),
            Err(Malformed::Unknown) => s.raise_text(c"Bad data format in input."),
        }
    }
    if all {
        return count;
    }
    if !reserve(s, 1) {
        s.raise_text(c"stack overflow (in function mp_unpack_full)");
    }
    #[allow(clippy::cast_precision_loss)]
    let next = if reader.rest.is_empty() { -1.0 } else { (data.len() - reader.rest.len()) as f64 };
    s.push_number(next);
    s.insert(2);
    count + 1
}

/// Why data cannot be read.
enum Malformed {
    /// It ends inside a value.
    Truncated,
    /// A type that the format of 2012 does not have.
    Unknown,
}

struct Reader<'r> {
    s: Stack<'r>,
    rest: &'r [u8],
    pace: Pace,
}

impl<'r> Reader<'r> {
    /// Pushes the next value. If it is malformed, the values pushed so far stay.
    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        let s = self.s;
        let [tag] = self.chunk()?;
        if !reserve(s, 1) {
            s.raise_text(c"stack overflow (too many return values at once; use unpack_one or unpack_limit instead.)");
        }
        self.pace.step(s);
        match tag {
            0x00..=0x7f => s.push_number(tag.into()),
            0x80..=0x8f => self.map((tag & 0x0f).into(), depth)?,
            0x90..=0x9f => self.array((tag & 0x0f).into(), depth)?,
            0xa0..=0xbf => self.string((tag & 0x1f).into())?,
            0xc0 => s.push_nil(),
            0xc2 | 0xc3 => s.push_bool(tag == 0xc3),
            0xca => s.push_number(f32::from_be_bytes(self.chunk()?).into()),
            0xcb => s.push_number(f64::from_be_bytes(self.chunk()?)),
            0xcc..=0xcf | 0xd0..=0xd3 | 0xe0..=0xff => self.integer(tag)?,
            0xd9..=0xdb => {
                let len = self.length(tag)?;
                self.string(len)?;
            }
            0xdc | 0xdd => {
                let len = self.length(tag)?;
                self.array(len, depth)?;
            }
            0xde | 0xdf => {
                let len = self.length(tag)?;
                self.map(len, depth)?;
            }
            0xc1 | 0xc4..=0xc9 | 0xd4..=0xd8 => return Err(Malformed::Unknown),
        }
        Ok(())
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*chunk)
    }

    /// An unsigned integer of 64 bits is read as a signed one, as in the original.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_wrap)]
    fn integer(&mut self, tag: u8) -> Result<(), Malformed> {
        let value = match tag {
            0xcc => u8::from_be_bytes(self.chunk()?).into(),
            0xcd => u16::from_be_bytes(self.chunk()?).into(),
            0xce => u32::from_be_bytes(self.chunk()?).into(),
            0xcf | 0xd3 => i64::from_be_bytes(self.chunk()?),
            0xd0 => i8::from_be_bytes(self.chunk()?).into(),
            0xd1 => i16::from_be_bytes(self.chunk()?).into(),
            0xd2 => i32::from_be_bytes(self.chunk()?).into(),
            _ => (tag as i8).into(),
        };
        self.s.push_number(value as f64);
        Ok(())
    }

    /// The length of a string, an array or a map, in as many bytes as its tag says.
    fn length(&mut self, tag: u8) -> Result<u32, Malformed> {
        Ok(match tag {
            0xd9 => u8::from_be_bytes(self.chunk()?).into(),
            0xda | 0xdc | 0xde => u16::from_be_bytes(self.chunk()?).into(),
            _ => u32::from_be_bytes(self.chunk()?),
        })
    }

    fn string(&mut self, len: u32) -> Result<(), Malformed> {
        let text: Option<(&'r [u8], _)> = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (text, rest) = text.ok_or(Malformed::Truncated)?;
        self.rest = rest;
        self.s.push_bytes(text);
        Ok(())
    }

    /// Pushes an empty table without room for values: a length may be false, and `#` of a list with nils depends on how the list
    /// grew. Raises if the table is nested too deep, because a level costs C stack.
    fn open(&self, depth: usize) {
        let s = self.s;
        if depth >= MAX_DEPTH || !s.reserve(4) {
            s.raise_text(c"stack overflow (in function mp_decode_to_lua_array)");
        }
        s.push_table(0, 0);
    }

    fn array(&mut self, len: u32, depth: usize) -> Result<(), Malformed> {
        self.open(depth);
        // The conversion saturates above the number of bytes that data can have.
        for index in 1..=c_int::try_from(len).unwrap_or(c_int::MAX) {
            self.value(depth + 1)?;
            self.s.raw_set_element(-2, index);
        }
        Ok(())
    }

    fn map(&mut self, len: u32, depth: usize) -> Result<(), Malformed> {
        self.open(depth);
        for _ in 0..len {
            self.value(depth + 1)?;
            self.value(depth + 1)?;
            self.s.raw_set(-3);
        }
        Ok(())
    }
}
