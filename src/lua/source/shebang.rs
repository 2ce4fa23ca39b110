//! The optional first line of a script: `#!lua flags=no-writes,...`, as Redis 7 reads it.

use crate::error::{Error, Result};
use crate::lua::port::Flags;

/// A script as its first line splits it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lua) struct Header<'a> {
    /// The flags, if there is such a line.
    pub flags: Option<Flags>,
    /// What the compiler gets: the source without that line, but with the line's end, so that the numbers of lines stay right.
    pub code: &'a [u8],
}

/// Reads the first line.
pub(in crate::lua) fn read(source: &[u8]) -> Result<Header<'_>> {
    if !source.starts_with(b"#!") {
        return Ok(Header { flags: None, code: source });
    }
    let end = source.iter().position(|&b| b == b'\n').ok_or_else(|| refusal(b"Invalid script shebang", b""))?;
    let (line, code) = source.split_at_checked(end).unwrap_or((source, &[]));
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    match words.next() {
        Some(b"#!lua") => {}
        engine => return Err(refusal(b"Unexpected engine in script shebang: ", engine.unwrap_or_default())),
    }
    let mut flags = Flags::default();
    words.try_for_each(|option| read_option(option, &mut flags))?;
    Ok(Header { flags: Some(flags), code })
}

fn read_option(option: &[u8], flags: &mut Flags) -> Result<()> {
    let list = option.strip_prefix(b"flags=").ok_or_else(|| refusal(b"Unknown lua shebang option: ", option))?;
    if list.is_empty() {
        return Ok(());
    }
    list.split(|&b| b == b',')
        .try_for_each(|flag| if flags.set(flag) { Ok(()) } else { Err(refusal(b"Unexpected flag in script shebang: ", flag)) })
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
    fn check(source: &str, expected: std::result::Result<(Option<Flags>, &str), &str>) {
        let header = read(source.as_bytes()).map_err(|e| e.wire());
        let header = header.as_ref().map(|h| (h.flags, std::str::from_utf8(h.code).unwrap())).map_err(String::as_str);
        assert_eq!(header, expected, "{source}");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let none = Some(Flags::default());
        check("return 1", Ok((None, "return 1")));
        check("#!lua\nreturn 1", Ok((none, "\nreturn 1")));
        check("#!lua \t flags=\r\nreturn 1", Ok((none, "\nreturn 1")));
    }

    #[test]
    fn flags_add_up() {
        let flags = Flags { no_writes: true, allow_stale: true, ..Flags::default() };
        check("#!lua flags=no-writes,allow-stale\n", Ok((Some(flags), "\n")));
        check("#!lua flags=no-writes flags=allow-stale\n", Ok((Some(flags), "\n")));
        let all = Flags { no_writes: true, allow_oom: true, allow_stale: true, no_cluster: true, allow_cross_slot_keys: true };
        check("#!lua flags=no-writes,allow-oom,allow-stale,no-cluster,allow-cross-slot-keys\n", Ok((Some(all), "\n")));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        check("#!lua", Err("ERR Invalid script shebang"));
        check("#!js\nreturn 1", Err("ERR Unexpected engine in script shebang: #!js"));
        check("#!\nreturn 1", Err("ERR Unexpected engine in script shebang: #!"));
        check("#!lua name=x\nreturn 1", Err("ERR Unknown lua shebang option: name=x"));
        check("#!lua flags=foo\nreturn 1", Err("ERR Unexpected flag in script shebang: foo"));
        check("#!lua flags=,\n", Err("ERR Unexpected flag in script shebang: "));
        check("#!lua flags=no-writes,\n", Err("ERR Unexpected flag in script shebang: "));
    }
}
