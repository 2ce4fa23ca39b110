//! What the server is told about a command: the single source of `COMMAND INFO`, `COMMAND DOCS`, `COMMAND GETKEYS`, ACL categories and the
//! server's own arity check.
//!
//! A native command's file has it as a constant; for a scripted command it is made from what its file declares.

use std::ffi::CStr;

use redis_module::raw;

/// What the server is told about a native command.
pub type Spec = SpecOf<'static>;

impl Spec {
    /// A command that only has subcommands.
    #[must_use]
    pub const fn container(name: &'static CStr, summary: &'static CStr) -> Self {
        Self {
            name,
            flags: c"",
            categories: c"scripting",
            summary,
            complexity: c"Depends on the subcommand",
            since: c"0.1.0",
            arity: -2,
            keys: Keys::None,
            args: &[],
        }
    }
}

/// What the server is told about a command. An empty text of the docs is left out.
pub struct SpecOf<'a> {
    /// `ATOMIC.X`, or `ATOMIC.X|SUB` for a subcommand.
    pub name: &'a CStr,
    /// The flags of `RM_CreateCommand`.
    pub flags: &'a CStr,
    /// ACL categories besides those that follow from the flags and `@atomic`, separated by spaces.
    pub categories: &'static CStr,
    /// One sentence.
    pub summary: &'a CStr,
    /// In the notation of the server's docs.
    pub complexity: &'a CStr,
    /// The version of this module that brought it.
    pub since: &'a CStr,
    /// Number of arguments with the name; negative for "at least".
    pub arity: i32,
    /// Where its keys are.
    pub keys: Keys,
    /// Its arguments.
    pub args: &'a [Arg],
}

/// Where a command's keys are, and what it does with them.
#[derive(Clone, Copy)]
pub enum Keys {
    /// It has none.
    None,
    /// The words `[first, last, step]`, counted from the name; a last of -1 is the last word of the call. Clients find them by themselves.
    Range([i32; 3], KeyFlags),
    /// `numkeys key [key ...]` from a word on. Clients have to ask the server, which asks the command.
    Counted {
        /// The word with the number, counted from the name.
        at: usize,
        flags: KeyFlags,
        /// What happens to the keys is for a script to say.
        of_script: bool,
    },
}

impl Keys {
    /// `numkeys key [key ...]` after the first argument, as in EVAL.
    pub const SCRIPT: Self = Self::Counted { at: 2, flags: KeyFlags::Update, of_script: true };

    /// The same for scripts that write nothing.
    pub const SCRIPT_READ: Self = Self::Counted { at: 2, flags: KeyFlags::Read, of_script: true };

    /// The first argument.
    #[must_use]
    pub const fn first(flags: KeyFlags) -> Self {
        Self::Range([1, 1, 1], flags)
    }

    /// The first two arguments.
    #[must_use]
    pub const fn first_two(flags: KeyFlags) -> Self {
        Self::Range([1, 2, 1], flags)
    }

    /// The word at `first`, and from there every `step`-th word to the end of the call.
    #[must_use]
    pub const fn from_on(first: i32, step: i32, flags: KeyFlags) -> Self {
        Self::Range([first, -1, step], flags)
    }

    /// `numkeys key [key ...]` as the first arguments.
    #[must_use]
    pub const fn numbered(flags: KeyFlags) -> Self {
        Self::Counted { at: 1, flags, of_script: false }
    }

    /// First word, last word and step, when the keys are at fixed words.
    #[must_use]
    pub const fn range(&self) -> Option<[i32; 3]> {
        match self {
            Self::Range(range, _) => Some(*range),
            Self::None | Self::Counted { .. } => None,
        }
    }

    /// Where `numkeys` stands and what happens to the keys, when they are counted.
    #[must_use]
    pub const fn counted(&self) -> Option<(usize, KeyFlags)> {
        match self {
            Self::Counted { at, flags, .. } => Some((*at, *flags)),
            Self::None | Self::Range(..) => None,
        }
    }
}

/// What a command does with its key.
#[derive(Clone, Copy)]
pub enum KeyFlags {
    /// Returns something of its value.
    Read,
    /// Returns something of its value and changes it.
    Update,
    /// Returns something of its value and may delete it.
    Delete,
    /// Replaces its value, and returns nothing of it.
    Overwrite,
}

impl KeyFlags {
    /// The flags as the server takes them.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Read => raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_ACCESS,
            Self::Update => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE,
            Self::Delete => raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_DELETE,
            Self::Overwrite => raw::REDISMODULE_CMD_KEY_OW | raw::REDISMODULE_CMD_KEY_UPDATE,
        }
    }
}

/// One argument in `COMMAND DOCS`.
#[derive(Clone)]
pub struct Arg {
    /// The documented name.
    pub name: &'static CStr,
    /// What it is.
    pub kind: ArgKind,
    /// The word before it.
    pub token: Option<&'static CStr>,
    /// Whether it may be left out.
    pub optional: bool,
    /// Whether it may be repeated.
    pub multiple: bool,
    /// The parts of a block, the alternatives of a choice.
    pub parts: &'static [Arg],
}

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ArgKind {
    Key,
    String,
    Integer,
    Double,
    UnixTime,
    Token,
    OneOf,
    Block,
}

impl Arg {
    const fn new(name: &'static CStr, kind: ArgKind) -> Self {
        Self { name, kind, token: None, optional: false, multiple: false, parts: &[] }
    }

    /// The key of a command with one key.
    pub const KEY: Self = Self::new(c"key", ArgKind::Key);

    /// Any bytes.
    #[must_use]
    pub const fn string(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::String)
    }

    /// An integer.
    #[must_use]
    pub const fn integer(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::Integer)
    }

    /// A number that need not be an integer.
    #[must_use]
    pub const fn double(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::Double)
    }

    /// A point in time.
    #[must_use]
    pub const fn unix_time(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::UnixTime)
    }

    /// A word that stands for itself.
    #[must_use]
    pub const fn word(name: &'static CStr, token: &'static CStr) -> Self {
        Self::new(name, ArgKind::Token).after(token)
    }

    /// One of several.
    #[must_use]
    pub const fn one_of(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::OneOf) }
    }

    /// Several that belong together.
    #[must_use]
    pub const fn block(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::Block) }
    }

    /// The same behind a word.
    #[must_use]
    pub const fn after(self, token: &'static CStr) -> Self {
        Self { token: Some(token), ..self }
    }

    /// The same, optional.
    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same, once or more.
    #[must_use]
    pub const fn multiple(self) -> Self {
        Self { multiple: true, ..self }
    }
}

/// `[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]`
pub const EXPIRY: Arg = Arg::one_of(
    c"expiration",
    &[
        Arg::integer(c"seconds").after(c"EX"),
        Arg::integer(c"milliseconds").after(c"PX"),
        Arg::unix_time(c"unix-time-seconds").after(c"EXAT"),
        Arg::unix_time(c"unix-time-milliseconds").after(c"PXAT"),
        Arg::word(c"keepttl", c"KEEPTTL"),
    ],
)
.optional();
