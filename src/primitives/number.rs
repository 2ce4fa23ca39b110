//! Parses numbers from arguments and stored values, and compares them.
//!
//! A 64-bit integer written as Redis writes it is a [`Number::Integer`] and compares exactly. Any other decimal number becomes the
//! nearest double, including integers that need more than 64 bits or are written differently (`01`, `+1`, `1e3`). As in Redis, `inf` is
//! a number. NaN is refused, and so is text that overflows a double or underflows to zero. Unlike some versions of Redis, this module
//! refuses hexadecimal digits on every server.

use std::cmp::Ordering;

/// Longer text is refused without a look at it.
const MAX_LENGTH: usize = 256;

/// 2^63, the first double above the range of 64-bit integers.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// A number. Never NaN.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    Integer(i64),
    /// May be infinite.
    Double(f64),
}

impl Number {
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_LENGTH {
            None
        } else {
            parse_i64(text).map(Self::Integer).or_else(|| parse_f64(text).map(Self::Double))
        }
    }

    /// Compares exactly: an integer is never rounded to a double.
    #[must_use]
    pub fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Integer(left), Self::Integer(right)) => left.cmp(&right),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
            (Self::Integer(left), Self::Double(right)) => compare_mixed(left, right),
            (Self::Double(left), Self::Integer(right)) => compare_mixed(right, left).reverse(),
        }
    }
}

/// Compares an integer with a double. A double outside the range of 64-bit integers decides at once. Otherwise its whole part is
/// compared first, then its fraction.
fn compare_mixed(integer: i64, double: f64) -> Ordering {
    if double >= BEYOND {
        return Ordering::Less;
    }
    if double < -BEYOND {
        return Ordering::Greater;
    }
    // In range, so it does not saturate; whole, so it is not rounded.
    #[allow(clippy::cast_possible_truncation)]
    let whole = double.trunc() as i64;
    integer.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal))
}

/// Parses an integer as Redis does: decimal, no sign but `-`, no leading zero, no space.
#[must_use]
pub fn parse_i64(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    // Nineteen digits fit into an unsigned 64-bit integer. The sign is applied at the end, so that i64::MIN is accepted.
    let mut value = 0_u64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit & 0x0f));
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The decimal text of an integer, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    /// The text, at the end. The longest has 20 characters: that of `i64::MIN`.
    text: [u8; 20],
    length: usize,
}

impl Digits {
    #[must_use]
    pub fn new(value: i64) -> Self {
        let (mut text, mut length, mut rest) = ([b'-'; 20], 0_usize, value.unsigned_abs());
        let digit = |number: u64| b'0' | number.to_le_bytes()[0];
        // Two digits for one division of 64 bits.
        for pair in text.rchunks_exact_mut(2) {
            let two = rest % 100;
            rest /= 100;
            let single = rest == 0 && two < 10;
            length = length.saturating_add(if single { 1 } else { 2 });
            if let [tens, ones] = pair {
                *ones = digit(two % 10);
                if !single {
                    *tens = digit(two / 10);
                }
            }
            if rest == 0 {
                break;
            }
        }
        // The rest of the array is minus signs.
        Self { text, length: length.saturating_add(usize::from(value < 0)) }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(self.text.len().saturating_sub(self.length)..).unwrap_or_default()
    }
}

/// The integer of which this double is the value, if the double's shortest text and the integer's are the same: it is whole, has at most 15
/// digits and is not -0.
#[must_use]
pub fn whole(value: f64) -> Option<i64> {
    // In range, so it does not saturate; compared, so it is whole.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    if value.abs() < 1e15 && value as i64 as f64 == value && !(value == 0.0 && value.is_sign_negative()) {
        Some(value as i64)
    } else {
        None
    }
}

/// Parses a decimal double or an infinity. Refuses text that overflows to infinity or underflows to zero.
fn parse_f64(bytes: &[u8]) -> Option<f64> {
    let double: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    let named = bytes.iter().any(|byte| matches!(byte, b'n' | b'N'));
    let mantissa = bytes.split(|byte| matches!(byte, b'e' | b'E')).next().unwrap_or_default();
    let vanished = double == 0.0 && mantissa.iter().any(|byte| (b'1'..=b'9').contains(byte));
    if double.is_nan() || double.is_infinite() != named || vanished { None } else { Some(double) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn integers_are_parsed_as_redis_parses_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("", None),
            ("-", None),
            ("1e3", None),
            ("0x1", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn digits_are_the_text_of_the_integer() {
        for value in [0, 1, -1, 9, 10, -10, 1_700_000_000_000, i64::MAX, i64::MIN] {
            assert_eq!(Digits::new(value).as_bytes(), value.to_string().as_bytes());
        }
    }

    #[test]
    fn whole_doubles_print_as_integers() {
        for (value, expected) in [
            (0.0, Some(0)),
            (-0.0, None),
            (1_700_000_000_000.0, Some(1_700_000_000_000)),
            (-5.0, Some(-5)),
            (0.5, None),
            (1e15, None),
            (f64::INFINITY, None),
            (f64::NAN, None),
        ] {
            assert_eq!(whole(value), expected, "{value}");
        }
    }

    #[test]
    fn other_numbers_are_doubles() {
        for (text, expected) in [
            ("1.5", 1.5),
            ("-0", -0.0),
            ("01", 1.0),
            ("+1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E-3", 0.001),
            ("9223372036854775808", BEYOND),
            ("5e-324", 5e-324),
            ("0e9999", 0.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("+INF", f64::INFINITY),
        ] {
            let Some(Number::Double(double)) = Number::parse(text.as_bytes()) else { unreachable!("{text} is refused") };
            assert_eq!(double.to_bits(), f64::to_bits(expected), "{text}");
        }
    }

    #[test]
    fn other_text_is_refused() {
        let texts = [
            "", " ", " 1", "1 ", "1\n", "x", "1x", "0x10", "1_000", "1,5", "--1", "+-1", "e5", ".", "-", "1e", "1e+", "nan",
            "-NaN",
        ];
        let unfit = ["1e309", "-1e309", "1e-400", "0.01e-400", "in", "infinit", "1\0", "\u{4e00}", "\u{0661}"];
        for text in texts.into_iter().chain(unfit) {
            assert!(Number::parse(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(Number::parse(b"\xff").is_none());
        assert!(Number::parse("1".repeat(257).as_bytes()).is_none() && Number::parse("1".repeat(256).as_bytes()).is_some());
    }

    #[track_caller]
    fn check(left: &str, expected: Ordering, right: &str) {
        let (Some(l), Some(r)) = (Number::parse(left.as_bytes()), Number::parse(right.as_bytes())) else {
            unreachable!("{left} {right}")
        };
        assert_eq!(l.compare(r), expected, "{left} with {right}");
        assert_eq!(r.compare(l), expected.reverse(), "{right} with {left}");
    }

    #[test]
    fn integers_and_doubles_compare_exactly() {
        use Ordering::{Equal, Less};
        check("9007199254740992", Less, "9007199254740993");
        check("9223372036854775806", Less, "9223372036854775807");
        check("9007199254740992.0", Less, "9007199254740993");
        check("9007199254740992.0", Equal, "9007199254740992");
        check("9223372036854775807", Less, "9223372036854775808");
        check("9223372036854775807", Less, "9.223372036854775807e18");
        check("-9223372036854775808", Equal, "-9.223372036854775808e18");
        check("-9223372036854777856", Less, "-9223372036854775808");
        check("1", Less, "1.5");
        check("-1.5", Less, "-1");
        check("-0.5", Less, "0");
        check("0", Less, "5e-324");
        check("0", Equal, "-0");
        check("0", Equal, "-0.0");
        check("1", Equal, "1.0");
        check("9223372036854775807", Less, "inf");
        check("-inf", Less, "-9223372036854775808");
        check("-inf", Less, "inf");
        check("inf", Equal, "Infinity");
    }

    /// The definition: the number as an integer multiple of 1/2^20. Numbers of this size are exact multiples.
    fn scaled(number: Number) -> i128 {
        match number {
            Number::Integer(integer) => i128::from(integer) << 20,
            #[allow(clippy::cast_possible_truncation)]
            Number::Double(double) => (double * 1_048_576.0) as i128,
        }
    }

    fn near_an_edge() -> impl Strategy<Value = i64> {
        let edges = prop::sample::select(vec![0, 1 << 53, -(1 << 53), 1 << 62, i64::MAX, i64::MIN]);
        (edges, -3000_i64..3000).prop_map(|(edge, offset)| edge.saturating_add(offset))
    }

    fn numbers() -> impl Strategy<Value = Number> {
        // Exact by construction: a double with at most 20 bits after the point.
        #[allow(clippy::cast_precision_loss)]
        let doubles = (near_an_edge(), -4_i8..=4).prop_map(|(whole, quarters)| whole as f64 + f64::from(quarters) / 4.0);
        prop_oneof![near_an_edge().prop_map(Number::Integer), doubles.prop_map(Number::Double)]
    }

    proptest! {
        #[test]
        fn digits_read_back(value: i64) {
            prop_assert_eq!(parse_i64(Digits::new(value).as_bytes()), Some(value));
        }

        #[test]
        fn compare_orders_by_the_exact_values(left in numbers(), right in numbers()) {
            prop_assert_eq!(left.compare(right), scaled(left).cmp(&scaled(right)));
        }

        #[test]
        fn parse_of_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(!matches!(Number::parse(&bytes), Some(Number::Double(double)) if double.is_nan()));
        }
    }
}
