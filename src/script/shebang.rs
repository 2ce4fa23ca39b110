//! The optional first line of a script: `#!lua` and options, as Redis 7 reads it.
//!
//! No flag is honoured yet, so every flag is refused: none is ever accepted and ignored.

use crate::error::{Error, Result};

/// What the compiler gets: the source without its first line, if that is a shebang, but with the line's end, so that the
/// numbers of lines stay right.
pub(super) fn strip(source: &[u8]) -> Result<&[u8]> {
    if !source.starts_with(b"#!") {
        return Ok(source);
    }
    let end = source.iter().position(|&b| b == b'\n').ok_or_else(|| refusal(b"Invalid script shebang", b""))?;
    let (line, code) = source.split_at_checked(end).unwrap_or((source, &[]));
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match words.next() {
        Some(b"#!lua") => {}
        engine => return Err(refusal(b"Unexpected engine in script shebang: ", engine.unwrap_or_default())),
    }
    words.try_for_each(check_option)?;
    Ok(code)
}

fn check_option(option: &[u8]) -> Result<()> {
    let flags = option.strip_prefix(b"flags=").ok_or_else(|| refusal(b"Unknown lua shebang option: ", option))?;
    match flags.split(|&b| b == b',').find(|flag| !flag.is_empty()) {
        Some(flag) => Err(refusal(b"Unexpected flag in script shebang: ", flag)),
        None => Ok(()),
    }
}

fn refusal(text: &[u8], what: &[u8]) -> Error {
    let what = what.get(..crate::error::QUOTED_BYTES).unwrap_or(what);
    Error::Script([b"ERR ", text, what].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: std::result::Result<&str, &str>) {
        let stripped = strip(source.as_bytes()).map_err(|e| e.wire());
        assert_eq!(stripped.as_ref().map(|s| std::str::from_utf8(s).unwrap()).map_err(String::as_str), expected);
    }

    #[test]
    fn lines_keep_their_numbers() {
        check("return 1", Ok("return 1"));
        check("#!lua\nreturn 1", Ok("\nreturn 1"));
        check("#!lua \t flags=\r\nreturn 1", Ok("\nreturn 1"));
        check("#!lua flags=,\n", Ok("\n"));
    }

    #[test]
    fn what_is_not_honoured_is_refused() {
        check("#!lua", Err("ERR Invalid script shebang"));
        check("#!js\nreturn 1", Err("ERR Unexpected engine in script shebang: #!js"));
        check("#!\nreturn 1", Err("ERR Unexpected engine in script shebang: #!"));
        check("#!lua name=x\nreturn 1", Err("ERR Unknown lua shebang option: name=x"));
        check("#!lua flags=foo\nreturn 1", Err("ERR Unexpected flag in script shebang: foo"));
        check("#!lua flags=no-writes,allow-oom\n", Err("ERR Unexpected flag in script shebang: no-writes"));
    }
}
