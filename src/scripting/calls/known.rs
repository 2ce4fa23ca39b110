//! What the server says about the commands that scripts call, asked once.

use std::collections::HashMap;
use std::ffi::CString;

use super::direct::Read;
use super::key_specs::KeySpecs;
use super::keys::Keys;
use super::{Invocation, UNKNOWN, argv_with_alpha, script_wording};
use crate::primitives::resp::Reader;
use crate::server::args::is;
use crate::server::call::CallReply;
use crate::server::module_api::{Ctx, OwnedStr};
use crate::server::slots::Slots;

/// Commands that write nothing but replicate. The server hides that flag.
const MAY_REPLICATE: &[&str] = &["publish", "spublish", "pfcount"];

/// A cache of the commands that scripts have called. It outlives a run, because asking the server costs a call.
///
/// Its keys are names as scripts write them. It is bounded, so that names from clients cannot fill the memory. A script's name for a
/// command is one string that never moves, so the last command seen at its address is tried first.
pub struct KnownCommands {
    pub(super) commands: Vec<KnownCommand>,
    by_name: HashMap<Box<[u8]>, usize>,
    by_address: [usize; ADDRESS_SLOTS],
}

/// A power of two.
const ADDRESS_SLOTS: usize = 64;

pub(super) struct KnownCommand {
    /// The name that was looked up.
    pub(super) words: Box<[u8]>,
    pub(super) name: CString,
    /// The number of words in a call; negative for a minimum.
    pub(super) arity: i64,
    pub(super) write: bool,
    pub(super) may_replicate: bool,
    pub(super) noscript: bool,
    pub(super) blocking: bool,
    /// It has subcommands, each with its own flags.
    pub(super) container: bool,
    pub(super) deny_oom: bool,
    /// It belongs to a module, and may do more than read.
    pub(super) of_module: bool,
    pub(super) special: Special,
    pub(super) keys: Keys,
    /// It works on its keys alone: permissions and the selected database stay as they are.
    pub(super) is_plain: bool,
    /// It can be read without a dispatch, and its name for the ACL.
    pub(super) read: Option<(Read, OwnedStr)>,
    pub(super) specs: KeySpecs,
}

/// A command that behaves differently in a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    None,
    /// Its effect lasts until the end of the script.
    Select,
    /// It returns the elements of a set in a defined order.
    Sort,
}

/// No command has a longer name.
const MAX_NAME_BYTES: usize = 128;

/// More names than a server has commands. Beyond it, the cache is cleared.
const MAX_NAMES: usize = 2048;

impl KnownCommands {
    /// The facts about a command; asks the server the first time. The error is the script's reply. It is not cached, because the
    /// command may exist later.
    pub(super) fn get(&mut self, ctx: Ctx, argv: &[&[u8]]) -> Result<&KnownCommand, &'static [u8]> {
        let at = self.find(ctx, argv)?;
        self.commands.get(at).ok_or(UNKNOWN)
    }

    /// The index of a command among the known ones.
    pub(super) fn find(&mut self, ctx: Ctx, argv: &[&[u8]]) -> Result<usize, &'static [u8]> {
        let name = argv.first().filter(|name| name.len() <= MAX_NAME_BYTES).ok_or(UNKNOWN)?;
        let place = name.as_ptr().addr() / size_of::<u64>() % ADDRESS_SLOTS;
        let mut at = self.by_address.get(place).copied().unwrap_or(0);
        if self.commands.get(at).is_none_or(|known| *known.words != **name) {
            at = self.find_words(ctx, name, name)?;
            if let Some(last) = self.by_address.get_mut(place) {
                *last = at;
            }
        }
        if self.commands.get(at).is_some_and(|known| known.container)
            && let Some(subcommand) = argv.get(1).filter(|name| name.len() <= MAX_NAME_BYTES)
        {
            at = self.find_words(ctx, name, &[name, b"|".as_slice(), subcommand].concat())?;
        }
        Ok(at)
    }

    /// The command at an index, if it can be read without a dispatch.
    pub(super) fn read(&self, at: usize) -> Option<(Read, &OwnedStr)> {
        let (read, name) = self.commands.get(at)?.read.as_ref()?;
        Some((*read, name))
    }

    /// The index of a command or of `container|subcommand`; `name` is its first word.
    #[cold]
    fn find_words(&mut self, ctx: Ctx, name: &[u8], words: &[u8]) -> Result<usize, &'static [u8]> {
        // The server accepts `container|subcommand` as one word here, but not in a call.
        if name.contains(&b'|') {
            return Err(UNKNOWN);
        }
        if let Some(&at) = self.by_name.get(words) {
            return Ok(at);
        }
        if self.commands.len() >= MAX_NAMES {
            *self = Self::default();
        }
        let at = self.commands.len();
        self.commands.push(KnownCommand::ask(ctx, name, words)?);
        self.by_name.insert(words.into(), at);
        Ok(at)
    }
}

impl Default for KnownCommands {
    fn default() -> Self {
        Self { commands: Vec::new(), by_name: HashMap::new(), by_address: [0; ADDRESS_SLOTS] }
    }
}

fn information(ctx: Ctx, name: &[u8]) -> CallReply {
    CallReply::of(ctx, c"COMMAND", c"vE", &[OwnedStr::new(b"INFO"), OwnedStr::new(name)])
}

impl KnownCommand {
    /// Whether a call may have this many words.
    pub(super) fn accepts_arity(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= self.arity.saturating_neg() } else { words == self.arity }
    }

    /// Refuses a call whose keys are not in the slots of the run.
    pub(super) fn check(&self, slots: &mut Slots, ctx: Ctx, argv: &[&[u8]]) -> Result<(), &'static [u8]> {
        if self.keys == Keys::OverAll { slots.check_all_keys() } else { slots.check(self.keys.find(ctx, argv).into_iter()) }
    }

    /// Runs a call of the command.
    pub(super) fn run(&self, ctx: Ctx, modifiers: &[u8], call: &Invocation<'_>) -> CallReply {
        let args = |argv| <[&[u8]]>::get(argv, 1 + usize::from(call.key.is_some())..).unwrap_or_default();
        match (self.special == Special::Sort).then(|| argv_with_alpha(ctx, call.argv)).flatten() {
            Some(argv) => CallReply::of_script(ctx, &self.name, modifiers, call.key, args(&argv)),
            None => CallReply::of_script(ctx, &self.name, modifiers, call.key, args(call.argv)),
        }
    }

    /// Asks the server about `full`, which is `name` or `name|subcommand`.
    fn ask(ctx: Ctx, name: &[u8], full: &[u8]) -> Result<Self, &'static [u8]> {
        let reply = information(ctx, full);
        let arity = arity(reply.text()).ok_or_else(|| script_wording(reply.text(), false).unwrap_or(UNKNOWN))?;
        let subcommands = [b"\n", name.to_ascii_lowercase().as_slice(), b"|"].concat();
        let container = name == full && contains(reply.text(), &subcommands);
        let flag = |flag: &[u8]| !container && contains(reply.text(), flag);
        let special = match name.to_ascii_lowercase().as_slice() {
            b"select" => Special::Select,
            b"sort" | b"sort_ro" => Special::Sort,
            _ => Special::None,
        };
        let keys = Keys::of(name, reply.text());
        let is_of_server = !flag(b"+module\r\n") && !container;
        let read = Read::named(name).filter(|_| is_of_server && flag(b"+readonly\r\n") && matches!(keys, Keys::Range(1, _, 1)));
        Ok(Self {
            words: full.into(),
            name: CString::new(name).map_err(|_| UNKNOWN)?,
            arity,
            write: flag(b"+write\r\n"),
            may_replicate: MAY_REPLICATE.iter().any(|command| is(name, command)),
            noscript: flag(b"+noscript\r\n"),
            blocking: flag(b"+blocking\r\n"),
            container,
            deny_oom: flag(b"+denyoom\r\n"),
            of_module: flag(b"+module\r\n") && !flag(b"+readonly\r\n"),
            special,
            keys,
            specs: KeySpecs::of(reply.text()),
            is_plain: is_of_server && matches!(keys, Keys::Range(..)),
            read: read.map(|read| (read, OwnedStr::new(name))),
        })
    }
}

/// The arity in the reply of COMMAND INFO about one command, which follows the name. `None` if there is no such command.
fn arity(information: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(information);
    reader.values().zip(reader.values())?;
    reader.string()?;
    reader.integer()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
