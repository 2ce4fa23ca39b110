//! Numbers as C's `strtod` reads them: decimal, hexadecimal, infinity and NaN. `cjson` reads numbers so.

/// The number at the beginning of `text`, if there is one, and its length.
pub(in crate::lua) fn number(text: &[u8]) -> Option<(f64, usize)> {
    let signed = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let rest = text.get(signed..)?;
    let (value, len) = match rest {
        [b'0', b'x' | b'X', hex @ ..] => hexadecimal(hex).map_or((0.0, 1), |(value, len)| (value, len + 2)),
        _ => small(rest).or_else(|| decimal(rest)).or_else(|| named(rest))?,
    };
    Some((if text.first() == Some(&b'-') { -value } else { value }, signed + len))
}

fn count(text: &[u8], is: impl Fn(&u8) -> bool) -> usize {
    text.iter().take_while(|byte| is(byte)).count()
}

/// An integer of few digits, as most numbers are.
fn small(text: &[u8]) -> Option<(f64, usize)> {
    let len = count(text, u8::is_ascii_digit);
    if !(1..=15).contains(&len) || matches!(text.get(len), Some(b'.' | b'e' | b'E')) {
        return None;
    }
    let value = text.iter().take(len).fold(0_u64, |value, digit| value * 10 + u64::from(digit & 15));
    // Below 10^15.
    #[allow(clippy::cast_precision_loss)]
    Some((value as f64, len))
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let whole = count(text, u8::is_ascii_digit);
    let mut len = whole;
    let mut digits = whole;
    if text.get(len) == Some(&b'.') {
        let fraction = count(text.get(len + 1..)?, u8::is_ascii_digit);
        digits += fraction;
        len += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    len += exponent(text.get(len..)?, b'e').1;
    let value = std::str::from_utf8(text.get(..len)?).ok()?.parse().ok()?;
    Some((value, len))
}

/// An exponent after the letter `mark`, and its length with the letter; 0 and 0 if there is none.
fn exponent(text: &[u8], mark: u8) -> (i32, usize) {
    let Some((letter, rest)) = text.split_first() else {
        return (0, 0);
    };
    let sign = usize::from(matches!(rest.first(), Some(b'-' | b'+')));
    let digits = count(rest.get(sign..).unwrap_or_default(), u8::is_ascii_digit);
    if letter.to_ascii_lowercase() != mark || digits == 0 {
        return (0, 0);
    }
    let shown = rest.iter().skip(sign).take(digits);
    let value = shown.fold(0_i32, |value, digit| value.saturating_mul(10).saturating_add(i32::from(digit & 15)));
    (if rest.first() == Some(&b'-') { -value } else { value }, 1 + sign + digits)
}

/// The number after `0x`.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    // 60 to 64 bits are kept. Of the digits after them it only matters whether one is not zero.
    let (mut bits, mut scale, mut digits, mut point) = (0_u64, 0_i32, 0_usize, false);
    let mut len = 0;
    for byte in text {
        if *byte == b'.' && !point {
            point = true;
        } else if let Some(digit) = char::from(*byte).to_digit(16) {
            digits += 1;
            if bits >> 60 == 0 {
                bits = bits << 4 | u64::from(digit);
                scale = scale.saturating_sub(if point { 4 } else { 0 });
            } else {
                bits |= u64::from(digit != 0);
                scale = scale.saturating_add(if point { 0 } else { 4 });
            }
        } else {
            break;
        }
        len += 1;
    }
    if digits == 0 {
        return None;
    }
    let (power, more) = exponent(text.get(len..)?, b'p');
    #[allow(clippy::cast_precision_loss)]
    Some((scaled(bits as f64, scale.saturating_add(power)), len + more))
}

/// `value` times two to the power of `power`, in steps that do not overflow on their own.
fn scaled(mut value: f64, power: i32) -> f64 {
    let mut rest = power.clamp(-3000, 3000);
    while rest != 0 {
        let step = rest.clamp(-1000, 1000);
        value *= 2_f64.powi(step);
        rest -= step;
    }
    value
}

/// Infinity and NaN, in any case.
fn named(text: &[u8]) -> Option<(f64, usize)> {
    let is = |name: &[u8]| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    if is(b"infinity") {
        Some((f64::INFINITY, 8))
    } else if is(b"inf") {
        Some((f64::INFINITY, 3))
    } else if is(b"nan") {
        let inner = text.get(4..).map_or(0, |rest| count(rest, |b| b.is_ascii_alphanumeric() || *b == b'_'));
        let closed = text.get(3) == Some(&b'(') && text.get(4 + inner) == Some(&b')');
        Some((f64::NAN, if closed { 5 + inner } else { 3 }))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn numbers_are_read_as_strtod_does() {
        for (text, expected) in [
            ("1", Some((1.0, 1))),
            ("-12,", Some((-12.0, 3))),
            ("+5", Some((5.0, 2))),
            ("007", Some((7.0, 3))),
            ("1.", Some((1.0, 2))),
            (".5", Some((0.5, 2))),
            ("-.5", Some((-0.5, 3))),
            ("1.e2", Some((100.0, 4))),
            ("1e5]", Some((1e5, 3))),
            ("1e", Some((1.0, 1))),
            ("1e+", Some((1.0, 1))),
            ("1E-2", Some((0.01, 4))),
            ("1e999", Some((f64::INFINITY, 5))),
            ("123456789012345678901234567890", Some((1.234_567_890_123_456_8e29, 30))),
            ("0x1F", Some((31.0, 4))),
            ("0x.8", Some((0.5, 4))),
            ("0x1p4", Some((16.0, 5))),
            ("0x1.8p-1", Some((0.75, 8))),
            ("0xffffffffffffffffff", Some((4.722_366_482_869_645e21, 20))),
            ("0x", Some((0.0, 1))),
            ("0xg", Some((0.0, 1))),
            ("0x1p", Some((1.0, 3))),
            ("-0x10", Some((-16.0, 5))),
            ("inf", Some((f64::INFINITY, 3))),
            ("-INFINITY", Some((f64::NEG_INFINITY, 9))),
            ("infinit", Some((f64::INFINITY, 3))),
            ("-", None),
            ("", None),
            (".", None),
            ("e5", None),
            ("+-1", None),
            ("x", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected, "{text}");
        }
        for (text, len) in [("nan", 3), ("-NaN", 4), ("nan(a_1)", 8), ("nan(", 3), ("nan(-)", 3)] {
            let (value, used) = number(text.as_bytes()).unwrap();
            assert!(value.is_nan() && used == len, "{text}");
        }
    }
}
