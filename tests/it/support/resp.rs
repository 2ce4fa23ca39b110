//! A raw connection: sends bytes or arguments, reads exactly one reply, and keeps types apart that client libraries merge (status and bulk,
//! null and null array, map and flat array).

use std::fmt::{self, Write as _};
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::line::{argv, line, quoted};
use super::{DEADLINE, eventually};

/// One reply, as received.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `+OK`
    Status(String),
    /// `-ERR text` or a RESP3 blob error; the text keeps its code.
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Null,
    /// `*2`
    Array(Vec<Value>),
    /// `%1`
    Map(Vec<(Value, Value)>),
    /// `~2`
    Set(Vec<Value>),
    /// `,1.5`, as text: the digits as received.
    Double(String),
    /// `#t`
    Bool(bool),
    /// `(12345678901234567890`
    BigNumber(String),
    /// `=7\r\ntxt:abc`
    Verbatim(String, Vec<u8>),
    /// `>2`
    Push(Vec<Value>),
}

impl Value {
    /// A bulk string.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// `+OK`
    pub fn ok() -> Self {
        Self::Status("OK".to_owned())
    }

    /// An array of integers, the shape of most of the module's replies.
    pub fn integers(numbers: &[i64]) -> Self {
        Self::Array(numbers.iter().map(|&number| Self::Integer(number)).collect())
    }

    /// The text of an error reply; panics on any other.
    #[track_caller]
    pub fn error(&self) -> &str {
        if let Self::Error(text) = self { text } else { panic!("expected an error, got {self}") }
    }

    /// The number of an integer reply; panics on any other.
    #[track_caller]
    pub fn integer(&self) -> i64 {
        if let Self::Integer(number) = self { *number } else { panic!("expected an integer, got {self}") }
    }

    /// The elements of an array, set or push; panics on any other reply.
    #[track_caller]
    pub fn array(&self) -> &[Self] {
        let (Self::Array(items) | Self::Set(items) | Self::Push(items)) = self else { panic!("expected an array, got {self}") };
        items
    }

    /// The bytes of a bulk, status or verbatim string; panics on any other reply.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) | Self::Verbatim(_, bytes) => bytes,
            Self::Status(text) => text.as_bytes(),
            _ => panic!("expected a string, got {self}"),
        }
    }

    /// [`Value::bytes`] as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// The pairs of a map, or of a flat array of names and values as RESP2 sends it.
    #[track_caller]
    pub fn pairs(&self) -> Vec<(String, Self)> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(name, value)| (name.text(), value.clone())).collect(),
            _ => self.array().chunks_exact(2).map(|pair| (pair[0].text(), pair[1].clone())).collect(),
        }
    }

    /// The value under `name` in [`Value::pairs`].
    pub fn field(&self, name: &str) -> Option<Self> {
        self.pairs().into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }
}

impl Value {
    /// Appends the reply as the server sent it, with this word for each null: `$-1` in RESP2, also for a null array, and `_` in RESP3.
    pub fn encode(&self, null: &str, out: &mut Vec<u8>) {
        let bulk = |kind: char, bytes: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(format!("{kind}{}\r\n", bytes.len()).as_bytes());
            out.extend_from_slice(bytes);
            out.extend_from_slice(b"\r\n");
        };
        let items = |kind: char, items: &[Self], out: &mut Vec<u8>| {
            out.extend_from_slice(format!("{kind}{}\r\n", items.len()).as_bytes());
            items.iter().for_each(|item| item.encode(null, out));
        };
        match self {
            Self::Status(text) => out.extend_from_slice(format!("+{text}\r\n").as_bytes()),
            Self::Error(text) => out.extend_from_slice(format!("-{text}\r\n").as_bytes()),
            Self::Integer(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Self::Double(text) => out.extend_from_slice(format!(",{text}\r\n").as_bytes()),
            Self::Bool(truth) => out.extend_from_slice(if *truth { b"#t\r\n" } else { b"#f\r\n" }),
            Self::BigNumber(text) => out.extend_from_slice(format!("({text}\r\n").as_bytes()),
            Self::Null => out.extend_from_slice(format!("{null}\r\n").as_bytes()),
            Self::Bulk(bytes) => bulk('$', bytes, out),
            Self::Verbatim(format, bytes) => bulk('=', &[format.as_bytes(), b":", bytes].concat(), out),
            Self::Array(list) => items('*', list, out),
            Self::Set(list) => items('~', list, out),
            Self::Push(list) => items('>', list, out),
            Self::Map(pairs) => {
                out.extend_from_slice(format!("%{}\r\n", pairs.len()).as_bytes());
                pairs.iter().flat_map(|(name, value)| [name, value]).for_each(|item| item.encode(null, out));
            }
        }
    }
}

/// The reply as redis-cli prints it, for messages and transcripts.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        print(self, "", &mut text)?;
        f.write_str(text.trim_end_matches('\n'))
    }
}

fn print(value: &Value, indent: &str, out: &mut String) -> fmt::Result {
    match value {
        Value::Status(text) => writeln!(out, "{text}"),
        Value::Error(text) => writeln!(out, "(error) {text}"),
        Value::Integer(number) => writeln!(out, "(integer) {number}"),
        Value::Bulk(bytes) => writeln!(out, "{}", quoted(bytes)),
        Value::Null => writeln!(out, "(nil)"),
        Value::Double(text) => writeln!(out, "(double) {text}"),
        Value::Bool(truth) => writeln!(out, "({truth})"),
        Value::BigNumber(text) => writeln!(out, "{text}"),
        Value::Verbatim(_, bytes) => writeln!(out, "{}", String::from_utf8_lossy(bytes)),
        Value::Array(items) => print_items(items, ')', "array", indent, out),
        Value::Set(items) => print_items(items, '~', "set", indent, out),
        Value::Push(items) => print_items(items, '>', "push", indent, out),
        Value::Map(pairs) if pairs.is_empty() => writeln!(out, "(empty hash)"),
        Value::Map(pairs) => {
            let width = pairs.len().to_string().len();
            for (position, (name, inner)) in pairs.iter().enumerate() {
                let margin = if position == 0 { "" } else { indent };
                let mut key = String::new();
                print(name, "", &mut key)?;
                write!(out, "{margin}{:>width$}# {} => ", position + 1, key.trim_end())?;
                let deeper = format!("{indent}{}", " ".repeat(width + 2));
                if matches!(inner, Value::Array(items) if !items.is_empty()) || matches!(inner, Value::Map(_)) {
                    write!(out, "\n{deeper}")?;
                }
                print(inner, &deeper, out)?;
            }
            Ok(())
        }
    }
}

fn print_items(items: &[Value], mark: char, name: &str, indent: &str, out: &mut String) -> fmt::Result {
    if items.is_empty() {
        return writeln!(out, "(empty {name})");
    }
    let width = items.len().to_string().len();
    for (position, item) in items.iter().enumerate() {
        let margin = if position == 0 { "" } else { indent };
        write!(out, "{margin}{:>width$}{mark} ", position + 1)?;
        print(item, &format!("{indent}{}", " ".repeat(width + 2)), out)?;
    }
    Ok(())
}

/// A client connection. Starts in RESP2, as every connection does.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// Connects to a port of this machine.
    pub fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The socket, for a second thread.
    pub(super) fn socket(&self) -> TcpStream {
        self.stream.get_ref().try_clone().unwrap()
    }

    /// Switches to RESP3.
    #[track_caller]
    pub fn resp3(mut self) -> Self {
        let hello = self.run("HELLO 3");
        assert!(matches!(hello, Value::Map(_)), "HELLO 3 answered {hello}");
        self
    }

    /// Sets how long [`Connection::read`] waits; [`DEADLINE`] by default.
    pub fn set_timeout(&self, timeout: Duration) {
        self.stream.get_ref().set_read_timeout(Some(timeout)).unwrap();
    }

    /// Sends raw bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.get_ref().write_all(bytes)
    }

    /// Sends a command without reading its reply.
    pub fn send(&mut self, arguments: &[impl AsRef<[u8]>]) -> Result<()> {
        self.send_raw(&encode(arguments))
    }

    /// Sends a command and reads its reply. Panics when the connection breaks or nothing comes in time.
    #[track_caller]
    pub fn call(&mut self, arguments: &[impl AsRef<[u8]>]) -> Value {
        let result = self.send(arguments).and_then(|()| self.read());
        let shown: Vec<Vec<u8>> = arguments.iter().map(|argument| argument.as_ref().to_vec()).collect();
        result.unwrap_or_else(|error| panic!("{}: {error}", line(&shown)))
    }

    /// [`Connection::call`] for a line as typed into redis-cli: `run(r#"SET k "\xff""#)`.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Value {
        self.call(&argv(command))
    }

    /// Reads exactly one reply. A malformed one is `InvalidData`.
    pub fn read(&mut self) -> Result<Value> {
        let header = self.read_line()?;
        let (&kind, rest) = header.split_first().ok_or_else(|| malformed("an empty line"))?;
        let text = || String::from_utf8_lossy(rest).into_owned();
        Ok(match kind {
            b'+' => Value::Status(text()),
            b'-' => Value::Error(text()),
            b':' => Value::Integer(number(rest)?),
            b',' => Value::Double(text()),
            b'(' => Value::BigNumber(text()),
            b'_' if rest.is_empty() => Value::Null,
            b'#' if rest == b"t" => Value::Bool(true),
            b'#' if rest == b"f" => Value::Bool(false),
            b'$' | b'*' if rest == b"-1" => Value::Null,
            b'$' => Value::Bulk(self.read_bulk(rest)?),
            b'!' => Value::Error(String::from_utf8_lossy(&self.read_bulk(rest)?).into_owned()),
            b'=' => {
                let bytes = self.read_bulk(rest)?;
                let (format, body) = bytes.split_at_checked(4).ok_or_else(|| malformed("a verbatim string without format"))?;
                Value::Verbatim(String::from_utf8_lossy(&format[..3]).into_owned(), body.to_vec())
            }
            b'*' => Value::Array(self.read_many(rest)?),
            b'~' => Value::Set(self.read_many(rest)?),
            b'>' => Value::Push(self.read_many(rest)?),
            b'%' => {
                let entries = number(rest)?;
                Value::Map((0..entries).map(|_| Ok((self.read()?, self.read()?))).collect::<Result<_>>()?)
            }
            _ => return Err(malformed(&quoted(&header))),
        })
    }

    /// True once the server closed the connection.
    pub fn is_closed(&mut self) -> bool {
        match self.wait_for_input(Duration::from_millis(20)) {
            Ok(bytes) => bytes == Some(0),
            Err(_) => true,
        }
    }

    /// Waits until the next reply begins to arrive; false when nothing came in time. Consumes nothing.
    pub fn has_input(&mut self, timeout: Duration) -> bool {
        !matches!(self.wait_for_input(timeout), Ok(None))
    }

    /// The number of readable bytes, 0 at the end of the connection, `None` when nothing came in time.
    fn wait_for_input(&mut self, timeout: Duration) -> Result<Option<usize>> {
        // The system has no timeout of zero.
        self.set_timeout(timeout.max(Duration::from_millis(1)));
        let outcome = match self.stream.fill_buf() {
            Ok(bytes) => Ok(Some(bytes.len())),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
            Err(error) => Err(error),
        };
        self.set_timeout(DEADLINE);
        outcome
    }

    /// Waits until the server closes the connection.
    pub fn expect_close(&mut self) {
        eventually("the connection is closed", || self.is_closed().then_some(()));
    }

    pub fn read_exact(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn read_line(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_until(b'\n', &mut bytes)?;
        match bytes.strip_suffix(b"\r\n") {
            Some(text) => Ok(text.to_vec()),
            None if bytes.is_empty() => Err(Error::new(ErrorKind::UnexpectedEof, "the server closed the connection")),
            None => Err(malformed(&quoted(&bytes))),
        }
    }

    pub(super) fn read_until(&mut self, end: u8) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_until(end, &mut bytes)?;
        Ok(bytes)
    }

    fn read_bulk(&mut self, length: &[u8]) -> Result<Vec<u8>> {
        let length = usize::try_from(number(length)?).map_err(|_| malformed("a negative length"))?;
        let mut bytes = self.read_exact(length + 2)?;
        if !bytes.ends_with(b"\r\n") {
            return Err(malformed("a bulk string without end"));
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    fn read_many(&mut self, count: &[u8]) -> Result<Vec<Value>> {
        (0..number(count)?).map(|_| self.read()).collect()
    }
}

/// A command in the wire protocol.
pub fn encode(arguments: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.as_ref().len()).as_bytes());
        bytes.extend_from_slice(argument.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn number(digits: &[u8]) -> Result<i64> {
    std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()).ok_or_else(|| malformed(&quoted(digits)))
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed reply: {what}"))
}
