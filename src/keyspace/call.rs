//! Commands that a script runs, through `RM_Call`.
//!
//! Each runs as the calling user (`C`), under the rules for scripts (`S`: noscript commands, read-only replicas, disk errors; `M`:
//! maxmemory), replicates its effect (`!`), and answers with an error instead of failing (`E`). Replies are read as protocol text: the
//! reply tree of the module API cannot tell a status from a bulk string.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::slice;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api};
use crate::error::{Error, Result};

/// A script's commands are at most this many different names; a cache of their flags never grows beyond it.
const KNOWN_COMMANDS: usize = 4096;

/// What the server's refusals of `RM_Call` are called in scripts.
const IN_SCRIPT_WORDS: &[(&[u8], &[u8])] = &[
    (b"-ERR unknown command", b"-ERR Unknown Redis command called from script\r\n"),
    (b"-ERR wrong number of arguments for", b"-ERR Wrong number of args calling Redis command from script\r\n"),
    (b"-ERR acl verification failed", b"-NOPERM The user executing the script can't run this command or access its keys\r\n"),
];

/// A refusal whose text starts with `-ERR command '` and ends with this.
const NOT_IN_SCRIPTS: &[u8] = b"is not allowed on script mode\r\n";

/// Whether a command may write, by its lower-case name. Outlives a run: asking the server costs a call.
pub type WriteFlags = HashMap<Vec<u8>, bool>;

/// The commands of one script run.
pub struct Calls<'a> {
    ctx: Ctx,
    write_flags: &'a mut WriteFlags,
    /// False once the server said that the caller has no user (a replication link, another module): such a caller has every right.
    as_user: bool,
    writes: u64,
    reply: Option<CallReply>,
    rewritten: Option<&'static [u8]>,
}

impl<'a> Calls<'a> {
    /// Starts a run.
    pub fn new(ctx: Ctx, write_flags: &'a mut WriteFlags) -> Self {
        Self { ctx, write_flags, as_user: true, writes: 0, reply: None, rewritten: None }
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
        self.rewritten = None;
        let Some((name, args)) = argv.split_first() else { return b"-ERR no command\r\n" };
        let Ok(name) = CString::new(*name) else { return IN_SCRIPT_WORDS.first().map_or(b"", |(_, words)| *words) };
        let args: Vec<OwnedStr> = args.iter().map(|arg| OwnedStr::new(arg)).collect();
        let mut reply = CallReply::of(self.ctx, &name, if self.as_user { c"v!ECSM" } else { c"v!ESM" }, &args);
        if self.as_user && reply.text().starts_with(b"-ERR cannot run as user") {
            self.as_user = false;
            reply = CallReply::of(self.ctx, &name, c"v!ESM", &args);
        }
        self.rewritten = in_script_words(reply.text());
        if !reply.text().starts_with(b"-") && self.may_write(name.to_bytes()) {
            self.writes = self.writes.saturating_add(1);
        }
        let reply = self.reply.insert(reply);
        self.rewritten.unwrap_or_else(|| reply.text())
    }

    fn may_write(&mut self, name: &[u8]) -> bool {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.write_flags.get(&name) {
            return *known;
        }
        let args = [OwnedStr::new(b"INFO"), OwnedStr::new(&name)];
        let info = CallReply::of(self.ctx, c"COMMAND", c"vE", &args);
        let writes = contains(info.text(), b"+write\r\n");
        if self.write_flags.len() < KNOWN_COMMANDS {
            self.write_flags.insert(name, writes);
        }
        writes
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
        let reply = CallReply::with(self, name, c"v!E", args);
        match reply.text().strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(Error::Script(text.trim_ascii_end().to_vec())),
        }
    }
}

/// A reply of the server. Freed when dropped.
struct CallReply(*mut raw::RedisModuleCallReply);

impl CallReply {
    fn of(ctx: Ctx, name: &CStr, format: &CStr, args: &[OwnedStr]) -> Self {
        let argv: Vec<Str<'_>> = args.iter().map(OwnedStr::as_str).collect();
        Self::with(ctx, name, format, &argv)
    }

    fn with(ctx: Ctx, name: &CStr, format: &CStr, argv: &[Str<'_>]) -> Self {
        // SAFETY: "v" takes an array of module strings and its length; the context belongs to the running command.
        Self(unsafe { api!(RedisModule_Call)(ctx.raw(), name.as_ptr(), format.as_ptr(), argv.as_ptr(), argv.len()) })
    }

    fn text(&self) -> &[u8] {
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
