//! The tokens of Lua 5.1, as `llex.c` reads them. A source that it would refuse is `NotLua51`; so is one with hexadecimal floats,
//! which Luau refuses. A long string may contain `[[`, as on some servers.

use std::ops::Range;

/// The source is not Lua 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotLua51;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name that is not a reserved word.
    Name,
    Number,
    /// A string in quotes.
    Quoted,
    /// A string in long brackets.
    Long,
    /// A reserved word or a symbol. Its text says which.
    Fixed,
    /// The end of the source.
    End,
}

/// A token with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a [u8],
    /// The offset of its first byte.
    pub start: usize,
    /// It is the first of its line.
    pub first_of_line: bool,
}

impl Token<'_> {
    /// Whether it is this reserved word or symbol.
    pub fn is(&self, text: &[u8]) -> bool {
        self.kind == TokenKind::Fixed && self.text == text
    }

    /// The precedence of a binary operator to its left and to its right.
    pub fn priorities(&self) -> Option<(u8, u8)> {
        if self.kind != TokenKind::Fixed {
            return None;
        }
        Some(match self.text {
            b"+" | b"-" => (6, 6),
            b"*" | b"/" | b"%" => (7, 7),
            b"^" => (10, 9),
            b".." => (5, 4),
            b"~=" | b"==" | b"<" | b"<=" | b">" | b">=" => (3, 3),
            b"and" => (2, 2),
            b"or" => (1, 1),
            _ => return None,
        })
    }

    /// The offset after its last byte.
    pub fn end(&self) -> usize {
        self.start.saturating_add(self.text.len())
    }
}

/// Reads the tokens of a source.
pub(super) struct Lexer<'a> {
    source: &'a [u8],
    at: usize,
}

fn is_reserved(name: &[u8]) -> bool {
    matches!(
        name,
        b"and"
            | b"break"
            | b"do"
            | b"else"
            | b"elseif"
            | b"end"
            | b"false"
            | b"for"
            | b"function"
            | b"if"
            | b"in"
            | b"local"
            | b"nil"
            | b"not"
            | b"or"
            | b"repeat"
            | b"return"
            | b"then"
            | b"true"
            | b"until"
            | b"while"
    )
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_newline(byte: u8) -> bool {
    byte == b'\n' || byte == b'\r'
}

impl<'a> Lexer<'a> {
    pub fn new(source: &'a [u8]) -> Self {
        Self { source, at: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.source.get(self.at.saturating_add(ahead)).copied()
    }

    fn slice(&self, range: Range<usize>) -> &'a [u8] {
        self.source.get(range).unwrap_or_default()
    }

    fn skip_while(&mut self, of: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&of) {
            self.at += 1;
        }
    }

    pub fn next(&mut self) -> Result<Token<'a>, NotLua51> {
        let first_of_line = self.skip_blanks()?;
        let start = self.at;
        let kind = match self.peek(0) {
            None => TokenKind::End,
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'_' => {
                self.skip_while(is_of_name);
                if is_reserved(self.slice(start..self.at)) { TokenKind::Fixed } else { TokenKind::Name }
            }
            Some(byte) if byte.is_ascii_digit() || (byte == b'.' && self.peek(1).is_some_and(|next| next.is_ascii_digit())) => {
                self.number()?;
                TokenKind::Number
            }
            Some(quote @ (b'"' | b'\'')) => {
                self.quoted(quote)?;
                TokenKind::Quoted
            }
            Some(b'[') if self.level().is_some() => {
                self.long_bracket()?;
                TokenKind::Long
            }
            Some(_) => {
                self.at += self.symbol()?;
                TokenKind::Fixed
            }
        };
        Ok(Token { kind, text: self.slice(start..self.at), start, first_of_line })
    }

    /// Skips blanks and comments. Answers whether a line ended there.
    fn skip_blanks(&mut self) -> Result<bool, NotLua51> {
        let mut line_ended = false;
        while let Some(byte) = self.peek(0) {
            if byte == b'-' && self.peek(1) == Some(b'-') {
                self.at += 2;
                let start = self.at;
                if self.peek(0) == Some(b'[') && self.level().is_some() {
                    self.long_bracket()?;
                } else {
                    self.skip_while(|byte| !is_newline(byte));
                }
                line_ended |= self.slice(start..self.at).iter().copied().any(is_newline);
            } else if byte.is_ascii_whitespace() || byte == 0x0b {
                line_ended |= is_newline(byte);
                self.at += 1;
            } else {
                break;
            }
        }
        Ok(line_ended)
    }

    fn number(&mut self) -> Result<(), NotLua51> {
        let start = self.at;
        self.skip_while(|byte| byte.is_ascii_digit() || byte == b'.');
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(0), Some(b'+' | b'-')) {
                self.at += 1;
            }
        }
        self.skip_while(is_of_name);
        value(self.slice(start..self.at)).map(drop).ok_or(NotLua51)
    }

    fn quoted(&mut self, quote: u8) -> Result<(), NotLua51> {
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(byte) if byte == quote => break self.at += 1,
                // A line end after a backslash may have two bytes.
                Some(b'\\') => {
                    let two = matches!((self.peek(1), self.peek(2)), (Some(b'\r'), Some(b'\n')) | (Some(b'\n'), Some(b'\r')));
                    self.at += if two { 3 } else { 2 };
                }
                None => return Err(NotLua51),
                Some(byte) if is_newline(byte) => return Err(NotLua51),
                Some(_) => self.at += 1,
            }
        }
        Ok(())
    }

    /// The number of `=` in the long bracket that opens here, if one does.
    fn level(&self) -> Option<usize> {
        let level = self.source.get(self.at.saturating_add(1)..)?.iter().take_while(|&&byte| byte == b'=').count();
        (self.peek(level.saturating_add(1)) == Some(b'[')).then_some(level)
    }

    fn long_bracket(&mut self) -> Result<(), NotLua51> {
        let level = self.level().ok_or(NotLua51)?;
        self.at += level.saturating_add(2);
        loop {
            match self.peek(0) {
                None => return Err(NotLua51),
                Some(b']') => {
                    let rest = self.source.get(self.at.saturating_add(1)..).unwrap_or_default();
                    let equals = rest.iter().take_while(|&&byte| byte == b'=').count();
                    self.at += equals.saturating_add(1);
                    if equals == level && self.peek(0) == Some(b']') {
                        self.at += 1;
                        return Ok(());
                    }
                }
                Some(_) => self.at += 1,
            }
        }
    }

    /// The length of the symbol here.
    fn symbol(&self) -> Result<usize, NotLua51> {
        let rest = self.source.get(self.at..).unwrap_or_default();
        match rest {
            [b'.', b'.', b'.', ..] => Ok(3),
            [b'.', b'.', ..] | [b'=' | b'~' | b'<' | b'>', b'=', ..] => Ok(2),
            [
                b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'#' | b'<' | b'>' | b'=' | b'(' | b')' | b'{' | b'}' | b'[' | b']'
                | b';' | b':' | b',' | b'.',
                ..,
            ] => Ok(1),
            _ => Err(NotLua51),
        }
    }
}

/// The value of a number.
pub(super) fn value(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let value = digits.bytes().try_fold(0.0, |value: f64, digit| {
            let digit = char::from(digit).to_digit(16)?;
            Some(value.mul_add(16.0, f64::from(digit)))
        });
        return value.filter(|_| !digits.is_empty());
    }
    // `inf` and `nan` cannot be here: a token of this kind starts with a digit or a point.
    text.parse().ok()
}
