//! The text that Luau writes for a number wherever one becomes text: `tostring`, `..`, `table.concat`, `string.format('%s')`,
//! messages.
//!
//! Lua 5.1 writes `%.14g`, Luau the shortest text that reads back as the same number. Applications store ids and members that
//! scripts make of numbers, so a script must make the same ones here as on the server. Luau has one function for it, in an object
//! file of its own in the static library. This file defines both symbols of that object, so the linker leaves the object out. If
//! a later Luau adds a third symbol there, the build fails for two definitions; if it calls another function, the tests fail.
//!
//! Rejected: a changed copy of Luau's sources, which someone must carry from release to release, and `--wrap`, which not every
//! linker has.

use std::cell::Cell;
use std::ffi::c_char;

use super::printf::{self, Decimal, Text, write_digits, write_integer};

/// How numbers become text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberText {
    /// With at most 14 digits, as in Lua 5.1.
    #[default]
    Lua51,
    /// In full, as in Luau.
    Exact,
}

thread_local! {
    static FORMAT: Cell<NumberText> = const { Cell::new(NumberText::Lua51) };
}

/// Sets how numbers become text in this thread.
pub(in crate::lua) fn use_format(format: NumberText) {
    FORMAT.set(format);
}

/// Appends the text of a number.
pub(in crate::lua) fn write(number: f64, into: &mut Vec<u8>) {
    into.extend_from_slice(text_of(number, FORMAT.get()).bytes());
}

/// No text here is longer. Luau's buffers (`LUAI_MAXNUM2STR`, `LUAI_MAXINT2STR`) are.
const LONGEST: usize = 28;

/// Luau's `char* luai_num2str(char* buf, double n)`: writes the text and returns its end.
// SAFETY: it has the signature and the contract of the function that it replaces, whose object file is not linked.
#[unsafe(export_name = "_Z12luai_num2strPcd")]
unsafe extern "C" fn number(buffer: *mut c_char, number: f64) -> *mut c_char {
    // SAFETY: Luau gives a buffer of more than `LONGEST` bytes.
    unsafe { copy_to(&text_of(number, FORMAT.get()), buffer) }
}

/// Luau's `char* luai_int2str(char* buf, int64_t n)`: writes the text and returns its end.
// SAFETY: it has the signature and the contract of the function that it replaces, whose object file is not linked.
#[unsafe(export_name = "_Z12luai_int2strPcl")]
unsafe extern "C" fn integer(buffer: *mut c_char, number: i64) -> *mut c_char {
    // SAFETY: Luau gives a buffer of more than `LONGEST` bytes.
    unsafe { copy_to(&text_of_integer(number), buffer) }
}

/// Copies the text and returns the place after it.
///
/// # Safety
/// `buffer` has room for `LONGEST` bytes.
unsafe fn copy_to(text: &Text, buffer: *mut c_char) -> *mut c_char {
    let text = text.bytes().get(..LONGEST).unwrap_or(text.bytes());
    // SAFETY: the text has at most `LONGEST` bytes, for which the caller's buffer has room; it is not part of the text.
    unsafe {
        buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), text.len());
        buffer.add(text.len())
    }
}

fn text_of_integer(value: i64) -> Text {
    let mut text = Text::new();
    if value < 0 {
        text.push(b'-');
    }
    write_digits(value.unsigned_abs(), &mut text);
    text
}

fn text_of(value: f64, format: NumberText) -> Text {
    match format {
        NumberText::Lua51 => printf::general(value, 14),
        NumberText::Exact => exact(value),
    }
}

/// As Luau writes it.
fn exact(value: f64) -> Text {
    /// Integers below are written by their digits alone.
    const SHORT: f64 = 1e14;
    let mut text = Text::new();
    if value.is_nan() {
        text.extend(b"nan");
        return text;
    }
    if value.is_sign_negative() {
        text.push(b'-');
    }
    let magnitude = value.abs();
    if value.is_infinite() {
        text.extend(b"inf");
    } else if magnitude < SHORT && magnitude.trunc() == magnitude {
        write_integer(magnitude, &mut text);
    } else {
        let decimal = Decimal::shortest(magnitude);
        if (-6..21).contains(&decimal.exponent()) {
            decimal.positional(&mut text);
        } else {
            decimal.scientific(2, &mut text);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::ffi::{CStr, c_int};

    use proptest::prelude::*;

    use super::*;

    fn text(value: f64, format: NumberText) -> String {
        String::from_utf8(text_of(value, format).bytes().to_vec()).unwrap()
    }

    #[track_caller]
    fn check(value: f64, lua51: &str, exact: &str) {
        assert_eq!([text(value, NumberText::Lua51), text(value, NumberText::Exact)], [lua51, exact], "{value:e}");
    }

    /// As the C library writes it, and so Lua 5.1.
    fn printed(value: f64) -> String {
        unsafe extern "C" {
            fn snprintf(buffer: *mut c_char, size: usize, format: *const c_char, ...) -> c_int;
        }
        let mut buffer = [0; 64];
        // SAFETY: the buffer is as large as said, and the format takes one double.
        unsafe {
            snprintf(buffer.as_mut_ptr(), buffer.len(), c"%.14g".as_ptr(), value);
            CStr::from_ptr(buffer.as_ptr()).to_str().unwrap().to_owned()
        }
    }

    #[test]
    fn numbers_are_as_in_lua_51_or_in_full() {
        check(0.0, "0", "0");
        check(-0.0, "-0", "-0");
        check(3.0, "3", "3");
        check(-99_999_999_999_999.0, "-99999999999999", "-99999999999999");
        check(1e14, "1e+14", "100000000000000");
        check(123_456_789_012_345_680.0, "1.2345678901235e+17", "123456789012345680");
        check(0.1 + 0.2, "0.3", "0.30000000000000004");
        check(-1.0 / 3.0, "-0.33333333333333", "-0.3333333333333333");
        check(9_007_199_254_740_993.0, "9.007199254741e+15", "9007199254740992");
        check(1e20, "1e+20", "100000000000000000000");
        check(1e21, "1e+21", "1e+21");
        check(0.0001, "0.0001", "0.0001");
        check(0.00001, "1e-05", "0.00001");
        check(1.5e-7, "1.5e-07", "1.5e-07");
        check(1.25e-300, "1.25e-300", "1.25e-300");
        check(99_999_999_999_999.96, "1e+14", "99999999999999.95");
        check(f64::MAX, "1.7976931348623e+308", "1.7976931348623157e+308");
        check(-f64::MIN_POSITIVE, "-2.2250738585072e-308", "-2.2250738585072014e-308");
        check(5e-324, "4.9406564584125e-324", "5e-324");
        check(f64::INFINITY, "inf", "inf");
        check(f64::NEG_INFINITY, "-inf", "-inf");
        check(f64::NAN.copysign(1.0), "nan", "nan");
        check(f64::NAN.copysign(-1.0), "-nan", "nan");
    }

    #[test]
    fn integers_are_whole() {
        for value in [0, 7, -7, i64::MAX, i64::MIN] {
            assert_eq!(text_of_integer(value).bytes(), value.to_string().as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_as_by_the_c_library(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assert_eq!(text(value, NumberText::Lua51), printed(value));
        }

        #[test]
        fn decimals_and_what_is_halfway_are_written_as_by_the_c_library(digits in -99_999_999_999_999_999_i64..99_999_999_999_999_999, scale in -20..20) {
            #[allow(clippy::cast_precision_loss)]
            let value = digits as f64;
            for value in [value * 10_f64.powi(scale), value * 2_f64.powi(scale)] {
                prop_assert_eq!(text(value, NumberText::Lua51), printed(value));
            }
        }

        #[test]
        fn an_exact_text_reads_back_as_the_number(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(text(value, NumberText::Exact).parse::<f64>().unwrap().to_bits(), bits);
        }
    }
}
