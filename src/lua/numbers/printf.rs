//! Doubles as digits, laid out in the ways that C, Luau and Redis lay them out.

use std::fmt::Write as _;

use crate::lua::fixed_text::FixedText;

/// A number as text. The longest one has a sign, 17 digits, and zeros as far as the point: less than 28 bytes in every layout.
pub(in crate::lua) type Text = FixedText<32>;

/// The digits of a finite number that is not negative, and the power of ten that the first of them stands for.
pub(super) struct Decimal {
    digits: Text,
    exponent: i32,
}

impl Decimal {
    /// The fewest digits that read back as the same number.
    pub fn shortest(value: f64) -> Self {
        Self::of(format_args!("{value:e}"))
    }

    /// The nearest number of `precision` digits, without zeros at the end.
    pub fn rounded(value: f64, precision: i32) -> Self {
        let places = usize::try_from(precision - 1).unwrap_or_default();
        Self::of(format_args!("{value:.places$e}"))
    }

    /// Reads `d.ddde-7`.
    fn of(scientific: std::fmt::Arguments<'_>) -> Self {
        let mut text = Text::new();
        // Writing into a fixed text cannot fail.
        let _ = text.write_fmt(scientific);
        let mut parts = text.bytes().split(|&byte| byte == b'e');
        let (mantissa, exponent) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (whole, fraction) = mantissa.split_at_checked(1).unwrap_or_default();
        let fraction = fraction.strip_prefix(b".").unwrap_or_default();
        let significant = fraction.iter().rposition(|&digit| digit != b'0').map_or(0, |last| last + 1);
        let mut digits = Text::new();
        digits.extend(whole);
        digits.extend(fraction.get(..significant).unwrap_or_default());
        let (negative, exponent) = exponent.strip_prefix(b"-").map_or((false, exponent), |exponent| (true, exponent));
        let exponent = exponent.iter().fold(0, |exponent, digit| exponent * 10 + i32::from(digit & 15));
        Self { digits, exponent: if negative { -exponent } else { exponent } }
    }

    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// How many digits there are.
    pub fn count(&self) -> i32 {
        i32::try_from(self.digits.bytes().len()).unwrap_or(i32::MAX)
    }

    /// `123.4`, with zeros as far as the point.
    pub fn positional(&self, text: &mut Text) {
        let digits = self.digits.bytes();
        let Ok(whole) = usize::try_from(self.exponent.saturating_add(1)).map(|whole| whole.min(digits.len())) else {
            text.extend(b"0.");
            (self.exponent + 1..0).for_each(|_| text.push(b'0'));
            return text.extend(digits);
        };
        let (whole, fraction) = digits.split_at(whole);
        if whole.is_empty() {
            text.push(b'0');
        }
        text.extend(whole);
        (self.count()..=self.exponent).for_each(|_| text.push(b'0'));
        if !fraction.is_empty() {
            text.push(b'.');
            text.extend(fraction);
        }
    }

    /// `1.234e+05`, with at least `width` digits in the exponent.
    pub fn scientific(&self, width: usize, text: &mut Text) {
        let (first, rest) = self.digits.bytes().split_at_checked(1).unwrap_or_default();
        text.extend(first);
        if !rest.is_empty() {
            text.push(b'.');
            text.extend(rest);
        }
        let sign = if self.exponent < 0 { '-' } else { '+' };
        // Writing into a fixed text cannot fail.
        let _ = write!(text, "e{sign}{:0width$}", self.exponent.unsigned_abs());
    }
}

/// The powers of ten up to the highest precision. A call of `powi` takes longer than the rest of a short number.
const POWERS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// `printf("%.*g", precision, value)`, for a precision of 1 to 14.
pub(in crate::lua) fn general(value: f64, precision: i32) -> Text {
    let bound = usize::try_from(precision).ok().and_then(|precision| POWERS.get(precision)).copied().unwrap_or(0.0);
    let mut text = Text::new();
    if value.is_sign_negative() {
        text.push(b'-');
    }
    let magnitude = value.abs();
    if value.is_nan() {
        text.extend(b"nan");
    } else if value.is_infinite() {
        text.extend(b"inf");
    } else if value.trunc() == value && magnitude < bound {
        write_integer(magnitude, &mut text);
    } else {
        let decimal = Decimal::rounded(magnitude, precision);
        if (-4..precision).contains(&decimal.exponent) {
            decimal.positional(&mut text);
        } else {
            decimal.scientific(2, &mut text);
        }
    }
    text
}

/// Appends an integral number from 0 to 10^19.
pub(super) fn write_integer(value: f64, text: &mut Text) {
    // In range, so nothing is lost.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    write_digits(value as u64, text);
}

/// Appends an integer. Several times faster than `write!`, and scripts make text of integers all the time.
pub(super) fn write_digits(mut value: u64, text: &mut Text) {
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
    text.extend(digits.get(first..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_written_as_printf_does() {
        for (value, precision, expected) in [
            (0.0, 14, "0"),
            (-0.0, 14, "-0"),
            (1.0, 14, "1"),
            (-123_456.0, 14, "-123456"),
            (99_999_999_999_999.0, 14, "99999999999999"),
            (1e14, 14, "1e+14"),
            (123_456_789_012_345.0, 14, "1.2345678901234e+14"),
            (0.1, 14, "0.1"),
            (0.1 + 0.2, 14, "0.3"),
            (1.0 / 3.0, 14, "0.33333333333333"),
            (0.0001, 14, "0.0001"),
            (0.000_012_5, 14, "1.25e-05"),
            (1.5e300, 14, "1.5e+300"),
            (-2.5e-100, 14, "-2.5e-100"),
            (1234.5678, 3, "1.23e+03"),
            (1234.5678, 4, "1235"),
            (999.99, 3, "1e+03"),
            (120.0, 2, "1.2e+02"),
            (100.0, 3, "100"),
            (2.5, 1, "2"),
            (0.5, 1, "0.5"),
            (f64::INFINITY, 14, "inf"),
            (f64::NEG_INFINITY, 14, "-inf"),
            (f64::NAN.copysign(1.0), 14, "nan"),
            (f64::NAN.copysign(-1.0), 14, "-nan"),
        ] {
            assert_eq!(std::str::from_utf8(general(value, precision).bytes()).unwrap(), expected, "{value} {precision}");
        }
    }
}
