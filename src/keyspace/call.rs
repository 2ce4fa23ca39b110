//! Commands that a script runs, through `RM_Call`.
//!
//! Each runs as the calling user (`C`), under the rules for scripts (`S`: noscript commands, read-only replicas, disk errors; `M`:
//! maxmemory), replicates its effect (`!`), and answers with an error instead of failing (`E`). Replies are read as protocol text: the
//! reply tree of the module API cannot tell a status from a bulk string.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int};
use std::hash::{BuildHasherDefault, Hasher};
use std::slice;

use redis_module::raw;

use super::args::parse_i64;
use super::module_api::{Ctx, OwnedStr, Str, api};
use crate::error::{Error, Result};

const UNKNOWN: &[u8] = b"-ERR Unknown Redis command called from script\r\n";

/// What the server's refusals of `RM_Call` are called in scripts.
const IN_SCRIPT_WORDS: &[(&[u8], &[u8])] = &[
    (b"-ERR unknown command", UNKNOWN),
    (b"-ERR unknown subcommand '", UNKNOWN),
    (b"-ERR wrong number of arguments for", b"-ERR Wrong number of args calling Redis command from script\r\n"),
    (b"-ERR acl verification failed", b"-NOPERM The user executing the script can't run this command or access its keys\r\n"),
];

/// A refusal whose text starts with `-ERR command '` and ends with this.
const NOT_IN_SCRIPTS: &[u8] = b"is not allowed on script mode\r\n";

/// What is known of the commands that scripts called. Outlives a run: asking the server costs a call.
///
/// Keyed by the name as the script writes it, so that a lookup neither copies nor folds; bounded, so that names from outside cannot fill
/// the memory.
#[derive(Default)]
pub struct KnownCommands(HashMap<Box<[u8]>, Known, BuildHasherDefault<NameHash>>);

struct Known {
    name: CString,
    may_write: bool,
}

/// More different names than a server has commands: beyond it the cache starts anew.
const MOST_NAMES: usize = 2048;

fn says_no_user(reply: &CallReply) -> bool {
    reply.text().starts_with(b"-ERR cannot run as user")
}

/// Whether the server really cannot tell whose rights apply. Asked with a command of the server's own, since another module's command
/// may answer any text, and must not lift the caller's limits by it.
fn has_no_user(ctx: Ctx) -> bool {
    says_no_user(&CallReply::of(ctx, c"PING", c"vEC", &[]))
}

impl KnownCommands {
    /// What is known of `name`; asks the server the first time. `None` for a name with a NUL byte, which is no command.
    fn get(&mut self, ctx: Ctx, name: &[u8]) -> Option<&Known> {
        if !self.0.contains_key(name) {
            if self.0.len() >= MOST_NAMES {
                self.0.clear();
            }
            let known = Known { name: CString::new(name).ok()?, may_write: may_write(ctx, name) };
            self.0.insert(name.into(), known);
        }
        self.0.get(name)
    }
}

fn may_write(ctx: Ctx, name: &[u8]) -> bool {
    let info = CallReply::of(ctx, c"COMMAND", c"vE", &[OwnedStr::new(b"INFO"), OwnedStr::new(name)]);
    contains(info.text(), b"+write\r\n")
}

/// FNV-1a: the names are short, and bounded in number, so a flood of colliding ones costs its sender a scan of the bound at most.
#[derive(Default)]
struct NameHash(u64);

impl Hasher for NameHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

/// The commands of one script run.
pub struct Calls<'a> {
    ctx: Ctx,
    known: &'a mut KnownCommands,
    /// False once the server said that the caller has no user (a replication link, another module): such a caller has every right.
    as_user: bool,
    writes: u64,
    reply: Option<CallReply>,
    /// The arguments of one call; kept for its room.
    args: Vec<OwnedStr>,
    selected: Selected,
}

impl<'a> Calls<'a> {
    /// Starts a run.
    pub fn new(ctx: Ctx, known: &'a mut KnownCommands) -> Self {
        Self { ctx, known, as_user: true, writes: 0, reply: None, args: Vec::new(), selected: Selected(None) }
    }

    /// How many commands that may write were applied.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes
    }

    /// Runs one command. The reply's protocol text stays valid until the next call.
    pub fn call(&mut self, argv: &[&[u8]]) -> &[u8] {
        // The previous reply is freed before the next command runs.
        self.reply = None;
        let Some((name, args)) = argv.split_first() else { return b"-ERR no command\r\n" };
        let Some(known) = self.known.get(self.ctx, name) else { return UNKNOWN };
        self.args.clear();
        self.args.extend(args.iter().map(|arg| OwnedStr::new(arg)));
        let mut reply = CallReply::of(self.ctx, &known.name, if self.as_user { c"v!ECSM" } else { c"v!ESM" }, &self.args);
        if self.as_user && says_no_user(&reply) && has_no_user(self.ctx) {
            self.as_user = false;
            reply = CallReply::of(self.ctx, &known.name, c"v!ESM", &self.args);
        }
        let failed = reply.text().starts_with(b"-");
        if !failed && name.eq_ignore_ascii_case(b"select") {
            self.selected.follow(self.ctx, args);
        }
        if !failed && known.may_write {
            self.writes = self.writes.saturating_add(1);
        }
        let text = self.reply.insert(reply).text();
        if failed { in_script_words(text).unwrap_or(text) } else { text }
    }
}

/// The database that was selected before the script selected another. SELECT in `RM_Call` ends with that call, so the run's database is
/// set by hand, and set back at the end.
struct Selected(Option<(Ctx, c_int)>);

impl Selected {
    fn follow(&mut self, ctx: Ctx, args: &[&[u8]]) {
        let number = args.first().and_then(|number| parse_i64(number)).and_then(|number| c_int::try_from(number).ok());
        let Some(number) = number else { return };
        // SAFETY: the context belongs to the running command.
        unsafe {
            let before = api!(RedisModule_GetSelectedDb)(ctx.raw());
            if api!(RedisModule_SelectDb)(ctx.raw(), number) == raw::REDISMODULE_OK as c_int {
                self.0.get_or_insert((ctx, before));
            }
        }
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        if let Some((ctx, before)) = self.0 {
            // SAFETY: a run ends before its command does.
            unsafe { api!(RedisModule_SelectDb)(ctx.raw(), before) };
        }
    }
}

fn in_script_words(text: &[u8]) -> Option<&'static [u8]> {
    if text.starts_with(b"-ERR command '") && text.ends_with(NOT_IN_SCRIPTS) {
        return Some(b"-ERR This Redis command is not allowed from script\r\n");
    }
    IN_SCRIPT_WORDS.iter().find(|(server, _)| text.starts_with(server)).map(|(_, words)| *words)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Ctx {
    /// Runs one of the server's own commands as a change of ours: with its replication and its events, without the caller's ACL, which
    /// the server has checked for our command. An error reply is the error.
    pub fn run(self, name: &CStr, args: &[Str<'_>]) -> Result<()> {
        CallReply::with(self, name, c"v!E", args).done()
    }
}

/// What only the server's own commands tell.
impl Ctx {
    /// Whether this node of the cluster serves the key.
    #[must_use]
    pub fn is_local(self, key: Str<'_>) -> bool {
        CallReply::with(self, c"EXISTS", c"vE", &[key]).text().starts_with(b":")
    }

    /// The slot of a key.
    #[must_use]
    pub fn slot_of(self, key: Str<'_>) -> Option<u16> {
        let reply = CallReply::with(self, c"CLUSTER", c"vE", &[OwnedStr::new(b"KEYSLOT").as_str(), key]);
        std::str::from_utf8(reply.text().strip_prefix(b":")?.trim_ascii_end()).ok()?.parse().ok()
    }

    /// The answer to `CLUSTER NODES`.
    #[must_use]
    pub fn cluster_nodes(self) -> Option<String> {
        CallReply::of(self, c"CLUSTER", c"vE", &[OwnedStr::new(b"NODES")]).bulk()
    }

    /// What `CLIENT LIST` says of a connection.
    #[must_use]
    pub fn client(self, id: u64) -> Option<Client> {
        let id = OwnedStr::number(i64::try_from(id).ok()?);
        let line = CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"LIST"), OwnedStr::new(b"ID"), id]).bulk()?;
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        let length = |name| field(name)?.parse::<usize>().ok();
        let pending = if length("oll=")? == 0 { length("obl=") } else { None };
        Some(Client { pending, closes_after_reply: field("flags=")?.contains('c') })
    }
}

/// A connection of the server.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// How many bytes of replies wait to be sent; `None` when they are too many to tell.
    pub pending: Option<usize>,
    /// Whether it is closed because everything was said, and not in the middle.
    pub closes_after_reply: bool,
}

/// A reply of the server. Freed when dropped.
pub(super) struct CallReply(*mut raw::RedisModuleCallReply);

impl CallReply {
    /// Runs a command. `format` is that of RM_Call and starts with `v`.
    pub(super) fn of(ctx: Ctx, name: &CStr, format: &CStr, args: &[OwnedStr]) -> Self {
        Self::with(ctx, name, format, OwnedStr::slice_as_str(args))
    }

    fn with(ctx: Ctx, name: &CStr, format: &CStr, argv: &[Str<'_>]) -> Self {
        // SAFETY: "v" takes an array of module strings and its length; the context belongs to the running command.
        Self(unsafe { api!(RedisModule_Call)(ctx.raw(), name.as_ptr(), format.as_ptr(), argv.as_ptr(), argv.len()) })
    }

    /// Its protocol text.
    pub(super) fn text(&self) -> &[u8] {
        if self.0.is_null() {
            return b"-ERR the server did not run the command\r\n";
        }
        let mut len = 0;
        // SAFETY: the reply is alive until `drop`, and its text with it.
        unsafe {
            let start = api!(RedisModule_CallReplyProto)(self.0, &raw mut len);
            if start.is_null() { b"-ERR the server gave no reply\r\n" } else { slice::from_raw_parts(start.cast(), len) }
        }
    }
}

impl CallReply {
    /// Nothing, or the error that it is.
    pub(super) fn done(&self) -> Result<()> {
        match self.text().strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(Error::Script(text.trim_ascii_end().to_vec())),
        }
    }

    /// The text of a bulk string.
    fn bulk(&self) -> Option<String> {
        let text = std::str::from_utf8(self.text().strip_prefix(b"$")?).ok()?;
        text.split_once("\r\n").map(|(_, text)| text.to_owned())
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by RM_Call, freed once.
            unsafe { api!(RedisModule_FreeCallReply)(self.0) };
        }
    }
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
