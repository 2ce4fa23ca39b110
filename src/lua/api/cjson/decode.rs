//! `cjson.decode`: JSON becomes a Lua value. A NUL byte counts as the end of the text, as in C.

use std::ffi::c_int;

use super::{SLOTS_PER_LEVEL, Settings, settings};
use crate::lua::api::library_call::Pace;
use crate::lua::limits::MAX_DEPTH;
use crate::lua::numbers::strtod;
use crate::lua::vm::stack::{Buffer, Kind, Stack};

pub(super) fn decode(s: Stack<'_>) -> c_int {
    if s.top() != 1 {
        s.raise_bad_argument(1, format_args!("expected 1 argument"));
    }
    if !matches!(s.kind(1), Kind::String | Kind::Number) {
        s.raise_bad_type(1, "string");
    }
    let text = s.coerced_bytes(1).unwrap_or_default();
    if let [first, second, ..] = text
        && (*first == 0 || *second == 0)
    {
        s.raise_text(c"JSON parser does not support UTF-16 or UTF-32");
    }
    let settings = settings::current(s).get();
    let mut decoder = Decoder {
        s,
        settings,
        text,
        at: 0,
        depth: 0,
        pace: Pace::default(),
        string: Piece::Plain(&[]),
        unescaped: Buffer::new(s),
    };
    let token = decoder.next();
    decoder.value(token);
    let token = decoder.next();
    if !matches!(token.what, What::End) {
        decoder.refuse("the end", token);
    }
    1
}

/// The string that was read last.
#[derive(Clone, Copy)]
enum Piece<'a> {
    /// A part of the text.
    Plain(&'a [u8]),
    /// It had escapes.
    Unescaped,
}

#[derive(Clone, Copy)]
enum What {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl What {
    /// The name in errors.
    fn name(self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::String => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Wrong(text) => text,
        }
    }
}

#[derive(Clone, Copy)]
struct Token {
    what: What,
    at: usize,
}

struct Decoder<'r> {
    s: Stack<'r>,
    settings: Settings,
    text: &'r [u8],
    at: usize,
    depth: i32,
    pace: Pace,
    string: Piece<'r>,
    unescaped: Buffer<'r>,
}

impl Decoder<'_> {
    fn refuse(&self, expected: &str, token: Token) -> ! {
        let (found, at) = (token.what.name(), token.at.saturating_add(1));
        self.s.raise_line(format_args!("Expected {expected} but found {found} at character {at}"))
    }

    /// Pushes the value that starts with `token`.
    fn value(&mut self, token: Token) {
        self.pace.step(self.s);
        match token.what {
            What::String => self.push_string(),
            What::Number(value) => self.s.push_number(value),
            What::Boolean(value) => self.s.push_bool(value),
            What::Null => self.s.push_null(),
            What::ObjectBegin => self.object(),
            What::ArrayBegin => self.array(),
            _ => self.refuse("value", token),
        }
    }

    fn push_string(&self) {
        self.s.push_bytes(match self.string {
            Piece::Plain(bytes) => bytes,
            Piece::Unescaped => self.unescaped.bytes(),
        });
    }

    fn descend(&mut self) {
        self.depth = self.depth.saturating_add(1);
        let within =
            self.depth <= self.settings.decode_depth && usize::try_from(self.depth).is_ok_and(|depth| depth <= MAX_DEPTH);
        if !within || !self.s.reserve(SLOTS_PER_LEVEL) {
            let (depth, at) = (self.depth, self.at);
            self.s.raise_line(format_args!("Found too many nested data structures ({depth}) at character {at}"));
        }
        self.s.push_table(0, 0);
    }

    fn object(&mut self) {
        self.descend();
        let mut token = self.next();
        if matches!(token.what, What::ObjectEnd) {
            self.depth -= 1;
            return;
        }
        loop {
            if !matches!(token.what, What::String) {
                self.refuse("object key string", token);
            }
            self.push_string();
            token = self.next();
            if !matches!(token.what, What::Colon) {
                self.refuse("colon", token);
            }
            let value = self.next();
            self.value(value);
            self.s.raw_set(-3);
            token = self.next();
            match token.what {
                What::ObjectEnd => break,
                What::Comma => token = self.next(),
                _ => self.refuse("comma or object end", token),
            }
        }
        self.depth -= 1;
    }

    fn array(&mut self) {
        self.descend();
        if self.settings.array_mt != 0 {
            self.s.push_ref(self.s.context().json_array.get());
            self.s.set_metatable(-2);
        }
        let mut token = self.next();
        let mut index: c_int = 0;
        if matches!(token.what, What::ArrayEnd) {
            self.depth -= 1;
            return;
        }
        loop {
            self.value(token);
            index = index.saturating_add(1);
            self.s.raw_set_element(-2, index);
            token = self.next();
            match token.what {
                What::ArrayEnd => break,
                What::Comma => token = self.next(),
                _ => self.refuse("comma or array end", token),
            }
        }
        self.depth -= 1;
    }

    /// The byte `ahead` of the position; a NUL follows the text.
    fn byte(&self, ahead: usize) -> u8 {
        self.text.get(self.at.saturating_add(ahead)).copied().unwrap_or_default()
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads a token. The position stays at one that is wrong.
    fn next(&mut self) -> Token {
        while matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let what = match self.byte(0) {
            0 => return Token { what: What::End, at },
            b'{' => self.pass(1, What::ObjectBegin),
            b'}' => self.pass(1, What::ObjectEnd),
            b'[' => self.pass(1, What::ArrayBegin),
            b']' => self.pass(1, What::ArrayEnd),
            b',' => self.pass(1, What::Comma),
            b':' => self.pass(1, What::Colon),
            b'"' => match self.string() {
                Ok(()) => What::String,
                Err(text) => return Token { what: What::Wrong(text), at: self.at },
            },
            b'-' | b'0'..=b'9' if self.settings.decode_invalid == 0 && self.is_invalid_number() => What::Wrong("invalid number"),
            b'-' | b'0'..=b'9' => self.number(),
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' => self.word(),
            _ => What::Wrong("invalid token"),
        };
        Token { what, at }
    }

    fn pass(&mut self, len: usize, what: What) -> What {
        self.at += len;
        what
    }

    fn word(&mut self) -> What {
        if self.rest().starts_with(b"true") {
            self.pass(4, What::Boolean(true))
        } else if self.rest().starts_with(b"false") {
            self.pass(5, What::Boolean(false))
        } else if self.rest().starts_with(b"null") {
            self.pass(4, What::Null)
        } else if self.settings.decode_invalid != 0 && self.is_invalid_number() {
            self.number()
        } else {
            What::Wrong("invalid token")
        }
    }

    /// Whether a number can be read here that JSON does not have.
    fn is_invalid_number(&self) -> bool {
        let digits = usize::from(self.byte(0) == b'-');
        let after = self.byte(digits + 1);
        let named = self.text.get(self.at + digits..).and_then(|rest| rest.get(..3));
        match self.byte(digits) {
            _ if self.byte(0) == b'+' => true,
            b'0' => after.eq_ignore_ascii_case(&b'x') || after.is_ascii_digit(),
            _ => named.is_some_and(|name| name.eq_ignore_ascii_case(b"inf") || name.eq_ignore_ascii_case(b"nan")),
        }
    }

    fn number(&mut self) -> What {
        match strtod::number(self.rest()) {
            Some((value, len)) => self.pass(len, What::Number(value)),
            None => What::Wrong("invalid number"),
        }
    }

    /// Reads a string. The position stays where it is wrong.
    fn string(&mut self) -> Result<(), &'static str> {
        self.at += 1;
        let start = self.at;
        let mut end = self.plain();
        if self.byte(0) == b'"' {
            self.string = Piece::Plain(self.text.get(start..end).unwrap_or_default());
            self.at += 1;
            return Ok(());
        }
        self.unescaped.clear();
        let mut from = start;
        loop {
            self.unescaped.extend(self.text.get(from..end).unwrap_or_default());
            match self.byte(0) {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return Err("unexpected end of string"),
            }
            from = self.at;
            end = self.plain();
        }
        self.at += 1;
        self.string = Piece::Unescaped;
        Ok(())
    }

    /// Passes bytes that are not escaped and answers where they end.
    fn plain(&mut self) -> usize {
        let rest = self.rest();
        self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0)).unwrap_or(rest.len());
        self.at
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => return self.unicode().ok_or("invalid unicode escape code"),
            _ => return Err("invalid escape code"),
        };
        self.unescaped.extend(&[byte]);
        self.at += 2;
        Ok(())
    }

    /// Reads `\uXXXX`, or two of them for a surrogate pair.
    fn unicode(&mut self) -> Option<()> {
        let mut code = self.hex(2)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            let low = if self.byte(6) == b'\\' && self.byte(7) == b'u' { self.hex(8)? } else { return None };
            if code & 0x400 != 0 || low & 0xfc00 != 0xdc00 {
                return None;
            }
            code = ((code & 0x3ff) << 10 | (low & 0x3ff)) + 0x10000;
            len = 12;
        }
        let mut utf8 = [0; 4];
        self.unescaped.extend(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
        self.at += len;
        Some(())
    }

    /// The four hexadecimal digits `ahead`.
    fn hex(&self, ahead: usize) -> Option<u32> {
        (ahead..ahead + 4).try_fold(0, |code, place| Some(code << 4 | char::from(self.byte(place)).to_digit(16)?))
    }
}
