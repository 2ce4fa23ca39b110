//! What a command is made of: its metadata, its arguments, its run.
//!
//! The metadata is the single source of `COMMAND INFO`, `COMMAND DOCS`, `COMMAND GETKEYS`, ACL categories and the server's own arity
//! check. It stands in the command's file, as constants, and is handed to the server once, at load; for a scripted command it is made from
//! what its file declares. (The `redis-module` crate's `#[command]` attribute knows no argument docs and copies every argument on every
//! call, so we register commands ourselves.)

use std::ffi::CStr;

use redis_module::raw;

use crate::error::Result;
use crate::keyspace::Keyspace;
use crate::lua::Positions;
use crate::server::args::Args;
use crate::server::module_api::{Ctx, Str};
use crate::server::reply::Reply;

/// Runs a command, with what comes before and after it.
pub type Around = fn(Ctx, &[Str<'_>], &mut dyn FnMut() -> Result<Reply>) -> Result<Reply>;

/// One command.
pub trait Command {
    /// What the server is told about it.
    const SPEC: Spec;

    /// What its runs are wrapped in.
    const AROUND: Option<Around> = None;

    /// Its arguments, read.
    type Request<'a>;

    /// Reads the arguments. Everything that can be refused without the key is refused here.
    fn parse<'a>(args: Args<'a>) -> Result<Self::Request<'a>>;

    /// Decides, applies, answers. All validation precedes the first write.
    fn run(keyspace: &Keyspace, request: Self::Request<'_>) -> Result<Reply>;
}

/// What the server is told about one of our own commands.
pub type Spec = SpecOf<'static>;

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
pub enum Keys {
    /// It has none.
    None,
    /// The first argument.
    First(KeyFlags),
    /// The first two arguments.
    FirstTwo(KeyFlags),
    /// The word at `first`, counted from the name, and from there every `step`-th word to the end of the call.
    FromOn {
        /// 1 or more.
        first: i32,
        /// 1 or more.
        step: i32,
        /// What happens to them.
        flags: KeyFlags,
    },
    /// `numkeys key [key ...]` as the first arguments.
    Numbered(KeyFlags),
    /// `numkeys key [key ...]` behind the first argument, as in EVAL. What happens to them is for the script to say.
    ScriptKeys,
    /// The same, for scripts that write nothing.
    ScriptKeysRead,
    /// What a file declares about a scripted command.
    Scripted(Positions, KeyFlags),
}

impl Keys {
    /// First word, last word (-1 is the last of the call) and step, when the keys are at fixed words, and what happens to them. The server
    /// and its clients find such keys by themselves.
    #[must_use]
    pub const fn range(&self) -> Option<([i32; 3], KeyFlags)> {
        match self {
            Self::First(flags) => Some(([1, 1, 1], *flags)),
            Self::FirstTwo(flags) => Some(([1, 2, 1], *flags)),
            Self::FromOn { first, step, flags } => Some(([*first, -1, *step], *flags)),
            Self::Scripted(Positions::Range { first, last, step }, flags) => Some(([*first, *last, *step], *flags)),
            Self::None | Self::Numbered(_) | Self::ScriptKeys | Self::ScriptKeysRead | Self::Scripted(..) => None,
        }
    }

    /// Where `numkeys` stands among the words of the command, when the keys are counted, and what happens to them. The server routes
    /// a command in a cluster by the range of its keys, and asks the command itself when that is not fixed.
    #[must_use]
    pub const fn counted(&self) -> Option<(usize, KeyFlags)> {
        match self {
            Self::Numbered(flags) => Some((1, *flags)),
            Self::ScriptKeys => Some((2, KeyFlags::Update)),
            Self::ScriptKeysRead => Some((2, KeyFlags::Read)),
            // A file counts from 1 on.
            Self::Scripted(Positions::Counted(at), flags) => Some((at.unsigned_abs() as usize, *flags)),
            Self::None | Self::First(_) | Self::FirstTwo(_) | Self::FromOn { .. } | Self::Scripted(..) => None,
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
