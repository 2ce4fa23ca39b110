//! A Lua number as text, the way Redis writes the arguments of a command.
//!
//! Integral values are written as integers; others with the fewest digits that read back as the same number, in the layout of
//! Redis' `fpconv_dtoa` (`0.1`, `1e+20`, `1.5e-7`). Redis 7.0 wrote 17 digits here; what it meant is what 7.2 does.

use std::io::Write as _;

/// Up to here a double that is integral is written as an integer (as `double2ll` in Redis).
const INTEGRAL: f64 = 4_611_686_018_427_387_904.0;

/// Appends `value`.
pub(in crate::lua) fn write(value: f64, into: &mut Vec<u8>) {
    if value.abs() <= INTEGRAL && value.trunc() == value {
        // In range, so that nothing saturates.
        #[allow(clippy::cast_possible_truncation)]
        let integer = value as i64;
        // Writing into a Vec cannot fail.
        let _ = write!(into, "{integer}");
    } else if value.is_nan() {
        // As the C library prints it, which the servers use.
        into.extend_from_slice(if value.is_sign_negative() { b"-nan" } else { b"nan" });
    } else if value.is_infinite() {
        into.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else {
        write_shortest(value, into);
    }
}

/// The shortest digits come from `{:e}` (`d.ddde-7`); what remains is the layout.
fn write_shortest(value: f64, into: &mut Vec<u8>) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let digits: String = mantissa.chars().filter(|&c| c != '.').collect();
    if value < 0.0 {
        into.push(b'-');
    }
    lay_out(&digits, exponent, into);
}

/// `digits` with the point after the first one, times ten to the power of `exponent`.
fn lay_out(digits: &str, exponent: i32, into: &mut Vec<u8>) {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let scale = exponent - (count - 1);
    // Writing into a Vec cannot fail.
    let _ = if scale >= 0 && exponent < count + 7 {
        write!(into, "{digits}{}", zeros(scale))
    } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        let point = usize::try_from(count + scale).unwrap_or(0);
        match digits.split_at_checked(point) {
            Some((whole, fraction)) if point > 0 => write!(into, "{whole}.{fraction}"),
            _ => write!(into, "0.{}{digits}", zeros(-(count + scale))),
        }
    } else {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let point = if rest.is_empty() { "" } else { "." };
        write!(into, "{first}{point}{rest}e{exponent:+}")
    };
}

fn zeros(count: i32) -> String {
    "0".repeat(usize::try_from(count).unwrap_or(0))
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
