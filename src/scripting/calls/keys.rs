//! Finds the keys among the words of a command.
//!
//! `COMMAND INFO` gives the key positions of most commands, once. For a command with movable keys, the server is asked at each call.

use crate::primitives::resp::Reader;
use crate::server::args::is;
use crate::server::module_api::Ctx;

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

/// The range in a reply of `COMMAND INFO`: name, arity, flags, first, last, step.
fn range(information: &[u8]) -> Option<Keys> {
    let mut reader = Reader::new(information);
    reader.values().zip(reader.values())?;
    // Name and arity, then the flags.
    reader.skip(2)?;
    let flags = reader.values()?;
    reader.skip(flags)?;
    match (reader.integer()?, reader.integer()?, reader.integer()?) {
        (0, ..) => Some(Keys::None),
        (first, last, step) => Some(Keys::Range(usize::try_from(first).ok()?, last, usize::try_from(step).ok()?.max(1))),
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
