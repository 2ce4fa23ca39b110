//! Escapes in strings. A backslash that starts no escape means nothing in Lua 5.1.

/// How Luau reads an escape.
pub(super) enum Escape {
    /// As 5.1 does.
    Same,
    /// Both refuse it.
    Bad,
    /// It means something else to Luau.
    Differs,
    /// Luau refuses it, and 5.1 does not.
    Refused,
}

/// How Luau reads the escape whose backslash is before `text`.
pub(super) fn escape_of(text: &[u8]) -> Escape {
    let valid = match text {
        [b'x', high, low, ..] => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        [b'u', b'{', rest @ ..] => {
            let digits = rest.iter().take_while(|digit| digit.is_ascii_hexdigit()).count();
            let point = rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok());
            let point = point.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            rest.get(digits) == Some(&b'}') && point.is_some_and(|point| point <= 0x10_ffff)
        }
        [b'z', ..] => true,
        [b'x' | b'u', ..] => false,
        [digit, ..] if digit.is_ascii_digit() => {
            let digits = text.iter().take(3).take_while(|digit| digit.is_ascii_digit());
            let number = digits.fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
            return if number <= 255 { Escape::Same } else { Escape::Bad };
        }
        _ => return Escape::Same,
    };
    if valid { Escape::Differs } else { Escape::Refused }
}
