//! `bit.*`, which is LuaBitOp: numbers are taken modulo 2^32, and results are signed.

use std::ffi::{CStr, c_int};

use crate::lua::vm::stack::{Native, Stack, native};

const FUNCTIONS: &[(&CStr, Native)] = &[
    (c"tobit", native(tobit)),
    (c"bnot", native(bnot)),
    (c"band", native(band)),
    (c"bor", native(bor)),
    (c"bxor", native(bxor)),
    (c"lshift", native(lshift)),
    (c"rshift", native(rshift)),
    (c"arshift", native(arshift)),
    (c"rol", native(rol)),
    (c"ror", native(ror)),
    (c"bswap", native(bswap)),
    (c"tohex", native(tohex)),
];

/// Pushes the table.
pub(in crate::lua) fn open(s: Stack<'_>) {
    s.push_table(0, FUNCTIONS.len());
    s.set_functions(FUNCTIONS);
}

/// The argument `n`. Adding 2^52 + 2^51 leaves the integer, rounded to even, in the low bits of the double. LuaBitOp rounds so,
/// and numbers from 2^51 on lose their last bits.
fn bits(s: Stack<'_>, n: c_int) -> u32 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    let [a, b, c, d, ..] = (s.number(n) + MAGIC).to_le_bytes();
    let value = u32::from_le_bytes([a, b, c, d]);
    if value == 0 && !s.is_number(n) {
        s.raise_bad_type(n, "number");
    }
    value
}

fn answer(s: Stack<'_>, value: u32) -> c_int {
    s.push_number(f64::from(value.cast_signed()));
    1
}

fn tobit(s: Stack<'_>) -> c_int {
    answer(s, bits(s, 1))
}

fn bnot(s: Stack<'_>) -> c_int {
    answer(s, !bits(s, 1))
}

/// Joins all arguments, starting with the last one.
fn fold(s: Stack<'_>, join: impl Fn(u32, u32) -> u32) -> c_int {
    let first = bits(s, 1);
    answer(s, (2..=s.top()).rev().fold(first, |value, n| join(value, bits(s, n))))
}

fn band(s: Stack<'_>) -> c_int {
    fold(s, |a, b| a & b)
}

fn bor(s: Stack<'_>) -> c_int {
    fold(s, |a, b| a | b)
}

fn bxor(s: Stack<'_>) -> c_int {
    fold(s, |a, b| a ^ b)
}

/// Only the lower five bits of the second argument count.
fn shift(s: Stack<'_>, act: impl Fn(u32, u32) -> u32) -> c_int {
    let value = bits(s, 1);
    answer(s, act(value, bits(s, 2) & 31))
}

fn lshift(s: Stack<'_>) -> c_int {
    shift(s, u32::wrapping_shl)
}

fn rshift(s: Stack<'_>) -> c_int {
    shift(s, u32::wrapping_shr)
}

fn arshift(s: Stack<'_>) -> c_int {
    shift(s, |value, n| value.cast_signed().wrapping_shr(n).cast_unsigned())
}

fn rol(s: Stack<'_>) -> c_int {
    shift(s, u32::rotate_left)
}

fn ror(s: Stack<'_>) -> c_int {
    shift(s, u32::rotate_right)
}

fn bswap(s: Stack<'_>) -> c_int {
    answer(s, bits(s, 1).swap_bytes())
}

/// The last eight digits, or as many as the second argument says; a negative number means upper case.
fn tohex(s: Stack<'_>) -> c_int {
    let mut value = bits(s, 1);
    let count = if s.top() < 2 { 8 } else { bits(s, 2).cast_signed() };
    let alphabet: &[u8; 16] = if count < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
    let count = usize::try_from(count.unsigned_abs()).unwrap_or(8).min(8);
    let mut digits = [b'0'; 8];
    for digit in digits.iter_mut().take(count).rev() {
        *digit = usize::try_from(value & 15).ok().and_then(|n| alphabet.get(n)).copied().unwrap_or(b'0');
        value >>= 4;
    }
    s.push_bytes(digits.get(..count).unwrap_or_default());
    1
}
