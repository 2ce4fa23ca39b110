//! Every error that a client can see, and the one renderer that turns it into wire text.
//!
//! A leaf: any layer may use it; it uses no other layer. Two rules hold for every text that it renders: the text starts with exactly
//! one code, and it is printable ASCII on one line. Client libraries read the code. The `redis-module` crate turns any other text into
//! NUL bytes, which abort the server, so nothing else in this crate may build an error reply.

use std::any::Any;
use std::fmt::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The most user bytes that an error text quotes.
pub const QUOTED_BYTES: usize = 64;

/// The most bytes shown of a message from this module or the compiler, or of a message for the log.
pub const MESSAGE_BYTES: usize = 4096;

/// No limit for [`printable`]. A script's error text is not cut here; the limit on replies bounds it.
pub const UNCUT: usize = usize::MAX;

pub type Result<T> = std::result::Result<T, Error>;

/// Why a request was wrong or could not run. A denied or failed condition is a reply, never an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// An option is unknown, repeated, contradictory or lacks its value.
    Syntax {
        /// The argument at which parsing stopped.
        near: Vec<u8>,
    },
    /// The command needs more arguments than it got.
    Arity,
    /// An argument is not an integer or lies outside its range.
    Range {
        /// The argument's documented name.
        argument: &'static str,
        min: i64,
        max: i64,
    },
    /// An argument is wrong in another way.
    Argument {
        /// The argument's documented name.
        argument: &'static str,
        /// The requirement, as "must be ...".
        expected: &'static str,
    },
    /// The key holds a type that the command does not accept.
    WrongType,
    /// The key holds a value that is not in the format that this command stores.
    ForeignValue { expected: &'static str },
    /// The server refused a change to the key.
    WriteRefused,
    /// A script tried to run a script.
    Recursion,
    /// A fixed text that includes its code.
    Text(&'static str),
    /// The script cache has no script with this digest.
    NoScript,
    /// The script must run on the server's own engine; the caller can hand it over.
    LeftToServer,
    /// A script failed. The text is sent in full, with `ERR ` before it if it has no code.
    Script(Vec<u8>),
    /// A panic was caught at an entry from C. The text is the panic's message.
    Internal(String),
}

impl Error {
    /// The error as it is sent, without the leading `-`: `CODE text`, printable ASCII, one line.
    #[must_use]
    pub fn wire(&self) -> String {
        match self {
            Self::Syntax { near } => format!("ERR syntax error near '{}'", quoted(near)),
            Self::Arity => "ERR wrong number of arguments".to_owned(),
            Self::Range { argument, min, max } => format!("ERR {argument} must be an integer between {min} and {max}"),
            Self::Argument { argument, expected } => format!("ERR {argument} {expected}"),
            Self::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned(),
            Self::ForeignValue { expected } => format!("WRONGTYPE key does not hold {expected}"),
            Self::WriteRefused => "ERR the server refused to change the key".to_owned(),
            Self::Recursion => "ERR a script cannot run a script".to_owned(),
            Self::Text(text) => (*text).to_owned(),
            Self::LeftToServer => "ERR this script is left to the server's own engine".to_owned(),
            Self::NoScript => "NOSCRIPT No matching script. Please use ATOMIC.EVAL.".to_owned(),
            Self::Script(text) => with_code(printable(text, UNCUT)),
            Self::Internal(text) => {
                format!("ERR internal error, please report it: {}", printable(text.as_bytes(), MESSAGE_BYTES))
            }
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire())
    }
}

impl std::error::Error for Error {}

/// User bytes for an error text, shortened to [`QUOTED_BYTES`] and escaped.
#[must_use]
pub fn quoted(bytes: &[u8]) -> String {
    printable(bytes, QUOTED_BYTES)
}

/// The first `limit` of `bytes` as printable ASCII on one line. `\r`, `\n` and `\t` are escaped by name, every other byte outside
/// 0x20..=0x7e as `\xNN`. `...` marks a cut.
#[must_use]
pub fn printable(bytes: &[u8], limit: usize) -> String {
    let shown = bytes.get(..limit).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len());
    for &byte in shown {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => {
                // Writing into a String cannot fail.
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    if shown.len() < bytes.len() {
        text.push_str("...");
    }
    text
}

/// Returns `text` if it starts with an error code: upper-case ASCII letters, digits and `_`, then a space or the end. Otherwise puts
/// `ERR ` before it.
fn with_code(text: String) -> String {
    let code = text.split(' ').next().unwrap_or_default();
    let is_code = code.starts_with(|c: char| c.is_ascii_uppercase())
        && code.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
    if is_code { text } else { format!("ERR {text}") }
}

/// Runs `work` and turns a panic into [`Error::Internal`].
pub fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Error::Internal(message(panic.as_ref()))))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[allow(clippy::panic)]
#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: Error, expected: &str) {
        assert_eq!(error.wire(), expected);
    }

    #[test]
    fn wire_texts_start_with_one_code() {
        check(Error::Syntax { near: b"FOO".to_vec() }, "ERR syntax error near 'FOO'");
        check(Error::Range { argument: "cost", min: 1, max: 9 }, "ERR cost must be an integer between 1 and 9");
        check(Error::Script(b"WRONGTYPE x".to_vec()), "WRONGTYPE x");
        check(Error::Script(b"my message".to_vec()), "ERR my message");
        check(Error::Script(b"".to_vec()), "ERR ");
        check(Error::Script(b"ERR".to_vec()), "ERR");
        check(Error::Script(b"Oops no code".to_vec()), "ERR Oops no code");
    }

    #[test]
    fn user_bytes_are_escaped_and_shortened() {
        check(
            Error::Syntax { near: "\u{4e00}\u{e9}\0\r\n".as_bytes().to_vec() },
            "ERR syntax error near '\\xe4\\xb8\\x80\\xc3\\xa9\\x00\\r\\n'",
        );
        check(Error::Syntax { near: vec![b'a'; 65] }, &format!("ERR syntax error near '{}...'", "a".repeat(64)));
        check(Error::Script("\u{4e00}".as_bytes().to_vec()), "ERR \\xe4\\xb8\\x80");
        check(Error::Script(vec![b'a'; 5000]), &format!("ERR {}", "a".repeat(5000)));
    }

    #[test]
    fn every_byte_renders_to_one_printable_line() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(printable(&all, 256).bytes().all(|b| (0x20..=0x7e).contains(&b)));
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let caught = guarded::<()>(|| panic!("\u{4e00}"));
        assert_eq!(caught.map_err(|error| error.wire()), Err("ERR internal error, please report it: \\xe4\\xb8\\x80".to_owned()));
    }

    #[test]
    fn a_result_passes_through() {
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        assert_eq!(guarded::<()>(|| Err(Error::Arity)), Err(Error::Arity));
    }
}
