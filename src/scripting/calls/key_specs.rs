//! The keys of a call by its command's key specs, which `COMMAND INFO` gives: which of them the command writes.
//!
//! Rollback saves what this file finds, so a key too many costs memory and a key too few breaks the promise. In doubt a key counts as
//! written: every occurrence of a keyword counts, since the server's commands take the first or the last one.

use super::keys::Keys;
use crate::primitives::resp::Reader;
use crate::server::args::{is, parse_i64};
use crate::server::module_api::Ctx;

/// The key specs of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeySpecs {
    specs: Vec<KeySpec>,
    /// Some keys are described by no spec: only the command itself finds them.
    incomplete: bool,
    /// A spec, complete or not, is of keys that the command may write.
    writes: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct KeySpec {
    writes: bool,
    begin: Begin,
    find: Find,
}

/// Where the keys begin.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    Word(usize),
    /// After this word, which stands at this position or later. The server searches backwards from a negative position.
    Keyword(Box<[u8]>, i64),
}

/// The keys, counted from the first.
#[derive(Debug, PartialEq, Eq)]
enum Find {
    Range {
        /// A negative one counts from the end of the call.
        last: i64,
        step: usize,
        /// The keys are the first half of the rest (2), the first third (3), and so on; 0 and 1 are all of it.
        limit: usize,
    },
    Counted {
        /// The word with the number of keys.
        count: usize,
        first: usize,
        step: usize,
    },
}

/// The use of keys by one call.
#[derive(Debug, Default)]
pub(super) struct Used<'w> {
    pub all: Vec<&'w [u8]>,
    pub written: Vec<&'w [u8]>,
}

/// A map in RESP2: its names, each with a reader at its value.
fn fields<'a>(reader: &mut Reader<'a>) -> Option<Vec<(&'a [u8], Reader<'a>)>> {
    let values = reader.values()?;
    let field = |_| {
        let (name, value) = (reader.string()?, *reader);
        reader.skip(1)?;
        Some((name, value))
    };
    (0..values / 2).map(field).collect()
}

/// The `type` and the numbers and words of `spec` in a part of a key spec.
struct SpecPart<'a> {
    kind: &'a [u8],
    fields: Vec<(&'a [u8], Reader<'a>)>,
}

impl<'a> SpecPart<'a> {
    fn read(mut reader: Reader<'a>) -> Option<Self> {
        let outer = fields(&mut reader)?;
        let value = |name: &[u8]| outer.iter().find(|field| field.0 == name).map(|field| field.1);
        Some(Self { kind: value(b"type")?.string()?, fields: fields(&mut value(b"spec")?)? })
    }

    fn value(&self, name: &[u8]) -> Option<Reader<'a>> {
        self.fields.iter().find(|field| field.0 == name).map(|field| field.1)
    }

    fn number(&self, name: &[u8]) -> Option<i64> {
        self.value(name)?.integer()
    }

    fn count(&self, name: &[u8]) -> Option<usize> {
        usize::try_from(self.number(name)?).ok()
    }

    fn begin(&self) -> Option<Begin> {
        match self.kind {
            b"index" => Some(Begin::Word(self.count(b"index")?)),
            b"keyword" => Some(Begin::Keyword(self.value(b"keyword")?.string()?.into(), self.number(b"startfrom")?)),
            _ => None,
        }
    }

    fn find(&self) -> Option<Find> {
        match self.kind {
            b"range" => Some(Find::Range {
                last: self.number(b"lastkey")?,
                step: self.count(b"keystep")?.max(1),
                limit: self.count(b"limit")?,
            }),
            b"keynum" => Some(Find::Counted {
                count: self.count(b"keynumidx")?,
                first: self.count(b"firstkey")?,
                step: self.count(b"keystep")?.max(1),
            }),
            _ => None,
        }
    }
}

impl KeySpecs {
    /// Reads the reply of `COMMAND INFO` about one command.
    pub fn of(information: &[u8]) -> Self {
        // What cannot be read is unknown.
        Self::read(information).unwrap_or(Self { incomplete: true, ..Self::default() })
    }

    fn read(information: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(information);
        reader.values().zip(reader.values())?;
        // Name, arity, flags, first key, last key, step, categories and tips.
        reader.skip(8)?;
        let mut all = Self::default();
        for _ in 0..reader.values()? {
            all.add(&fields(&mut reader)?)?;
        }
        Some(all)
    }

    fn add(&mut self, spec: &[(&[u8], Reader<'_>)]) -> Option<()> {
        let value = |name: &[u8]| spec.iter().find(|field| field.0 == name).map(|field| field.1);
        let flags = value(b"flags")?.strings()?;
        let has = |flag: &str| flags.iter().any(|word| is(word, flag));
        // The channel of SPUBLISH.
        if has("not_key") {
            return Some(());
        }
        let writes = !has("RO");
        self.writes |= writes;
        self.incomplete |= has("incomplete");
        match (SpecPart::read(value(b"begin_search")?)?.begin(), SpecPart::read(value(b"find_keys")?)?.find()) {
            (Some(begin), Some(find)) => self.specs.push(KeySpec { writes, begin, find }),
            _ => self.incomplete = true,
        }
        Some(())
    }

    /// Whether the command has no keys that anyone knows of.
    pub fn are_none(&self) -> bool {
        self.specs.is_empty() && !self.incomplete
    }

    /// Whether the command may write a key, whatever its flags say: PFCOUNT does.
    pub fn write(&self) -> bool {
        self.writes
    }

    /// The keys of a call of a command. `write` says that it is a command that writes: without a spec of written keys it writes all
    /// (XREADGROUP).
    pub fn find<'w>(&self, ctx: Ctx, keys: Keys, argv: &[&'w [u8]], write: bool) -> Used<'w> {
        let mut used = self.described(argv);
        if self.incomplete {
            let others = keys.find(ctx, argv).into_iter().filter(|key| !used.all.iter().any(|known| std::ptr::eq(*known, *key)));
            let others: Vec<_> = others.collect();
            used.all.extend(&others);
            used.written.extend(others);
        }
        if write && !self.writes {
            used.written.clone_from(&used.all);
        }
        used
    }

    /// The keys that specs describe.
    fn described<'w>(&self, argv: &[&'w [u8]]) -> Used<'w> {
        let mut used = Used::default();
        for spec in &self.specs {
            for first in spec.begin.places(argv) {
                let keys = spec.find.places(argv, first).filter_map(|place| argv.get(place).copied());
                for key in keys {
                    used.all.push(key);
                    if spec.writes {
                        used.written.push(key);
                    }
                }
            }
        }
        used
    }
}

impl Begin {
    /// The places where keys may begin.
    fn places(&self, argv: &[&[u8]]) -> Vec<usize> {
        match self {
            Self::Word(at) => vec![*at],
            Self::Keyword(word, from) => {
                let from = usize::try_from(*from).unwrap_or(1);
                let places = (from..argv.len()).filter(|&at| argv.get(at).is_some_and(|found| found.eq_ignore_ascii_case(word)));
                places.map(|at| at.saturating_add(1)).collect()
            }
        }
    }
}

impl Find {
    /// The places of the keys, some of which may be beyond the end of a call with too few words.
    fn places(&self, argv: &[&[u8]], first: usize) -> std::iter::StepBy<std::ops::Range<usize>> {
        let words = argv.len();
        let (first, end, step) = match *self {
            Self::Range { last, step, .. } if last >= 0 => {
                let last = usize::try_from(last).unwrap_or(words);
                (first, first.saturating_add(last).saturating_add(1), step)
            }
            Self::Range { last, step, limit } => {
                let rest = words.saturating_sub(first);
                let back = usize::try_from(last.unsigned_abs()).unwrap_or(words).saturating_sub(1);
                let end = if limit > 1 { first.saturating_add(rest / limit) } else { words };
                (first, end.saturating_sub(back), step)
            }
            Self::Counted { count, first: ahead, step } => {
                let count = argv.get(first.saturating_add(count)).and_then(|count| parse_i64(count));
                let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0);
                let first = first.saturating_add(ahead);
                (first, first.saturating_add(count.saturating_mul(step)), step)
            }
        };
        (first..end.min(words).max(first)).step_by(step)
    }
}

#[allow(clippy::indexing_slicing)]
#[cfg(test)]
mod tests {
    use super::*;

    fn spec(writes: bool, begin: Begin, find: Find) -> KeySpec {
        KeySpec { writes, begin, find }
    }

    fn word(at: usize) -> Begin {
        Begin::Word(at)
    }

    fn keyword(word: &str, from: i64) -> Begin {
        Begin::Keyword(word.as_bytes().into(), from)
    }

    const ONE: Find = Find::Range { last: 0, step: 1, limit: 0 };

    fn check(specs: Vec<KeySpec>, call: &str, all: &str, written: &str) {
        let writes = specs.iter().any(|spec| spec.writes);
        let specs = KeySpecs { specs, incomplete: false, writes };
        let argv: Vec<&[u8]> = call.split(' ').map(str::as_bytes).collect();
        let used = specs.described(&argv);
        let text = |keys: &[&[u8]]| String::from_utf8_lossy(&keys.join(&b' ')).into_owned();
        assert_eq!((text(&used.all), text(&used.written)), (all.to_owned(), written.to_owned()), "{call}");
    }

    #[test]
    fn keys_are_where_the_specs_say() {
        check(vec![spec(true, word(1), ONE)], "SET k v", "k", "k");
        check(vec![spec(true, word(1), ONE)], "SET", "", "");
        check(vec![spec(true, word(1), Find::Range { last: -1, step: 2, limit: 0 })], "MSET a 1 b 2", "a b", "a b");
        check(vec![spec(true, word(1), Find::Range { last: -2, step: 1, limit: 0 })], "BLPOP a b 0", "a b", "a b");
        let numbered = Find::Counted { count: 0, first: 1, step: 1 };
        let store = || vec![spec(true, word(1), ONE), spec(false, word(2), Find::Counted { count: 0, first: 1, step: 1 })];
        check(store(), "ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b", "d");
        check(store(), "ZUNIONSTORE d 9 a b", "d a b", "d");
        check(store(), "ZUNIONSTORE d x a b", "d", "d");
        check(vec![spec(true, word(1), numbered)], "LMPOP -1 a LEFT", "", "");
        let streams = || spec(false, keyword("STREAMS", 4), Find::Range { last: -1, step: 1, limit: 2 });
        check(vec![streams()], "XREADGROUP GROUP g c COUNT 1 streams a b > >", "a b", "");
        let geo =
            || vec![spec(false, word(1), ONE), spec(true, keyword("STORE", 6), ONE), spec(true, keyword("STOREDIST", 6), ONE)];
        check(geo(), "GEORADIUS k 1 2 3 m", "k", "");
        check(geo(), "GEORADIUS k 1 2 3 m STORE a store b", "k a b", "a b");
    }

    #[test]
    fn the_reply_of_the_server_is_read() {
        let head = "*1\r\n*10\r\n$4\r\nsort\r\n:-2\r\n*1\r\n+write\r\n:1\r\n:1\r\n:1\r\n*0\r\n*0\r\n";
        let text = |words: &[&str]| words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect::<String>();
        let flags = |flags: &[&str]| {
            format!(
                "{}*{}\r\n{}",
                text(&["flags"]),
                flags.len(),
                flags.iter().map(|flag| format!("+{flag}\r\n")).collect::<String>()
            )
        };
        let part = |name: &str, kind: &str, fields: &[(&str, &str)]| {
            let inner: String = fields.iter().map(|(name, value)| text(&[name]) + value).collect();
            format!("{}*4\r\n{}*{}\r\n{inner}", text(&[name]), text(&["type", kind, "spec"]), fields.len() * 2)
        };
        let range = part("find_keys", "range", &[("lastkey", ":0\r\n"), ("keystep", ":1\r\n"), ("limit", ":0\r\n")]);
        let first = format!("*6\r\n{}{}{range}", flags(&["RO", "access"]), part("begin_search", "index", &[("index", ":1\r\n")]));
        let unknown = format!(
            "*8\r\n{}{}{}{}",
            text(&["notes", "any"]),
            flags(&["OW", "update"]),
            part("begin_search", "unknown", &[]),
            part("find_keys", "unknown", &[])
        );
        let sort = KeySpecs::of(format!("{head}*2\r\n{first}{unknown}*0\r\n").as_bytes());
        assert_eq!(sort, KeySpecs { specs: vec![spec(false, word(1), ONE)], incomplete: true, writes: true });
        let store = part("begin_search", "keyword", &[("keyword", "$5\r\nSTORE\r\n"), ("startfrom", ":6\r\n")]);
        let geo = KeySpecs::of(format!("{head}*1\r\n*6\r\n{}{store}{range}*0\r\n", flags(&["OW", "update"])).as_bytes());
        assert_eq!(geo, KeySpecs { specs: vec![spec(true, keyword("STORE", 6), ONE)], incomplete: false, writes: true });
        assert!(KeySpecs::of(format!("{head}*0\r\n*0\r\n").as_bytes()).are_none());
        assert!(KeySpecs::of(head.as_bytes()).incomplete);
    }
}
