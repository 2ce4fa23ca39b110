//! The metadata of a command: the single source of `COMMAND INFO`, `COMMAND DOCS`, `COMMAND GETKEYS`, the ACL categories and the server's
//! arity check.
//!
//! The file of a native command has it as a constant. The metadata of a scripted command comes from the declaration in its file.

use std::ffi::CStr;

use redis_module::raw;

/// The metadata of a native command.
pub type Spec = SpecOf<'static>;

impl Spec {
    /// A container of subcommands.
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

/// The metadata of a command. The docs omit an empty text.
pub struct SpecOf<'a> {
    /// `ATOMIC.X`, or `ATOMIC.X|SUB` for a subcommand.
    pub name: &'a CStr,
    /// The flags of `RM_CreateCommand`.
    pub flags: &'a CStr,
    /// The ACL categories, separated by spaces, without `@atomic` and those that follow from the flags.
    pub categories: &'static CStr,
    /// One sentence.
    pub summary: &'a CStr,
    /// In the notation of the server's docs.
    pub complexity: &'a CStr,
    /// The first version of this module with the command.
    pub since: &'a CStr,
    /// The number of arguments including the name; negative for a minimum.
    pub arity: i32,
    pub keys: Keys,
    pub args: &'a [Arg],
}

/// The positions of a command's keys, and how the command uses them.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// The words `[first, last, step]`, counted from the name; -1 is the last word of the call. Clients find these keys themselves.
    Range([i32; 3], KeyFlags),
    /// `numkeys key [key ...]`. Clients must ask the server, which asks the command.
    Counted {
        /// The position of `numkeys`, counted from the name.
        at: usize,
        flags: KeyFlags,
        /// Whether a script decides how the keys are used.
        of_script: bool,
    },
    /// The first argument, and the keys of the command whose name is word `at`, counted from the name. Clients must ask the server.
    WithInner {
        at: usize,
        flags: KeyFlags,
    },
}

impl Keys {
    /// `numkeys key [key ...]` after the first argument, as in EVAL.
    pub const SCRIPT: Self = Self::Counted { at: 2, flags: KeyFlags::Update, of_script: true };

    /// The same for read-only scripts.
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

    /// Every `step`-th word from `first` to the end of the call.
    #[must_use]
    pub const fn from_on(first: i32, step: i32, flags: KeyFlags) -> Self {
        Self::Range([first, -1, step], flags)
    }

    /// `numkeys key [key ...]` as the first arguments.
    #[must_use]
    pub const fn numbered(flags: KeyFlags) -> Self {
        Self::Counted { at: 1, flags, of_script: false }
    }

    /// The first word, the last word and the step of the keys at fixed positions.
    #[must_use]
    pub const fn range(&self) -> Option<[i32; 3]> {
        match self {
            Self::Range(range, _) => Some(*range),
            Self::WithInner { .. } => Some([1, 1, 1]),
            Self::None | Self::Counted { .. } => None,
        }
    }

    /// Whether only the command itself can find all keys of a call.
    #[must_use]
    pub const fn are_reported(&self) -> bool {
        matches!(self, Self::Counted { .. } | Self::WithInner { .. })
    }
}

/// The use of a key.
#[derive(Clone, Copy)]
pub enum KeyFlags {
    /// The command returns data of the value.
    Read,
    /// The command returns data of the value and changes it.
    Update,
    /// The command returns data of the value and may delete it.
    Delete,
    /// The command replaces the value and returns no data of it.
    Overwrite,
}

impl KeyFlags {
    /// The server's flags.
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
    pub name: &'static CStr,
    pub kind: ArgKind,
    /// The literal word before the argument.
    pub token: Option<&'static CStr>,
    pub optional: bool,
    /// Whether the argument may repeat.
    pub multiple: bool,
    /// The parts of a block, or the alternatives of a choice.
    pub parts: &'static [Arg],
}

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq)]
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

    #[must_use]
    pub const fn integer(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::Integer)
    }

    /// A number, not necessarily an integer.
    #[must_use]
    pub const fn double(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::Double)
    }

    #[must_use]
    pub const fn unix_time(name: &'static CStr) -> Self {
        Self::new(name, ArgKind::UnixTime)
    }

    /// A literal word.
    #[must_use]
    pub const fn word(name: &'static CStr, token: &'static CStr) -> Self {
        Self::new(name, ArgKind::Token).after(token)
    }

    /// One of several alternatives.
    #[must_use]
    pub const fn one_of(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::OneOf) }
    }

    /// Several arguments that belong together.
    #[must_use]
    pub const fn block(name: &'static CStr, parts: &'static [Self]) -> Self {
        Self { parts, ..Self::new(name, ArgKind::Block) }
    }

    /// The same argument after a literal word.
    #[must_use]
    pub const fn after(self, token: &'static CStr) -> Self {
        Self { token: Some(token), ..self }
    }

    #[must_use]
    pub const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The same argument, once or more.
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
