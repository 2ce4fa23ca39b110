//! What Luau writes for a number, wherever one becomes text: `tostring`, `..`, `table.concat`, `string.format('%s')`, messages.
//!
//! Lua 5.1 writes `%.14g`, Luau the shortest text that reads back as the same number. Ids and members that scripts make of numbers are in
//! the data of applications, so a script must make the same ones here as on the server. Luau has one function for it, in an object of its
//! own in the static library: this file defines both symbols of that object, so the linker has no use for the object and leaves it out. Were
//! there a third one some day, the build would fail for two definitions; were Luau to call another function, the tests would.
//!
//! Rejected: a changed copy of Luau's sources, which someone must carry from release to release, and `--wrap`, which not every linker has.

use std::cell::Cell;
use std::ffi::c_char;
use std::fmt::{self, Write as _};

/// How numbers become text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NumberText {
    /// With 14 digits at most, as in Lua 5.1.
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
    let mut text = Text::default();
    text.number(number, FORMAT.get());
    into.extend_from_slice(text.as_bytes());
}

/// Longer than every text here, and shorter than Luau's buffers (`LUAI_MAXNUM2STR`, `LUAI_MAXINT2STR`).
const LONGEST: usize = 28;

/// Luau's `char* luai_num2str(char* buf, double n)`: writes the text and returns its end.
// SAFETY: it has the signature and the contract of the function that it replaces, whose object is not linked.
#[unsafe(export_name = "_Z12luai_num2strPcd")]
unsafe extern "C" fn number(buffer: *mut c_char, number: f64) -> *mut c_char {
    let mut text = Text::default();
    text.number(number, FORMAT.get());
    // SAFETY: Luau gives a buffer of more than `LONGEST` bytes.
    unsafe { text.copy_to(buffer) }
}

/// Luau's `char* luai_int2str(char* buf, int64_t n)`, in the same object.
// SAFETY: as above.
#[unsafe(export_name = "_Z12luai_int2strPcl")]
unsafe extern "C" fn integer(buffer: *mut c_char, number: i64) -> *mut c_char {
    let mut text = Text::default();
    text.integer(number < 0, number.unsigned_abs());
    // SAFETY: Luau gives a buffer of more than `LONGEST` bytes.
    unsafe { text.copy_to(buffer) }
}

/// A text under construction. What does not fit is left out; nothing here is as long.
#[derive(Default)]
struct Text {
    bytes: [u8; LONGEST],
    len: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    fn zeros(&mut self, count: i32) {
        (0..count).for_each(|_| self.push(b"0"));
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Copies the text and returns the place after it.
    ///
    /// # Safety
    ///
    /// `buffer` has room for `LONGEST` bytes.
    unsafe fn copy_to(&self, buffer: *mut c_char) -> *mut c_char {
        // SAFETY: `len` is at most `LONGEST`, and the buffer is the caller's, not ours.
        unsafe {
            buffer.cast::<u8>().copy_from_nonoverlapping(self.bytes.as_ptr(), self.len);
            buffer.add(self.len)
        }
    }

    fn number(&mut self, number: f64, format: NumberText) {
        /// Integers below have 14 digits at most.
        const SHORT: f64 = 1e14;
        if number.is_nan() {
            // As printf shows it, which Lua 5.1 uses: a result that is no number has a sign on x86.
            let signed = number.is_sign_negative() && format == NumberText::Lua51;
            return self.push(if signed { b"-nan" } else { b"nan" });
        }
        if number.abs() < SHORT && number.trunc() == number {
            // In range, so that nothing is lost.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            return self.integer(number.is_sign_negative(), number.abs() as u64);
        }
        if number.is_sign_negative() {
            self.push(b"-");
        }
        if number.is_infinite() {
            return self.push(b"inf");
        }
        // `d.ddde-7`: the digits are right, what remains is the layout.
        let mut scientific = Self::default();
        // Writing here cannot fail.
        let (fixed, _) = match format {
            NumberText::Lua51 => (-4..14, write!(scientific, "{:.13e}", number.abs())),
            NumberText::Exact => (-6..21, write!(scientific, "{:e}", number.abs())),
        };
        let text = scientific.as_bytes();
        let end_of_digits = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
        let exponent = text.get(end_of_digits.saturating_add(1)..).and_then(|exponent| std::str::from_utf8(exponent).ok());
        let exponent: i32 = exponent.and_then(|exponent| exponent.parse().ok()).unwrap_or(0);
        let mut digits = Self::default();
        let all = text.iter().take(end_of_digits).filter(|byte| byte.is_ascii_digit());
        all.for_each(|digit| digits.push(&[*digit]));
        let significant = digits.as_bytes();
        let last = significant.iter().rposition(|&digit| digit != b'0').unwrap_or(0);
        let significant = significant.get(..=last).unwrap_or_default();
        if fixed.contains(&exponent) { self.fixed(significant, exponent) } else { self.scientific(significant, exponent) }
    }

    fn integer(&mut self, negative: bool, mut value: u64) {
        /// `u64::MAX` has 20.
        const DIGITS: usize = 20;
        let mut digits = [0_u8; DIGITS];
        let mut first = DIGITS;
        for (place, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b"0123456789".get((value % 10) as usize).copied().unwrap_or(b'0');
            value /= 10;
            first = place;
            if value == 0 {
                break;
            }
        }
        if negative {
            self.push(b"-");
        }
        self.push(digits.get(first..).unwrap_or_default());
    }

    /// The digits, of which the first stands for this power of ten, with a point where it belongs.
    fn fixed(&mut self, digits: &[u8], exponent: i32) {
        let Ok(before) = usize::try_from(exponent.saturating_add(1)).map(|before| before.min(digits.len())) else {
            self.push(b"0.");
            self.zeros(-1 - exponent);
            return self.push(digits);
        };
        let (whole, fraction) = digits.split_at(before);
        if whole.is_empty() {
            self.push(b"0");
        }
        self.push(whole);
        self.zeros(exponent.saturating_add(1).saturating_sub(i32::try_from(before).unwrap_or(0)));
        if !fraction.is_empty() {
            self.push(b".");
            self.push(fraction);
        }
    }

    /// One digit before the point, and an exponent of two digits or more.
    fn scientific(&mut self, digits: &[u8], exponent: i32) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, b""));
        self.push(first);
        if !rest.is_empty() {
            self.push(b".");
            self.push(rest);
        }
        let sign = if exponent < 0 { '-' } else { '+' };
        // Writing here cannot fail.
        let _ = write!(self, "e{sign}{:02}", exponent.abs());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use std::ffi::{CStr, c_int};

    use proptest::prelude::*;

    use super::*;

    fn text(value: f64, format: NumberText) -> String {
        let mut text = Text::default();
        text.number(value, format);
        String::from_utf8(text.as_bytes().to_vec()).unwrap()
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
            let mut text = Text::default();
            text.integer(value < 0, value.unsigned_abs());
            assert_eq!(text.as_bytes(), value.to_string().as_bytes());
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
