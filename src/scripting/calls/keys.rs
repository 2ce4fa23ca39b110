//! Finds the keys among the words of a command.
//!
//! `COMMAND INFO` gives the key positions of most commands, once. For a command with movable keys, the server is asked at each call.

use std::ffi::c_int;
use std::slice;

use redis_module::raw;

use crate::server::args::{is, parse_i64};
use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr, api};

/// Commands that declare no keys but use those of all slots.
const OVER_ALL: &[&str] = &["keys", "scan", "clusterscan", "randomkey", "flushall", "flushdb"];

/// Where the keys of a command are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    None,
    /// First, last and step. A negative last counts from the end.
    Range(usize, i64, usize),
    /// The module API finds them.
    Api,
    /// `COMMAND GETKEYS` finds them: the module API does not know the key specs of other modules.
    Specs,
    /// The command uses the keys of all slots.
    OverAll,
}

impl Keys {
    /// Reads the reply of `COMMAND INFO` about one command.
    pub fn of(name: &[u8], information: &[u8]) -> Self {
        if OVER_ALL.iter().any(|command| is(name, command)) {
            return Self::OverAll;
        }
        let has = |flag: &[u8]| information.windows(flag.len()).any(|part| part == flag);
        if has(b"+movablekeys\r\n") {
            return if has(b"+module\r\n") { Self::Specs } else { Self::Api };
        }
        // The channel of SPUBLISH counts as a key there.
        if has(b"+not_key\r\n") { Self::Api } else { range(information).unwrap_or(Self::Api) }
    }

    /// The keys of a call.
    pub fn find<'a>(self, ctx: Ctx, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        match self {
            Self::None | Self::OverAll => Vec::new(),
            Self::Range(first, last, step) => in_range(argv, first, last).iter().step_by(step).copied().collect(),
            Self::Api => ctx.keys_of(argv),
            Self::Specs => ctx.specified_keys_of(argv),
        }
    }
}

/// The words from the first to the last one that exists. A negative last counts from the end.
fn in_range<'w, 'a>(argv: &'w [&'a [u8]], first: usize, last: i64) -> &'w [&'a [u8]] {
    let last = isize::try_from(last)
        .ok()
        .and_then(|last| if last < 0 { argv.len().checked_add_signed(last) } else { last.try_into().ok() });
    last.and_then(|last| argv.get(first..last.saturating_add(1).min(argv.len()))).unwrap_or_default()
}

/// The range in an answer of `COMMAND INFO`: `*1 *10 $len name :arity *count +flag... :first :last :step`.
fn range(information: &[u8]) -> Option<Keys> {
    let mut lines = information.split(|&byte| byte == b'\n').skip(5).map(<[u8]>::trim_ascii_end);
    let flags = parse_i64(lines.next()?.strip_prefix(b"*")?)?;
    let mut numbers = lines.skip(usize::try_from(flags).ok()?).map_while(|line| parse_i64(line.strip_prefix(b":")?));
    match (numbers.next()?, numbers.next()?, numbers.next()?) {
        (0, ..) => Some(Keys::None),
        (first, last, step) => Some(Keys::Range(usize::try_from(first).ok()?, last, usize::try_from(step).ok()?.max(1))),
    }
}

impl Ctx {
    /// The keys among the words of a command, as the module API tells.
    pub(super) fn keys_of<'a>(self, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let strings: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        let words = OwnedStr::slice_as_str(&strings);
        let mut count: c_int = 0;
        // SAFETY: the server reads the words; what it answers is an array of `count` integers, or null, that we free.
        unsafe {
            let words = words.as_ptr().cast_mut().cast::<*mut raw::RedisModuleString>();
            let found = api!(RedisModule_GetCommandKeys)(
                self.raw(),
                words,
                c_int::try_from(argv.len()).unwrap_or(c_int::MAX),
                &raw mut count,
            );
            if found.is_null() {
                return Vec::new();
            }
            let positions = slice::from_raw_parts(found, usize::try_from(count).unwrap_or(0));
            let keys = positions.iter().filter_map(|&at| argv.get(usize::try_from(at).ok()?).copied()).collect();
            api!(RedisModule_Free)(found.cast());
            keys
        }
    }

    /// The keys among the words of a command, by its key specs. The answer of the server are their texts; what stands for a word of the
    /// command is enough.
    fn specified_keys_of<'a>(self, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let words: Vec<_> = [b"GETKEYS".as_slice()].iter().chain(argv).map(|word| OwnedStr::new(word)).collect();
        let reply = CallReply::of(self, c"COMMAND", c"vE", &words);
        let Some(mut rest) = reply.text().strip_prefix(b"*") else { return Vec::new() };
        let mut keys = Vec::new();
        let line = |rest: &mut &[u8]| -> Option<usize> {
            let end = rest.windows(2).position(|end| end == b"\r\n")?;
            let number = parse_i64(rest.get(..end)?.trim_ascii_start())?;
            *rest = rest.get(end.checked_add(2)?..)?;
            usize::try_from(number).ok()
        };
        let Some(count) = line(&mut rest) else { return keys };
        for _ in 0..count {
            let Some(text) = rest.strip_prefix(b"$") else { break };
            rest = text;
            let Some((key, behind)) = line(&mut rest).and_then(|len| rest.split_at_checked(len)) else { break };
            keys.extend(argv.iter().copied().find(|word| *word == key));
            rest = behind.strip_prefix(b"\r\n").unwrap_or_default();
        }
        keys
    }
}

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    fn information(flags: &[&str], numbers: [i64; 3]) -> Vec<u8> {
        let flags = format!("*{}\r\n{}", flags.len(), flags.iter().map(|flag| format!("+{flag}\r\n")).collect::<String>());
        let [first, last, step] = numbers;
        format!("*1\r\n*10\r\n$3\r\nget\r\n:2\r\n{flags}:{first}\r\n:{last}\r\n:{step}\r\n*1\r\n+@read\r\n").into_bytes()
    }

    #[test]
    fn where_keys_are_is_what_the_server_says() {
        for (name, flags, numbers, expected) in [
            ("get", &["readonly", "fast"][..], [1, 1, 1], Keys::Range(1, 1, 1)),
            ("mset", &["write"], [1, -1, 2], Keys::Range(1, -1, 2)),
            ("ping", &["fast"], [0, 0, 0], Keys::None),
            ("ping", &[], [0, 0, 0], Keys::None),
            ("SCAN", &["readonly"], [0, 0, 0], Keys::OverAll),
            ("xread", &["readonly", "movablekeys"], [0, 0, 0], Keys::Api),
            ("x.y", &["module", "movablekeys"], [1, 1, 1], Keys::Specs),
        ] {
            assert_eq!(Keys::of(name.as_bytes(), &information(flags, numbers)), expected, "{name}");
        }
        assert_eq!(Keys::of(b"get", b"*1\r\n*10\r\n"), Keys::Api);
    }

    #[test]
    fn a_range_is_within_the_words() {
        let argv: Vec<&[u8]> = vec![b"MSET", b"a", b"1", b"b", b"2"];
        for (first, last, expected) in [
            (1, 1, vec![b"a".as_slice()]),
            (1, -1, vec![b"a", b"1", b"b", b"2"]),
            (1, -2, vec![b"a", b"1", b"b"]),
            (3, 9, vec![b"b", b"2"]),
            (5, 5, vec![]),
            (9, 9, vec![]),
            (1, -9, vec![]),
            (3, -4, vec![]),
        ] {
            assert_eq!(in_range(&argv, first, last), expected, "{first} {last}");
        }
    }
}
