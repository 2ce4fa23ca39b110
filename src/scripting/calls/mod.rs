//! Commands that a script runs.
//!
//! Each runs as the calling user (`C`), under the rules for scripts (`S`: noscript commands, read-only replicas, disk errors, too few
//! replicas; `M`: maxmemory), replicates its effect (`!`), and answers with an error instead of failing (`E`). As in the server's own
//! scripts, the state of the server can refuse the first write and none after it: from then on `S` and `M` are left out, and what `S`
//! forbids besides is looked up here.

mod keys;
mod native;

use std::collections::HashMap;
use std::ffi::{CString, c_int};

use crate::keyspace::growth;
use crate::primitives::resp::Reader;
use crate::server::args::{is, parse_i64};
use crate::server::call::CallReply;
use crate::server::key::Kind;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::slots::Slots;

use self::keys::Keys;
use self::native::{Check, Passed};
pub use self::native::{Native, Natives, Run};

const UNKNOWN: &[u8] = b"-ERR Unknown Redis command called from script\r\n";
const WRONG_ARITY: &[u8] = b"-ERR Wrong number of args calling Redis command from script\r\n";
const NOSCRIPT: &[u8] = b"-ERR This Redis command is not allowed from script\r\n";
const READ_ONLY: &[u8] = b"-ERR Write commands are not allowed from read-only scripts.\r\n";

/// Commands that write nothing and reach the replicas. The server does not tell of that flag.
const MAY_REPLICATE: &[&str] = &["publish", "spublish", "pfcount"];

/// What the server's refusals of `RM_Call` are called in scripts.
const IN_SCRIPT_WORDS: &[(&[u8], &[u8])] = &[
    (b"-ERR unknown command", UNKNOWN),
    (b"-ERR unknown subcommand '", UNKNOWN),
    (NOT_LOCAL, b"-ERR Script attempted to access a non local key in a cluster node\r\n"),
    (DOWN_FOR_WRITES, b"-ERR Script attempted to execute a write command while the cluster is down and readonly\r\n"),
    (DOWN, b"-ERR Script attempted to execute a command while the cluster is down\r\n"),
    (b"-MASTERDOWN ", b"-ERR Can not execute the command on a stale replica\r\n"),
];

const NOT_LOCAL: &[u8] = b"-ERR Attempted to access a non local key";
const DOWN_FOR_WRITES: &[u8] = b"-ERR Can not execute a write command '";
const DOWN: &[u8] = b"-ERR Can not execute a command '";

/// Refusals of a node of a cluster: the command has used no slot.
const NOT_HERE: &[&[u8]] = &[NOT_LOCAL, DOWN_FOR_WRITES, DOWN];

/// A refusal whose text starts with `-ERR command '` and ends with this.
const NOT_IN_SCRIPTS: &[u8] = b"is not allowed on script mode\r\n";

/// What is known of the commands that scripts called. Outlives a run: asking the server costs a call.
///
/// Keyed by the name as the script writes it; bounded, so that names from outside cannot fill the memory. A script's name for a command
/// is one string that stays where it is, so the last command seen at that place is tried first.
pub struct KnownCommands {
    commands: Vec<Known>,
    by_name: HashMap<Box<[u8]>, usize>,
    by_place: [usize; PLACES],
}

/// A power of two.
const PLACES: usize = 64;

struct Known {
    /// The words by which it was asked for.
    words: Box<[u8]>,
    name: CString,
    /// How many words a call has; negative if that is the least.
    arity: i64,
    write: bool,
    may_replicate: bool,
    noscript: bool,
    /// It has subcommands, each with flags of its own.
    container: bool,
    special: Special,
    keys: Keys,
}

/// A command that means something else in a script.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    None,
    /// Its effect lasts until the end of the script.
    Select,
    /// A set comes out in an order.
    Sort,
}

/// No command has a longer name.
const LONGEST_NAME: usize = 128;

/// More different names than a server has commands: beyond it the cache starts anew.
const MOST_NAMES: usize = 2048;

impl KnownCommands {
    /// What is known of the command; asks the server the first time. The error is the reply to a script that calls it: usually there is no
    /// such command, which may change.
    fn get(&mut self, ctx: Ctx, argv: &[&[u8]]) -> Result<&Known, &'static [u8]> {
        let name = argv.first().filter(|name| name.len() <= LONGEST_NAME).ok_or(UNKNOWN)?;
        let place = name.as_ptr().addr() / size_of::<u64>() % PLACES;
        let mut at = self.by_place.get(place).copied().unwrap_or(0);
        if self.commands.get(at).is_none_or(|known| *known.words != **name) {
            at = self.find(ctx, name, name)?;
            if let Some(last) = self.by_place.get_mut(place) {
                *last = at;
            }
        }
        if self.commands.get(at).is_some_and(|known| known.container)
            && let Some(subcommand) = argv.get(1).filter(|name| name.len() <= LONGEST_NAME)
        {
            at = self.find(ctx, name, &[name, b"|".as_slice(), subcommand].concat())?;
        }
        self.commands.get(at).ok_or(UNKNOWN)
    }

    /// The place of a command, or of `container|subcommand`, that is called by `name`.
    fn find(&mut self, ctx: Ctx, name: &[u8], words: &[u8]) -> Result<usize, &'static [u8]> {
        // The server also knows a subcommand by one word, which no call does.
        if name.contains(&b'|') {
            return Err(UNKNOWN);
        }
        if let Some(&at) = self.by_name.get(words) {
            return Ok(at);
        }
        if self.commands.len() >= MOST_NAMES {
            *self = Self::default();
        }
        let at = self.commands.len();
        self.commands.push(Known::ask(ctx, name, words)?);
        self.by_name.insert(words.into(), at);
        Ok(at)
    }
}

impl Default for KnownCommands {
    fn default() -> Self {
        Self { commands: Vec::new(), by_name: HashMap::new(), by_place: [0; PLACES] }
    }
}

fn information(ctx: Ctx, name: &[u8]) -> CallReply {
    CallReply::of(ctx, c"COMMAND", c"vE", &[OwnedStr::new(b"INFO"), OwnedStr::new(name)])
}

impl Known {
    /// Whether a call may have so many words.
    fn takes(&self, words: usize) -> bool {
        let words = i64::try_from(words).unwrap_or(i64::MAX);
        if self.arity < 0 { words >= self.arity.saturating_neg() } else { words == self.arity }
    }

    /// Refuses a call whose keys are not in the slots of the run.
    fn check(&self, slots: &mut Slots, ctx: Ctx, argv: &[&[u8]]) -> Result<(), &'static [u8]> {
        if self.keys == Keys::OverAll { slots.check_all_keys() } else { slots.check(self.keys.find(ctx, argv).into_iter()) }
    }

    /// Asks the server about `full`, a command or `container|subcommand`, that is called by `name`.
    fn ask(ctx: Ctx, name: &[u8], full: &[u8]) -> Result<Self, &'static [u8]> {
        let reply = information(ctx, full);
        let arity = arity(reply.text()).ok_or_else(|| in_script_words(reply.text(), false).unwrap_or(UNKNOWN))?;
        let subcommands = [b"\n", name.to_ascii_lowercase().as_slice(), b"|"].concat();
        let container = name == full && contains(reply.text(), &subcommands);
        let flag = |flag: &[u8]| !container && contains(reply.text(), flag);
        Ok(Self {
            words: full.into(),
            name: CString::new(name).map_err(|_| UNKNOWN)?,
            arity,
            write: flag(b"+write\r\n"),
            may_replicate: MAY_REPLICATE.iter().any(|command| is(name, command)),
            noscript: flag(b"+noscript\r\n"),
            container,
            special: match name.to_ascii_lowercase().as_slice() {
                b"select" => Special::Select,
                b"sort" | b"sort_ro" => Special::Sort,
                _ => Special::None,
            },
            keys: Keys::of(name, reply.text()),
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

/// What a run may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Nothing that writes or replicates.
    pub read_only: bool,
    /// Writes whatever the memory.
    pub allow_oom: bool,
    /// Whose keys it uses in a cluster.
    pub slots: Slots,
}

/// A command to run.
pub struct Invocation<'a> {
    /// The name and the arguments.
    pub argv: &'a [&'a [u8]],
    /// The first argument as the string of the server that it came as.
    pub key: Option<Str<'a>>,
    /// The reply is RESP3.
    pub resp3: bool,
    /// The effect goes into the append-only file.
    pub aof: bool,
    /// The effect goes to the replicas.
    pub replicas: bool,
}

/// The commands of one script run.
pub struct Calls<'a> {
    ctx: Ctx,
    known: &'a mut KnownCommands,
    rules: Rules,
    /// False once the server said that the caller has no user (a replication link, another module): such a caller has every right.
    as_user: bool,
    writes: u64,
    reply: Option<CallReply>,
    /// The reply of what was run without a command.
    text: Vec<u8>,
    passed: Passed,
    selected: Selected,
}

impl<'a> Calls<'a> {
    /// Starts a run.
    pub fn new(ctx: Ctx, known: &'a mut KnownCommands) -> Self {
        let rules = Rules::default();
        Self {
            ctx,
            known,
            rules,
            as_user: true,
            writes: 0,
            reply: None,
            text: Vec::new(),
            passed: Passed::default(),
            selected: Selected(None),
        }
    }

    /// Sets what the run may do, before its first command.
    pub fn obey(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// How many commands that may write were applied.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Runs one command. The reply's protocol text stays valid until the next call.
    pub fn call(&mut self, call: &Invocation<'_>) -> &[u8] {
        self.forget_checks();
        self.dispatch(call, None)
    }

    fn dispatch(&mut self, call: &Invocation<'_>, check: Option<Check>) -> &[u8] {
        // The previous reply is freed before the next command runs.
        self.reply = None;
        let known = match self.known.get(self.ctx, call.argv) {
            Ok(known) => known,
            Err(refusal) => return refusal,
        };
        if known.noscript {
            return NOSCRIPT;
        }
        if self.rules.read_only && (known.write || known.may_replicate) {
            return if known.takes(call.argv.len()) { READ_ONLY } else { WRONG_ARITY };
        }
        let slots = self.rules.slots;
        if !slots.are_all()
            && let Err(refusal) = known.check(&mut self.rules.slots, self.ctx, call.argv)
        {
            return refusal;
        }
        let reordered = if known.special == Special::Sort { order_of_set(self.ctx, call.argv) } else { None };
        let args = reordered.as_deref().unwrap_or(call.argv).get(1 + usize::from(call.key.is_some())..).unwrap_or_default();
        let exempt = self.writes > 0 || self.rules.allow_oom;
        let run = |as_user| {
            let modifiers = Modifiers::of(call, as_user, self.writes > 0, self.rules.allow_oom);
            let run = || CallReply::of_script(self.ctx, &known.name, modifiers.bytes(), call.key, args);
            growth::exempt(exempt, run)
        };
        let mut reply = run(self.as_user);
        if self.as_user && reply.says_no_user() && self.ctx.has_no_user() {
            self.as_user = false;
            reply = run(false);
        }
        let failed = reply.text().starts_with(b"-");
        if !failed && known.special == Special::Select {
            self.selected.follow(self.ctx, call.argv);
        }
        if !failed && known.write {
            self.writes = self.writes.saturating_add(1);
        }
        if failed && NOT_HERE.iter().any(|words| reply.text().starts_with(words)) {
            self.rules.slots = slots;
        }
        let refuses_arity = !known.takes(call.argv.len());
        if let Some(check) = check.filter(|_| !failed) {
            self.passed.add(check);
        }
        let text = self.reply.insert(reply).text();
        if failed { in_script_words(text, refuses_arity).unwrap_or(text) } else { text }
    }

    /// Whether the caller may run a command, and whether it may have so many words; `None` if there is no such command.
    pub fn may_call(&mut self, argv: &[&[u8]]) -> Option<(bool, bool)> {
        let takes = self.known.get(self.ctx, argv).ok()?.takes(argv.len());
        let args: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        Some((self.ctx.caller_may(OwnedStr::slice_as_str(&args)), takes))
    }
}

/// The modifiers of `RM_Call`.
struct Modifiers {
    letters: [u8; 10],
    len: usize,
}

impl Modifiers {
    fn of(call: &Invocation<'_>, as_user: bool, wrote: bool, allow_oom: bool) -> Self {
        let mut modifiers = Self { letters: [0; 10], len: 0 };
        let replicates = call.aof || call.replicas;
        for (wanted, letter) in [
            (true, b'E'),
            (replicates, b'!'),
            (replicates && !call.aof, b'A'),
            (replicates && !call.replicas, b'R'),
            (as_user, b'C'),
            (!wrote, b'S'),
            (!wrote && !allow_oom, b'M'),
            (call.resp3, b'3'),
        ] {
            if wanted && let Some(place) = modifiers.letters.get_mut(modifiers.len) {
                *place = letter;
                modifiers.len += 1;
            }
        }
        modifiers
    }

    fn bytes(&self) -> &[u8] {
        self.letters.get(..self.len).unwrap_or_default()
    }
}

/// `SORT key BY constant` leaves the elements as they are. A set has no order, and in its own scripts the server sorts it as text then;
/// it does not know that this is one. `None` where nothing is to be done.
fn order_of_set<'a>(ctx: Ctx, argv: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
    let (command, mut options) = argv.split_at_checked(2)?;
    let (mut sorted, mut constant) = (command.to_vec(), false);
    while let Some(name) = options.first() {
        let words = if is(name, "LIMIT") {
            3
        } else if ["BY", "GET", "STORE"].iter().any(|option| is(name, option)) {
            2
        } else {
            1
        };
        let (option, rest) = options.split_at_checked(words)?;
        if is(name, "BY") {
            constant |= option.get(1).is_some_and(|pattern| !pattern.contains(&b'*'));
        } else {
            sorted.extend_from_slice(option);
        }
        options = rest;
    }
    sorted.push(b"ALPHA");
    let key = OwnedStr::new(command.get(1)?);
    let is_set = || ctx.open_for_reading(key.as_str()).value().is_some_and(|value| value.kind() == Kind::Set);
    (constant && is_set()).then_some(sorted)
}

/// The database that was selected before the script selected another. SELECT in `RM_Call` ends with that call, so the run's database is
/// set by hand, and set back at the end.
struct Selected(Option<(Ctx, c_int)>);

impl Selected {
    fn follow(&mut self, ctx: Ctx, argv: &[&[u8]]) {
        let number = argv.get(1).and_then(|number| parse_i64(number)).and_then(|number| c_int::try_from(number).ok());
        if let Some(number) = number {
            self.0.get_or_insert((ctx, ctx.db()));
            ctx.select(number);
        }
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        if let Some((ctx, before)) = self.0 {
            ctx.select(before);
        }
    }
}

/// The server's refusal in the words of scripts. A command may say itself that its arguments are too few, in words that stay.
fn in_script_words(text: &[u8], refuses_arity: bool) -> Option<&'static [u8]> {
    if refuses_arity && text.starts_with(b"-ERR wrong number of arguments for") {
        return Some(WRONG_ARITY);
    }
    if text.starts_with(b"-ERR command '") && text.ends_with(NOT_IN_SCRIPTS) {
        return Some(NOSCRIPT);
    }
    IN_SCRIPT_WORDS.iter().find(|(server, _)| text.starts_with(server)).map(|(_, words)| *words)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_worded_as_in_scripts() {
        for (server, words) in [
            ("-ERR unknown command 'x', with args\r\n", Some("-ERR Unknown Redis command called from script\r\n")),
            (
                "-ERR command 'multi' is not allowed on script mode\r\n",
                Some("-ERR This Redis command is not allowed from script\r\n"),
            ),
            ("-WRONGTYPE x\r\n", None),
            ("+OK\r\n", None),
        ] {
            assert_eq!(in_script_words(server.as_bytes(), false), words.map(str::as_bytes), "{server}");
        }
    }
}
