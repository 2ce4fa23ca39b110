//! The declaration of a scripted command, as a command file makes it with `redis.register_command`.
//!
//! `api/register_command` reads the Lua table into [`Fields`]. All their rules are here; an error says what was expected. The
//! words of a call are counted from 0, the name of the command, so the first argument is word 1.

use std::ffi::{CStr, CString};

/// The most commands: each takes a place in the server's tables, and the ACL table has about a thousand.
pub const MOST_COMMANDS: usize = 256;

/// The longest name of a command, in bytes.
pub const NAME_BYTES: usize = 64;
/// The longest text of the docs, in bytes.
const TEXT_BYTES: usize = 1024;
/// The largest arity and position.
const MOST_WORDS: i32 = 1024;

/// A declared command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Its name, in lower case.
    pub name: CString,
    /// For the docs, as `complexity` and `since`. Empty if the file declares none.
    pub summary: CString,
    pub complexity: CString,
    pub since: CString,
    /// The number of words of a call; negative for "at least".
    pub arity: i32,
    pub keys: Positions,
    pub access: Access,
    pub flags: CommandFlags,
    /// The line of the declaration in the file.
    pub line: u32,
}

/// Where the keys of a command are among the words of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    None,
    /// From `first` to `last`, every `step` words. A negative `last` counts from the end: -1 is the last word.
    Range {
        /// 1 or more.
        first: i32,
        /// At least `first`, or negative.
        last: i32,
        /// 1 or more.
        step: i32,
    },
    /// The word at this position is the number of keys, which follow it. At least one.
    Counted(i32),
}

impl Positions {
    /// The fewest words of a call in which every declared key exists.
    fn least(self) -> i32 {
        match self {
            Self::None => 1,
            Self::Range { last, .. } if last > 0 => last.saturating_add(1),
            Self::Range { first, last, .. } => first.saturating_sub(last),
            Self::Counted(at) => at.saturating_add(2),
        }
    }
}

/// How a command accesses its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// `RO`: reads them.
    Read,
    /// `RW`: reads and changes them.
    Update,
    /// `OW`: replaces what they hold.
    Overwrite,
}

/// The flags that a command may declare, as the server calls them.
const FLAGS: [&str; 8] = ["write", "readonly", "deny-oom", "fast", "admin", "allow-stale", "no-monitor", "no-slowlog"];

const WRITE: u16 = 1;
const READONLY: u16 = 1 << 1;
/// `rollback`, which the server does not know: an error undoes the writes of the run.
const ROLLBACK: u16 = 1 << FLAGS.len();

/// A set of flags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandFlags(u16);

impl CommandFlags {
    /// Adds the flag with this name; `None` if there is none.
    pub(in crate::lua) fn with(self, name: &[u8]) -> Option<Self> {
        let flag = match FLAGS.iter().position(|flag| flag.as_bytes() == name) {
            Some(at) => 1 << at,
            None if name == b"rollback" => ROLLBACK,
            None => return None,
        };
        Some(Self(self.0 | flag))
    }

    /// Whether the command may write.
    #[must_use]
    pub fn write(self) -> bool {
        self.0 & WRITE != 0
    }

    /// Whether an error undoes the writes of the command.
    #[must_use]
    pub fn rollback(self) -> bool {
        self.0 & ROLLBACK != 0
    }

    /// The flags that the server knows.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        FLAGS.into_iter().enumerate().filter(move |(at, _)| self.0 & 1 << at != 0).map(|(_, name)| name)
    }
}

/// The fields of a declaration as plain data without a destructor. The texts are strings of the VM that the table keeps alive.
#[derive(Clone, Copy, Default)]
pub(in crate::lua) struct Fields<'a> {
    pub name: Option<&'a [u8]>,
    pub callback: bool,
    pub summary: &'a [u8],
    pub complexity: &'a [u8],
    pub since: &'a [u8],
    pub arity: Option<f64>,
    pub keys: Option<[f64; 3]>,
    pub numkeys: Option<f64>,
    pub access: Option<&'a [u8]>,
    pub flags: CommandFlags,
}

impl Fields<'_> {
    /// The declaration, without its line; or the text that says what was expected.
    pub fn declaration(&self) -> Result<Declaration, &'static str> {
        if !self.callback {
            return Err("field 'callback' is required: a function");
        }
        let flags = self.flags()?;
        let keys = self.positions()?;
        Ok(Declaration {
            name: name(self.name.ok_or("field 'name' is required")?)?,
            summary: text(self.summary).ok_or("summary must be at most 1024 bytes, without NUL")?,
            complexity: text(self.complexity).ok_or("complexity must be at most 1024 bytes, without NUL")?,
            since: text(self.since).ok_or("since must be at most 1024 bytes, without NUL")?,
            arity: self.arity(keys)?,
            keys,
            access: self.access(keys, flags)?,
            flags,
            line: 0,
        })
    }

    fn flags(&self) -> Result<CommandFlags, &'static str> {
        match self.flags.0 & (WRITE | READONLY) {
            0 => Ok(CommandFlags(self.flags.0 | READONLY)),
            WRITE | READONLY => Ok(self.flags),
            _ => Err("flags must not have both 'write' and 'readonly'"),
        }
    }

    fn positions(&self) -> Result<Positions, &'static str> {
        const RANGE: &str =
            "keys must be {first, last, step}: integers, first 1..=1024, last >= first or -1024..=-1, step 1..=1024";
        match (self.keys, self.numkeys) {
            (None, None) => Ok(Positions::None),
            (Some(_), Some(_)) => Err("keys and numkeys are mutually exclusive"),
            (Some([first, last, step]), None) => {
                let in_range = |value| integer(value).filter(|value| (1..=MOST_WORDS).contains(value));
                let first = in_range(first).ok_or(RANGE)?;
                let last = integer(last).filter(|last| (-MOST_WORDS..0).contains(last) || (first..=MOST_WORDS).contains(last));
                Ok(Positions::Range { first, last: last.ok_or(RANGE)?, step: in_range(step).ok_or(RANGE)? })
            }
            (None, Some(at)) => integer(at)
                .filter(|at| (1..=MOST_WORDS).contains(at))
                .map(Positions::Counted)
                .ok_or("numkeys must be the position of the number of keys, an integer in 1..=1024"),
        }
    }

    fn arity(&self, keys: Positions) -> Result<i32, &'static str> {
        let least = keys.least();
        let Some(arity) = self.arity else { return Ok(least.saturating_neg()) };
        let arity = integer(arity)
            .filter(|&arity| arity != 0 && (-MOST_WORDS..=MOST_WORDS).contains(&arity))
            .ok_or("arity must be the number of words including the name, an integer in 1..=1024, or negative for a minimum")?;
        if arity.saturating_abs() < least {
            return Err("arity must leave room for the name and every declared key");
        }
        Ok(arity)
    }

    fn access(&self, keys: Positions, flags: CommandFlags) -> Result<Access, &'static str> {
        let access = match self.access {
            None if flags.write() => Access::Update,
            None | Some(b"RO") => Access::Read,
            Some(b"RW") => Access::Update,
            Some(b"OW") => Access::Overwrite,
            Some(_) => return Err("access must be 'RO', 'RW' or 'OW'"),
        };
        if self.access.is_some() && keys == Positions::None {
            return Err("access requires keys or numkeys");
        }
        if access != Access::Read && !flags.write() {
            return Err("access must be 'RO' without the flag 'write'");
        }
        Ok(access)
    }
}

/// A name that the server accepts, in lower case, since it compares names without case.
fn name(name: &[u8]) -> Result<CString, &'static str> {
    const RULE: &str = "name must be 1 to 64 characters of printable ASCII, without space and without any of | @ = ,";
    let allowed = |byte: &u8| byte.is_ascii_graphic() && !b"|@=,".contains(byte);
    if name.is_empty() || name.len() > NAME_BYTES || !name.iter().all(allowed) {
        return Err(RULE);
    }
    let lower = name.to_ascii_lowercase();
    if lower.starts_with(b"atomic.") {
        return Err("name must not start with ATOMIC., which is reserved for the module");
    }
    CString::new(lower).map_err(|_| RULE)
}

fn text(text: &[u8]) -> Option<CString> {
    if text.len() > TEXT_BYTES { None } else { CString::new(text).ok() }
}

fn integer(value: f64) -> Option<i32> {
    #[allow(clippy::cast_possible_truncation)]
    let integer = value as i32;
    (f64::from(integer) == value).then_some(integer)
}

impl Declaration {
    /// The name, for messages.
    #[must_use]
    pub fn shown_name(&self) -> String {
        self.name.to_string_lossy().to_uppercase()
    }

    /// Whether the cluster client of redis-py refuses the name, which it reads as `module.command`.
    #[must_use]
    pub fn has_several_dots(&self) -> bool {
        self.name.to_bytes().iter().filter(|&&byte| byte == b'.').count() > 1
    }

    /// The first property that differs from `now` and that the server takes only once, at registration.
    #[must_use]
    pub fn fixed_difference(&self, now: &Self) -> Option<&'static str> {
        if self.arity != now.arity {
            Some("arity")
        } else if self.keys != now.keys {
            Some("keys")
        } else if self.access != now.access {
            Some("access")
        } else if self.flags != now.flags {
            Some("flags")
        } else {
            None
        }
    }

    /// The flags as the server takes them. A script cannot run a script, so the server's own scripts cannot call a scripted
    /// command.
    #[must_use]
    pub fn server_flags(&self) -> CString {
        let mut flags = String::from("deny-script");
        for name in self.flags.names() {
            flags.push(' ');
            flags.push_str(name);
        }
        CString::new(flags).unwrap_or_else(|_| CStr::to_owned(c"deny-script"))
    }
}

#[allow(clippy::unwrap_used)]
#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields<'static> {
        Fields { name: Some(b"Stock.Reserve"), callback: true, ..Fields::default() }
    }

    fn write() -> CommandFlags {
        CommandFlags::default().with(b"write").unwrap()
    }

    #[track_caller]
    fn refused(fields: Fields<'_>, start: &str) {
        let error = fields.declaration().unwrap_err();
        assert!(error.starts_with(start), "{error}");
    }

    #[test]
    fn a_command_without_flags_reads_and_says_so() {
        let declared = fields().declaration().unwrap();
        assert_eq!((declared.name.as_c_str(), declared.arity, declared.access), (c"stock.reserve", -1, Access::Read));
        assert_eq!(declared.server_flags().as_c_str(), c"deny-script readonly");
        let writes = Fields { flags: write().with(b"deny-oom").unwrap(), keys: Some([1.0, 1.0, 1.0]), ..fields() };
        let declared = writes.declaration().unwrap();
        assert_eq!((declared.access, declared.server_flags().as_c_str()), (Access::Update, c"deny-script write deny-oom"));
        assert_eq!(CommandFlags::default().with(b"blocking"), None);
        refused(Fields { flags: write().with(b"readonly").unwrap(), ..fields() }, "flags must not have both");
    }

    #[test]
    fn arity_leaves_room_for_every_declared_key() {
        let range = |first: f64, last: f64, step: f64| Fields { keys: Some([first, last, step]), ..fields() };
        for (keys, least) in [
            (range(1.0, 1.0, 1.0), 2),
            (range(1.0, 4.0, 2.0), 5),
            (range(2.0, 2.0, 1.0), 3),
            (range(1.0, -1.0, 1.0), 2),
            (range(2.0, -3.0, 1.0), 5),
            (Fields { numkeys: Some(2.0), ..fields() }, 4),
            (fields(), 1),
        ] {
            assert_eq!(keys.declaration().unwrap().arity, -least);
            for arity in [least, -least, least + 1, -1024] {
                assert_eq!(Fields { arity: Some(arity.into()), ..keys }.declaration().unwrap().arity, arity);
            }
            if least > 1 {
                refused(Fields { arity: Some((least - 1).into()), ..keys }, "arity must leave room");
                refused(Fields { arity: Some((1 - least).into()), ..keys }, "arity must leave room");
            }
            for arity in [0.0, 1.5, 1025.0, -1025.0, f64::NAN, f64::INFINITY] {
                refused(Fields { arity: Some(arity), ..keys }, "arity must be the number of words");
            }
        }
    }

    #[test]
    fn positions_are_those_that_the_server_can_read() {
        for keys in [
            [0.0, 1.0, 1.0],
            [1.0, 0.0, 1.0],
            [2.0, 1.0, 1.0],
            [1.0, 1.0, 0.0],
            [1.0, 1.5, 1.0],
            [-1.0, 1.0, 1.0],
            [1.0, 1025.0, 1.0],
            [1.0, -1025.0, 1.0],
            [f64::NAN, 1.0, 1.0],
        ] {
            refused(Fields { keys: Some(keys), ..fields() }, "keys must be {first, last, step}");
        }
        for at in [0.0, -1.0, 1.5, 1025.0] {
            refused(Fields { numkeys: Some(at), ..fields() }, "numkeys must be the position");
        }
        refused(Fields { keys: Some([1.0; 3]), numkeys: Some(1.0), ..fields() }, "keys and numkeys are mutually exclusive");
    }

    #[test]
    fn access_fits_flags_and_keys() {
        let one = Fields { keys: Some([1.0; 3]), ..fields() };
        for access in [&b"RW"[..], b"OW"] {
            refused(Fields { access: Some(access), ..one }, "access must be 'RO' without the flag 'write'");
        }
        for (word, access) in [(&b"RO"[..], Access::Read), (b"RW", Access::Update), (b"OW", Access::Overwrite)] {
            let declared = Fields { access: Some(word), flags: write(), ..one }.declaration().unwrap();
            assert_eq!(declared.access, access);
        }
        refused(Fields { access: Some(b"rw"), flags: write(), ..one }, "access must be 'RO', 'RW' or 'OW'");
        refused(Fields { access: Some(b"RO"), ..fields() }, "access requires keys or numkeys");
    }

    #[test]
    fn names_are_those_that_the_server_takes() {
        let long = [b'a'; 65];
        for name in [&b""[..], b"a b", b"a|b", b"a\0", b"\xff", b"a@b", b"a,b", b"a=b", &long] {
            refused(Fields { name: Some(name), ..fields() }, "name must be 1 to 64 characters");
        }
        refused(Fields { name: Some(b"Atomic.Mine"), ..fields() }, "name must not start with ATOMIC.");
        refused(Fields { callback: false, ..fields() }, "field 'callback' is required");
        refused(Fields { name: None, ..fields() }, "field 'name' is required");
        refused(Fields { summary: b"a\0b", ..fields() }, "summary must be at most 1024 bytes");
        refused(Fields { since: &[b'1'; 1025], ..fields() }, "since must be");
    }

    #[test]
    fn only_properties_that_the_server_takes_once_are_compared() {
        let one = Fields { keys: Some([1.0; 3]), flags: write(), ..fields() };
        let was = one.declaration().unwrap();
        for (now, difference) in [
            (Fields { summary: b"other", ..one }, None),
            (Fields { arity: Some(2.0), ..one }, Some("arity")),
            (Fields { keys: Some([1.0, 1.0, 2.0]), ..one }, Some("keys")),
            (Fields { access: Some(b"OW"), ..one }, Some("access")),
            (Fields { flags: write().with(b"fast").unwrap(), ..one }, Some("flags")),
        ] {
            assert_eq!(was.fixed_difference(&now.declaration().unwrap()), difference);
        }
    }
}
