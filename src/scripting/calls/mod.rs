//! The commands that a script calls.
//!
//! Each runs as the script's client (`C`), under the rules for scripts (`S`: noscript commands, read-only replicas, disk errors, too
//! few replicas; `M`: maxmemory), replicates its effect (`!`), and returns its errors as replies (`E`). As in the server's own
//! scripts, the state of the server can refuse the first write but no later one. After the first write, calls omit `S` and `M`, and
//! this file makes the other checks of `S`.

mod direct;
mod facts;
mod inner;
mod key_specs;
mod keys;
mod known;
mod native;
mod quiet;

use std::ffi::c_int;

use crate::keyspace::growth::{self, Limit};
use crate::server::args::{is, parse_i64};
use crate::server::call::CallReply;
use crate::server::key::Kind;
use crate::server::module_api::{Ctx, OwnedStr, Str};
use crate::server::slots::Slots;

use self::direct::Direct;
pub use self::facts::{Facts, Undoable};
pub use self::inner::{Inner, forget};
pub use self::known::KnownCommands;
use self::known::{KnownCommand, Special};
use self::native::{Check, PassedChecks};
pub use self::native::{Native, NativeFn, Natives};

const UNKNOWN: &[u8] = b"-ERR Unknown Redis command called from script\r\n";
const WRONG_ARITY: &[u8] = b"-ERR Wrong number of args calling Redis command from script\r\n";
const NOSCRIPT: &[u8] = b"-ERR This Redis command is not allowed from script\r\n";
const OUT_OF_MEMORY: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
const READ_ONLY: &[u8] = b"-ERR Write commands are not allowed from read-only scripts.\r\n";

/// The server's refusals of `RM_Call`, and their wording in scripts.
const SCRIPT_WORDING: &[(&[u8], &[u8])] = &[
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

/// Refusals by a cluster node. The refused command has used no slot.
const CLUSTER_REFUSALS: &[&[u8]] = &[NOT_LOCAL, DOWN_FOR_WRITES, DOWN];

/// A refusal whose text starts with `-ERR command '` and ends with this.
const NOT_IN_SCRIPTS: &[u8] = b"is not allowed on script mode\r\n";

/// What a run may do.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallRules {
    /// Commands that write or replicate are refused.
    pub read_only: bool,
    /// Writes are allowed above `maxmemory`.
    pub allow_oom: bool,
    /// Each write is checked against `maxmemory`, and not only the first one.
    pub limit_every_write: bool,
    /// Each call is watched, so the server must see it.
    pub watched: bool,
    /// The slots whose keys it may use in a cluster.
    pub slots: Slots,
}

impl CallRules {
    /// How the next command that may add memory is limited, after so many writes.
    fn memory_limit(&self, writes: u64) -> Limit {
        if self.limit_every_write {
            Limit::Now
        } else if writes > 0 || self.allow_oom {
            Limit::Exempt
        } else {
            Limit::AtStart
        }
    }
}

/// A command to run.
pub struct Invocation<'a> {
    pub argv: &'a [&'a [u8]],
    /// The first argument as the server's own string, if it is a key of the run.
    pub key: Option<Str<'a>>,
    /// The reply is RESP3.
    pub resp3: bool,
    /// The effect goes into the append-only file.
    pub aof: bool,
    /// The effect goes to the replicas.
    pub replicas: bool,
}

/// The command calls of one run.
pub struct Calls<'a> {
    ctx: Ctx,
    known: &'a mut KnownCommands,
    rules: CallRules,
    /// False once the server has reported that the client has no user (a replication link, another module). Such a client has all
    /// permissions.
    as_user: bool,
    writes: u64,
    reply: Option<CallReply>,
    /// The reply of a native command that ran without a call.
    text: Vec<u8>,
    passed: PassedChecks,
    direct: Direct,
    selected: Selected,
}

impl<'a> Calls<'a> {
    pub fn new(ctx: Ctx, known: &'a mut KnownCommands) -> Self {
        let rules = CallRules::default();
        Self {
            ctx,
            known,
            rules,
            as_user: true,
            writes: 0,
            reply: None,
            text: Vec::new(),
            passed: PassedChecks::default(),
            direct: Direct::default(),
            selected: Selected(None),
        }
    }

    /// Sets what the run may do, before its first command.
    pub fn set_rules(&mut self, rules: CallRules) {
        self.rules = rules;
    }

    /// The number of write commands that succeeded.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Runs one command. The reply's protocol text stays valid until the next call.
    pub fn call(&mut self, call: &Invocation<'_>) -> &[u8] {
        match self.known.find(self.ctx, call.argv) {
            Ok(at) if self.read(at, call) => &self.text,
            Ok(at) => {
                self.passed = PassedChecks::default();
                self.dispatch(at, call, None)
            }
            Err(refusal) => refusal,
        }
    }

    /// The reply of a call that did not run.
    pub fn answer(&mut self, reply: Vec<u8>) -> &[u8] {
        self.reply = None;
        self.text = reply;
        &self.text
    }

    /// Runs the known command at an index.
    fn dispatch(&mut self, at: usize, call: &Invocation<'_>, check: Option<Check>) -> &[u8] {
        // The previous reply is freed before the next command runs.
        self.reply = None;
        let Some(known) = self.known.commands.get(at) else { return UNKNOWN };
        if !known.is_plain {
            self.direct.forget();
        }
        let words = call.argv.len();
        if known.noscript || (self.rules.read_only && (known.write || known.may_replicate)) {
            return refusal_in_advance(known, words);
        }
        let slots = self.rules.slots;
        if !slots.are_all()
            && let Err(refusal) = known.check(&mut self.rules.slots, self.ctx, call.argv)
        {
            return refusal;
        }
        if known.deny_oom && self.rules.limit_every_write && self.ctx.exceeds_memory() {
            return OUT_OF_MEMORY;
        }
        let limit = self.rules.memory_limit(self.writes);
        let run = |as_user| {
            let modifiers = Modifiers::of(call, as_user, self.writes > 0, self.rules.allow_oom);
            let run = || known.run(self.ctx, modifiers.bytes(), call);
            growth::within(limit, run)
        };
        let reply = run(self.as_user);
        if !reply.text().starts_with(b"-") {
            if known.special == Special::Select {
                self.selected.follow(self.ctx, call.argv);
            }
            self.writes = self.writes.saturating_add(known.write.into());
            if let Some(check) = check {
                self.passed.add(check);
            }
            return self.reply.insert(reply).text();
        }
        if self.as_user && reply.says_no_user() && self.ctx.has_no_user() {
            self.as_user = false;
            return self.dispatch(at, call, check);
        }
        if CLUSTER_REFUSALS.iter().any(|words| reply.text().starts_with(words)) {
            self.rules.slots = slots;
        }
        let refuses_arity = !known.accepts_arity(words);
        let text = self.reply.insert(reply).text();
        script_wording(text, refuses_arity).unwrap_or(text)
    }

    /// Whether the calls of this run are watched, so that the server must run each of them.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.rules.watched
    }

    /// Whether the client has permission for a command, and whether the number of arguments is right; `None` if there is no such
    /// command.
    pub fn may_call(&mut self, argv: &[&[u8]]) -> Option<(bool, bool)> {
        let takes = self.known.get(self.ctx, argv).ok()?.accepts_arity(argv.len());
        let args: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        Some((self.ctx.caller_may(OwnedStr::slice_as_str(&args)), takes))
    }
}

/// The refusal of a command that scripts, or those that only read, may not run.
#[cold]
fn refusal_in_advance(known: &KnownCommand, words: usize) -> &'static [u8] {
    if known.noscript {
        NOSCRIPT
    } else if known.accepts_arity(words) {
        READ_ONLY
    } else {
        WRONG_ARITY
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

/// `SORT key BY constant` does not sort. A set has no order, so in its own scripts the server then sorts the elements as text. It
/// does not know that `RM_Call` comes from a script, so the call gets `ALPHA` instead of `BY`. `None` if the call stays as it is.
#[cold]
fn argv_with_alpha<'a>(ctx: Ctx, argv: &[&'a [u8]]) -> Option<Vec<&'a [u8]>> {
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

/// The database before the script's first SELECT. SELECT in `RM_Call` ends with that call, so the run selects the database itself and
/// restores the old one at the end.
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

/// The server's refusal in the wording of scripts. A command's own error about too few arguments stays as it is.
fn script_wording(text: &[u8], refuses_arity: bool) -> Option<&'static [u8]> {
    if refuses_arity && text.starts_with(b"-ERR wrong number of arguments for") {
        return Some(WRONG_ARITY);
    }
    if text.starts_with(b"-ERR command '") && text.ends_with(NOT_IN_SCRIPTS) {
        return Some(NOSCRIPT);
    }
    SCRIPT_WORDING.iter().find(|(server, _)| text.starts_with(server)).map(|(_, words)| *words)
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
            assert_eq!(script_wording(server.as_bytes(), false), words.map(str::as_bytes), "{server}");
        }
    }
}
