//! The first line of a source, as Redis 7 reads it: `#!lua name=...` of a library, `#!lua flags=no-writes,...` of a script.

use crate::error::{Error, QUOTED_BYTES, Result};
use crate::lua::port::ScriptFlags;

/// The words of a first line.
#[derive(Debug, Clone, Copy)]
pub(in crate::lua) struct Shebang<'a> {
    line: &'a [u8],
}

impl<'a> Shebang<'a> {
    /// The first word, with its `#!`; `None` for an empty line.
    pub fn engine(self) -> Option<&'a [u8]> {
        self.words().next()
    }

    /// The words after the engine.
    pub fn options(self) -> impl Iterator<Item = &'a [u8]> {
        self.words().skip(1)
    }

    /// The name in the line `#!lua name=<name>`; `None` if the line has any other word.
    pub fn only_name(self) -> Option<&'a [u8]> {
        let mut options = self.options();
        let name = options.next()?.strip_prefix(b"name=")?;
        (self.engine() == Some(b"#!lua") && options.next().is_none()).then_some(name)
    }

    fn words(self) -> impl Iterator<Item = &'a [u8]> {
        self.line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
    }
}

/// The first line, and the code that the compiler gets. The code starts with the end of that line, so the numbers of lines stay
/// right.
pub(in crate::lua) fn split(source: &[u8]) -> (Shebang<'_>, &[u8]) {
    let end = source.iter().position(|&byte| byte == b'\n').unwrap_or(source.len());
    let (line, code) = source.split_at_checked(end).unwrap_or((source, &[]));
    (Shebang { line }, code)
}

/// Whether a source starts with a shebang.
pub(in crate::lua) fn is_present(source: &[u8]) -> bool {
    source.starts_with(b"#!")
}

/// A script without its optional first line, and the flags that the line declares.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::lua) struct Script<'a> {
    pub flags: Option<ScriptFlags>,
    pub code: &'a [u8],
}

pub(in crate::lua) fn read(source: &[u8]) -> Result<Script<'_>> {
    if !is_present(source) {
        return Ok(Script { flags: None, code: source });
    }
    let (shebang, code) = split(source);
    if code.is_empty() {
        return Err(refusal(b"Invalid script shebang", b""));
    }
    match shebang.engine() {
        Some(b"#!lua") => {}
        engine => return Err(refusal(b"Unexpected engine in script shebang: ", engine.unwrap_or_default())),
    }
    let mut flags = ScriptFlags::default();
    shebang.options().try_for_each(|option| read_option(option, &mut flags))?;
    Ok(Script { flags: Some(flags), code })
}

fn read_option(option: &[u8], flags: &mut ScriptFlags) -> Result<()> {
    let list = option.strip_prefix(b"flags=").ok_or_else(|| refusal(b"Unknown lua shebang option: ", option))?;
    if list.is_empty() {
        return Ok(());
    }
    list.split(|&b| b == b',')
        .try_for_each(|flag| if flags.set(flag) { Ok(()) } else { Err(refusal(b"Unexpected flag in script shebang: ", flag)) })
}

fn refusal(text: &[u8], what: &[u8]) -> Error {
    let what = what.get(..QUOTED_BYTES).unwrap_or(what);
    Error::Script([b"ERR ", text, what].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[track_caller]
    fn check(source: &str, expected: std::result::Result<(Option<ScriptFlags>, &str), &str>) {
        let script = read(source.as_bytes()).map_err(|e| e.wire());
        let script = script.as_ref().map(|s| (s.flags, std::str::from_utf8(s.code).unwrap())).map_err(String::as_str);
        assert_eq!(script, expected, "{source}");
    }

    #[test]
    fn lines_keep_their_numbers() {
        let none = Some(ScriptFlags::default());
        check("return 1", Ok((None, "return 1")));
        check("#!lua\nreturn 1", Ok((none, "\nreturn 1")));
        check("#!lua \t flags=\r\nreturn 1", Ok((none, "\nreturn 1")));
    }

    #[test]
    fn flags_add_up() {
        let flags = ScriptFlags { no_writes: true, allow_stale: true, ..ScriptFlags::default() };
        check("#!lua flags=no-writes,allow-stale\n", Ok((Some(flags), "\n")));
        check("#!lua flags=no-writes flags=allow-stale\n", Ok((Some(flags), "\n")));
        let all = ScriptFlags {
            no_writes: true,
            allow_oom: true,
            allow_stale: true,
            no_cluster: true,
            allow_cross_slot_keys: true,
            rollback: true,
        };
        check("#!lua flags=no-writes,allow-oom,allow-stale,no-cluster,allow-cross-slot-keys,rollback\n", Ok((Some(all), "\n")));
    }

    #[test]
    fn unknown_words_are_refused() {
        check("#!lua", Err("ERR Invalid script shebang"));
        check("#!js\nreturn 1", Err("ERR Unexpected engine in script shebang: #!js"));
        check("#!\nreturn 1", Err("ERR Unexpected engine in script shebang: #!"));
        check("#!lua name=x\nreturn 1", Err("ERR Unknown lua shebang option: name=x"));
        check("#!lua flags=foo\nreturn 1", Err("ERR Unexpected flag in script shebang: foo"));
        check("#!lua flags=,\n", Err("ERR Unexpected flag in script shebang: "));
        check("#!lua flags=no-writes,\n", Err("ERR Unexpected flag in script shebang: "));
    }

    #[test]
    fn a_name_alone_is_read() {
        for (line, name) in [
            ("#!lua name=a\nx", Some(&b"a"[..])),
            ("#!lua \t name=a_1  \nx", Some(b"a_1")),
            ("#!lua name=\nx", Some(b"")),
            ("#!lua name=a flags=no-writes\nx", None),
            ("#!lua\nx", None),
            ("#!js name=a\nx", None),
            ("name=a\nx", None),
            ("", None),
        ] {
            let (shebang, _) = split(line.as_bytes());
            assert_eq!(shebang.only_name(), name, "{line}");
        }
        assert_eq!(split(b"#!lua name=a\n\nx").1, b"\n\nx");
        assert_eq!(split(b"#!lua").1, b"");
    }
}
