//! RESP2 and RESP3, the text of the server's replies: one reader for all that read it.
//!
//! A [`Reader`] borrows the text and takes one part after the other from its front. It allocates nothing, never reads past the end, and
//! returns `None` for text that no server writes. A length is only accepted if as many values can follow, so a caller may reserve memory
//! by it.

use super::number::parse_i64;

/// No value is shorter: a type, and CR LF.
const SHORTEST: usize = 3;

/// The first part of a value: a whole scalar, or the head of an aggregate, whose values follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// `+text`
    Status(&'a [u8]),
    /// `-text`, or `!len text`
    Error(&'a [u8]),
    /// `:number`
    Integer(i64),
    /// `$len text`
    Bulk(&'a [u8]),
    /// `$-1`, the null of RESP2
    Absent,
    /// `*-1`, the null array of RESP2
    AbsentArray,
    /// `_`, the null of RESP3
    Null,
    /// `#t` or `#f`
    Bool(bool),
    /// `,number`
    Double(&'a [u8]),
    /// `(digits`
    BigNumber(&'a [u8]),
    /// `=len fmt:text`
    Verbatim { format: &'a [u8], text: &'a [u8] },
    /// `*len`
    Array(usize),
    /// `~len`
    Set(usize),
    /// `>len`
    Push(usize),
    /// `%pairs`
    Map(usize),
    /// `|pairs`, and then the value that they describe
    Attributes(usize),
}

impl Part<'_> {
    /// The number of values that follow this part and belong to it. Attributes also have the value that they describe.
    fn inner(self) -> Option<usize> {
        match self {
            Self::Array(len) | Self::Set(len) | Self::Push(len) => Some(len),
            Self::Map(pairs) => pairs.checked_mul(2),
            Self::Attributes(pairs) => pairs.checked_mul(2)?.checked_add(1),
            _ => Some(0),
        }
    }
}

/// Whether the text is exactly one value whose aggregates are nested at most `max_depth` deep. Needs memory for `max_depth` numbers,
/// whatever the text says.
#[must_use]
pub fn is_one_value(text: &[u8], max_depth: usize) -> bool {
    let mut reader = Reader::new(text);
    // The number of values that each open aggregate still lacks, the innermost one last.
    let mut open = vec![1_usize];
    while let Some(left) = open.last_mut() {
        let Some(rest) = left.checked_sub(1) else {
            open.pop();
            continue;
        };
        *left = rest;
        match reader.part().and_then(Part::inner) {
            None => return false,
            Some(0) => {}
            Some(_) if open.len() > max_depth => return false,
            Some(inner) => open.push(inner),
        }
    }
    reader.is_at_end()
}

/// A position in protocol text.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Self(text)
    }

    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// The next part.
    #[inline]
    pub fn part(&mut self) -> Option<Part<'a>> {
        let (&kind, rest) = self.0.split_first()?;
        self.0 = rest;
        let line = self.line()?;
        Some(match kind {
            b'$' if line == b"-1" => Part::Absent,
            b'$' => Part::Bulk(self.text(line)?),
            b':' => Part::Integer(parse_i64(line)?),
            b'+' => Part::Status(line),
            b'*' if line == b"-1" => Part::AbsentArray,
            b'*' => Part::Array(self.count(line, 1)?),
            b'-' => Part::Error(line),
            b'_' => Part::Null,
            b'#' => Part::Bool(line == b"t"),
            b',' => Part::Double(line),
            b'(' => Part::BigNumber(line),
            b'=' => {
                let (format, text) = self.text(line)?.split_at_checked(3)?;
                Part::Verbatim { format, text: text.strip_prefix(b":")? }
            }
            b'%' => Part::Map(self.count(line, 2)?),
            b'~' => Part::Set(self.count(line, 1)?),
            b'>' => Part::Push(self.count(line, 1)?),
            b'|' => Part::Attributes(self.count(line, 2)?),
            b'!' => Part::Error(self.text(line)?),
            _ => return None,
        })
    }

    /// The next part as text: a bulk string, a verbatim string or a status.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        match self.part()? {
            Part::Bulk(text) | Part::Status(text) | Part::Verbatim { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn integer(&mut self) -> Option<i64> {
        match self.part()? {
            Part::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The number of values in the next part, an aggregate; a map has two for each pair, and RESP2's null has none.
    pub fn values(&mut self) -> Option<usize> {
        match self.part()? {
            Part::Absent | Part::AbsentArray => Some(0),
            Part::Array(len) | Part::Set(len) | Part::Push(len) => Some(len),
            Part::Map(pairs) => pairs.checked_mul(2),
            _ => None,
        }
    }

    /// The next value, an array of strings.
    pub fn strings(&mut self) -> Option<Vec<&'a [u8]>> {
        let len = self.values()?;
        (0..len).map(|_| self.string()).collect()
    }

    /// Skips `values` whole values, whatever they contain.
    pub fn skip(&mut self, values: usize) -> Option<()> {
        let mut left = values;
        while left > 0 {
            let inner = self.part()?.inner()?;
            left = left.checked_sub(1)?.checked_add(inner)?;
        }
        Some(())
    }

    /// The bytes up to CR LF.
    #[inline]
    fn line(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == b'\r')?;
        self.take(end)
    }

    /// As many bytes as `line` says.
    #[inline]
    fn text(&mut self, line: &[u8]) -> Option<&'a [u8]> {
        self.take(usize::try_from(parse_i64(line)?).ok()?)
    }

    /// `len` bytes, and the CR LF after them.
    #[inline]
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest.strip_prefix(b"\r\n")?;
        Some(taken)
    }

    /// The length of an aggregate with `values` values for each element, if the rest of the text can hold so many.
    #[inline]
    fn count(&self, line: &[u8], values: usize) -> Option<usize> {
        let len = usize::try_from(parse_i64(line)?).ok()?;
        (len.checked_mul(values)? <= self.0.len() / SHORTEST).then_some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &[u8]) -> Option<Vec<Part<'_>>> {
        let mut reader = Reader::new(text);
        let mut parts = Vec::new();
        while !reader.is_at_end() {
            parts.push(reader.part()?);
        }
        Some(parts)
    }

    #[test]
    fn every_type_is_read() {
        let verbatim = Part::Verbatim { format: b"txt", text: b"a b" };
        let rows: &[(&[u8], &[Part<'_>])] = &[
            (b"+OK\r\n", &[Part::Status(b"OK")]),
            (b"-ERR no\r\n!6\r\nERR\r\nx\r\n", &[Part::Error(b"ERR no"), Part::Error(b"ERR\r\nx")]),
            (b":-9223372036854775808\r\n", &[Part::Integer(i64::MIN)]),
            (b"$3\r\na\r\n\r\n$0\r\n\r\n", &[Part::Bulk(b"a\r\n"), Part::Bulk(b"")]),
            (b"$-1\r\n*-1\r\n_\r\n", &[Part::Absent, Part::AbsentArray, Part::Null]),
            (
                b"#t\r\n#f\r\n,1.5\r\n(12\r\n",
                &[Part::Bool(true), Part::Bool(false), Part::Double(b"1.5"), Part::BigNumber(b"12")],
            ),
            (b"=7\r\ntxt:a b\r\n", &[verbatim]),
            (b"*1\r\n:1\r\n~0\r\n>0\r\n", &[Part::Array(1), Part::Integer(1), Part::Set(0), Part::Push(0)]),
            (b"%1\r\n+k\r\n:1\r\n|0\r\n", &[Part::Map(1), Part::Status(b"k"), Part::Integer(1), Part::Attributes(0)]),
        ];
        for (text, expected) in rows {
            assert_eq!(parts(text).as_deref(), Some(*expected), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "+",
            "+OK",
            "+OK\n",
            "+OK\r",
            "?1\r\n",
            ":\r\n",
            ":1x\r\n",
            ":01\r\n",
            "$2\r\na\r\n",
            "$-2\r\n",
            "$1\r\nab\r\n",
            "=3\r\ntxt\r\n",
            "*1\r\n",
            "*9223372036854775807\r\n:1\r\n",
            "%1\r\n:1\r\n",
            "%9223372036854775807\r\n:1\r\n",
            "*-2\r\n",
        ] {
            assert_eq!(Reader::new(text.as_bytes()).part(), None, "{text:?}");
        }
    }

    #[test]
    fn a_skip_passes_over_whole_values() {
        let text = b"*2\r\n%1\r\n+k\r\n*1\r\n:1\r\n|1\r\n+a\r\n+b\r\n$1\r\nx\r\n:7\r\n";
        let mut reader = Reader::new(text);
        assert_eq!((reader.skip(1), reader.integer(), reader.is_at_end()), (Some(()), Some(7), true));
        for cut in 0..text.len().saturating_sub(4) {
            assert_eq!(text.get(..cut).and_then(|text| Reader::new(text).skip(1)), None, "the first {cut} bytes");
        }
    }

    #[test]
    fn one_value_is_complete_and_nested_no_deeper_than_the_limit() {
        let nested = |depth: usize| [b"*1\r\n".repeat(depth), b":1\r\n".to_vec()].concat();
        for (text, depth, expected) in [
            (b":1\r\n".to_vec(), 0, true),
            (b":1\r\n:2\r\n".to_vec(), 9, false),
            (b"".to_vec(), 9, false),
            (b"*0\r\n".to_vec(), 0, true),
            (b"*2\r\n*1\r\n:1\r\n*1\r\n:2\r\n".to_vec(), 2, true),
            (b"*2\r\n*1\r\n:1\r\n".to_vec(), 9, false),
            (b"%1\r\n+k\r\n*1\r\n:1\r\n".to_vec(), 2, true),
            (b"%1\r\n+k\r\n*1\r\n:1\r\n".to_vec(), 1, false),
            (b"|1\r\n+a\r\n+b\r\n$1\r\nx\r\n".to_vec(), 1, true),
            (b"|1\r\n+a\r\n+b\r\n".to_vec(), 1, false),
            (nested(128), 128, true),
            (nested(129), 128, false),
            (nested(200_000), 128, false),
        ] {
            assert_eq!(is_one_value(&text, depth), expected, "{} in {depth}", text.get(..40).unwrap_or(&text).escape_ascii());
        }
    }

    #[test]
    fn strings_and_counts_are_read_by_what_they_are() {
        assert_eq!(Reader::new(b"*2\r\n$1\r\na\r\n+b\r\n").strings(), Some(vec![b"a".as_slice(), b"b"]));
        assert_eq!(Reader::new(b"*-1\r\n").strings(), Some(vec![]));
        assert_eq!(Reader::new(b"*1\r\n:1\r\n").strings(), None);
        assert_eq!(Reader::new(b"%1\r\n+k\r\n+v\r\n").values(), Some(2));
        assert_eq!((Reader::new(b"+1\r\n").integer(), Reader::new(b":1\r\n").string()), (None, None));
    }
}
