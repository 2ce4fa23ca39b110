//! Commands that a script runs.
//!
//! Each runs as the calling user (`C`), under the rules for scripts (`S`: noscript commands, read-only replicas, disk errors, too few
//! replicas; `M`: maxmemory), replicates its effect (`!`), and answers with an error instead of failing (`E`). As in the server's own
//! scripts, the state of the server can refuse the first write and none after it: from then on `S` and `M` are left out, and what `S`
//! forbids besides is looked up here.

mod native;

use std::collections::HashMap;
use std::ffi::{CString, c_int};

use super::args::{is, parse_i64};
use super::call::CallReply;
use super::module_api::{Ctx, Kind, OwnedStr, Str};
use super::slots::OneSlot;

use self::native::{Check, Passed};
pub use self::native::{Native, Natives, Run};

const UNKNOWN: &[u8] = b"-ERR Unknown Redis command called from script\r\n";
const NOSCRIPT: &[u8] = b"-ERR This Redis command is not allowed from script\r\n";
const READ_ONLY: &[u8] = b"-ERR Write commands are not allowed from read-only scripts.\r\n";
const WRONG_ARGUMENTS: &[u8] = b"-ERR Wrong number of args calling Redis command from script\r\n";
const OTHER_SLOT: &[u8] = b"-ERR Script attempted to access keys that do not hash to the same slot\r\n";

/// Commands that write nothing and reach the replicas. The server does not tell of that flag.
const MAY_REPLICATE: &[&str] = &["publish", "spublish", "pfcount"];

/// What the server's refusals of `RM_Call` are called in scripts.
const IN_SCRIPT_WORDS: &[(&[u8], &[u8])] = &[
    (b"-ERR unknown command", UNKNOWN),
    (b"-ERR unknown subcommand '", UNKNOWN),
    (b"-ERR wrong number of arguments for", WRONG_ARGUMENTS),
    (b"-ERR acl verification failed", b"-NOPERM The user executing the script can't run this command or access its keys\r\n"),
    (b"-ERR Attempted to access a non local key", b"-ERR Script attempted to access a non local key in a cluster node\r\n"),
];

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
    write: bool,
    may_replicate: bool,
    noscript: bool,
    /// It has subcommands, each with flags of its own.
    container: bool,
    special: Special,
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

/// More different names than a server has commands: beyond it the cache starts anew.
const MOST_NAMES: usize = 2048;

impl KnownCommands {
    /// What is known of the command; asks the server the first time. `None` for a name with a NUL byte, which is no command.
    fn get(&mut self, ctx: Ctx, argv: &[&[u8]]) -> Option<&Known> {
        let name = argv.first()?;
        let place = name.as_ptr().addr() / size_of::<u64>() % PLACES;
        let mut at = *self.by_place.get(place)?;
        if self.commands.get(at).is_none_or(|known| *known.words != **name) {
            at = self.find(ctx, name, name)?;
            *self.by_place.get_mut(place)? = at;
        }
        if self.commands.get(at)?.container
            && let Some(subcommand) = argv.get(1)
        {
            at = self.find(ctx, name, &[name, b"|".as_slice(), subcommand].concat())?;
        }
        self.commands.get(at)
    }

    /// The place of a command, or of `container|subcommand`, that is called by `name`.
    fn find(&mut self, ctx: Ctx, name: &[u8], words: &[u8]) -> Option<usize> {
        if let Some(&at) = self.by_name.get(words) {
            return Some(at);
        }
        if self.commands.len() >= MOST_NAMES {
            *self = Self::default();
        }
        let at = self.commands.len();
        self.commands.push(Known::ask(ctx, name, words)?);
        self.by_name.insert(words.into(), at);
        Some(at)
    }

    /// Whether the server has such a command.
    fn exists(ctx: Ctx, name: &[u8]) -> bool {
        !information(ctx, name).text().starts_with(b"*1\r\n*-1")
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
    /// Asks the server about `full`, a command or `container|subcommand`, that is called by `name`.
    fn ask(ctx: Ctx, name: &[u8], full: &[u8]) -> Option<Self> {
        let reply = information(ctx, full);
        let subcommands = [b"\n", name.to_ascii_lowercase().as_slice(), b"|"].concat();
        let container = name == full && contains(reply.text(), &subcommands);
        // COMMAND INFO also knows a subcommand by one word, which no call does.
        let callable = !container && !name.contains(&b'|');
        let flag = |flag: &[u8]| callable && contains(reply.text(), flag);
        Some(Self {
            words: full.into(),
            name: CString::new(name).ok()?,
            write: flag(b"+write\r\n"),
            may_replicate: MAY_REPLICATE.iter().any(|command| is(name, command)),
            noscript: flag(b"+noscript\r\n"),
            container,
            special: match name.to_ascii_lowercase().as_slice() {
                b"select" => Special::Select,
                b"sort" | b"sort_ro" => Special::Sort,
                _ => Special::None,
            },
        })
    }
}

fn says_no_user(reply: &CallReply) -> bool {
    reply.text().starts_with(b"-ERR cannot run as user")
}

/// Whether the server really cannot tell whose rights apply. Asked with a command of the server's own, since another module's command
/// may answer any text, and must not lift the caller's limits by it.
fn has_no_user(ctx: Ctx) -> bool {
    says_no_user(&CallReply::of(ctx, c"PING", c"vEC", &[]))
}

/// What a run may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Nothing that writes or replicates.
    pub read_only: bool,
    /// Writes whatever the memory.
    pub allow_oom: bool,
    /// Keys of one slot only, which is that of the declared ones if there are any.
    pub one_slot: Option<OneSlot>,
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
        let Some(known) = self.known.get(self.ctx, call.argv) else { return UNKNOWN };
        if self.rules.read_only && (known.write || known.may_replicate) {
            return READ_ONLY;
        }
        if known.noscript {
            return NOSCRIPT;
        }
        if let Some(slot) = &mut self.rules.one_slot
            && !slot.allows(self.ctx, call.argv)
        {
            return OTHER_SLOT;
        }
        let reordered = if known.special == Special::Sort { order_of_set(self.ctx, call.argv) } else { None };
        let args = reordered.as_deref().unwrap_or(call.argv).get(1 + usize::from(call.key.is_some())..).unwrap_or_default();
        let run = |as_user| {
            let modifiers = Modifiers::of(call, as_user, self.writes > 0, self.rules.allow_oom);
            CallReply::of_script(self.ctx, &known.name, modifiers.bytes(), call.key, args)
        };
        let mut reply = run(self.as_user);
        if self.as_user && says_no_user(&reply) && has_no_user(self.ctx) {
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
        if let Some(check) = check.filter(|_| !failed) {
            self.passed.add(check);
        }
        let text = self.reply.insert(reply).text();
        if failed { in_script_words(text).unwrap_or(text) } else { text }
    }

    /// Whether the caller may run a command; `None` if there is no such command.
    pub fn may_call(&mut self, argv: &[&[u8]]) -> Option<bool> {
        let known = self.known.get(self.ctx, argv)?;
        let words = if known.container { argv.get(..2)? } else { argv.get(..1)? };
        if !KnownCommands::exists(self.ctx, &words.join(&b'|')) {
            return None;
        }
        let args: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        Some(self.ctx.caller_may(OwnedStr::slice_as_str(&args)))
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
    let by = argv.iter().skip(2).position(|word| is(word, "BY"))?.saturating_add(2);
    let (pattern, is_get) = (argv.get(by.saturating_add(1))?, is(argv.get(by.saturating_sub(1))?, "GET"));
    let key = OwnedStr::new(argv.get(1)?);
    let is_set = ctx.open_for_reading(key.as_str()).is_some_and(|key| key.kind() == Kind::Set);
    if pattern.contains(&b'*') || is_get || !is_set {
        return None;
    }
    let mut sorted = argv.to_vec();
    sorted.drain(by..by.saturating_add(2));
    sorted.push(b"ALPHA");
    Some(sorted)
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

fn in_script_words(text: &[u8]) -> Option<&'static [u8]> {
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
            assert_eq!(in_script_words(server.as_bytes()), words.map(str::as_bytes), "{server}");
        }
    }
}
