//! A Lua number as text, the way Redis writes the arguments of a command.
//!
//! Integral values are written as integers. Others have the fewest digits that read back as the same number, in the layout of
//! Redis' `fpconv_dtoa` (`0.1`, `1e+20`, `1.5e-7`). Redis 7.0 writes 17 digits here; 7.2 and later write what this does.

use super::printf::{Decimal, Text, write_integer};

/// Up to here Redis writes an integral double as an integer (`double2ll`).
const INTEGRAL: f64 = 4_611_686_018_427_387_904.0;

/// Appends `value`.
pub(in crate::lua) fn write(value: f64, into: &mut Vec<u8>) {
    let mut text = Text::new();
    // Zero has no sign here. NaN has one, as the C library of the servers prints it.
    if value.is_sign_negative() && value != 0.0 {
        text.push(b'-');
    }
    let magnitude = value.abs();
    if magnitude <= INTEGRAL && magnitude.trunc() == magnitude {
        write_integer(magnitude, &mut text);
    } else if value.is_nan() {
        text.extend(b"nan");
    } else if value.is_infinite() {
        text.extend(b"inf");
    } else {
        lay_out(&Decimal::shortest(magnitude), &mut text);
    }
    into.extend_from_slice(text.bytes());
}

fn lay_out(decimal: &Decimal, text: &mut Text) {
    let (count, exponent) = (decimal.count(), decimal.exponent());
    // The power of ten that the last digit stands for.
    let scale = exponent - (count - 1);
    let positional = if scale >= 0 { exponent < count + 7 } else { scale > -7 || exponent.abs() < 4 };
    if positional { decimal.positional(text) } else { decimal.scientific(1, text) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        let mut text = Vec::new();
        write(value, &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn integral_values_are_integers() {
        check(0.0, "0");
        check(-0.0, "0");
        check(3.0, "3");
        check(-1e15, "-1000000000000000");
        check(1e18, "1000000000000000000");
    }

    #[test]
    fn other_values_are_the_shortest_text() {
        check(0.1, "0.1");
        check(-2.5, "-2.5");
        check(1e20, "1e+20");
        check(-1.5e300, "-1.5e+300");
        check(0.0001, "0.0001");
        check(1e-7, "1e-7");
        check(1.25e-10, "1.25e-10");
        check(123_456.789, "123456.789");
        check(0.1 + 0.2, "0.30000000000000004");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::MIN_POSITIVE, "2.2250738585072014e-308");
    }

    #[test]
    fn values_that_are_no_numbers_have_names() {
        check(f64::INFINITY, "inf");
        check(f64::NEG_INFINITY, "-inf");
        check(f64::NAN.copysign(1.0), "nan");
        check(f64::NAN.copysign(-1.0), "-nan");
    }
}
