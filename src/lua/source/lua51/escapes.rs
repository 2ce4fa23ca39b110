//! Escapes in strings. A backslash before what is no escape in Lua 5.1 means nothing there.

/// What an escape is to Luau.
pub(super) enum Escape {
    /// What it is to 5.1.
    Same,
    /// What it is to neither.
    Bad,
    /// Something else.
    Differs,
    /// An error.
    Refused,
}

/// Of the escape whose backslash is before this.
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
