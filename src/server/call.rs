//! Commands that this module runs through `RM_Call`. Replies are read as protocol text: the module API's reply tree does not distinguish
//! a status from a bulk string.

use std::ffi::{CStr, c_int};
use std::slice;

use redis_module::raw;

use super::module_api::{Ctx, OwnedStr, Str, api};
use super::open_keys;
use super::reply::Reply;
use super::slots;
use crate::error::{Error, Result};
use crate::primitives::resp::{Part, Reader};

/// The number of arguments of a script's command that are passed one by one.
const SPELLED: usize = 12;

/// The format of such arguments: a pointer and a length for each.
const LETTERS: &[u8; SPELLED] = b"bbbbbbbbbbbb";

/// Calls `RM_Call` with the given values, followed by a pointer and a length for each of up to [`SPELLED`] arguments.
macro_rules! spell {
    ($args:expr; $($given:expr),*) => {
        spell!(@arms $args; ($($given),*);
            [] [a] [a b] [a b c] [a b c d] [a b c d e] [a b c d e f] [a b c d e f g] [a b c d e f g h] [a b c d e f g h i]
            [a b c d e f g h i j] [a b c d e f g h i j k] [a b c d e f g h i j k l])
    };
    (@arms $args:expr; $given:tt; $([$($arg:ident)*])*) => {
        match $args {
            $([$($arg),*] => spell!(@call $given $($arg)*),)*
            _ => std::ptr::null_mut(),
        }
    };
    (@call ($($given:expr),*) $($arg:ident)*) => {
        api!(RedisModule_Call)($($given,)* $($arg.as_ptr(), $arg.len()),*)
    };
}

impl Ctx {
    /// Runs a command of the server as a change by this module: with its replication and its keyspace events, but without an ACL check,
    /// since the server has checked the module's command. An error reply is the error.
    pub fn run(self, name: &CStr, args: &[Str<'_>]) -> Result<()> {
        CallReply::with(self, name, c"v!E", args).done()
    }
}

/// Facts that only the server's own commands report.
impl Ctx {
    /// Whether the server can check a command without running it. Redis 7.0 cannot and does not know the modifier.
    #[must_use]
    pub fn tells_refusals(self) -> bool {
        CallReply::refusal(self, c"atomic.", b"E", &[]).is_some()
    }

    #[must_use]
    pub fn has_command(self, name: &[u8]) -> bool {
        let reply = CallReply::of(self, c"COMMAND", c"vE", &[OwnedStr::new(b"INFO"), OwnedStr::new(name)]);
        // An array with one element: the description of the command, or a null.
        let mut reader = reply.reader();
        reader.values() == Some(1) && matches!(reader.part(), Some(Part::Array(_)))
    }

    /// A setting of the server.
    #[must_use]
    pub fn config(self, name: &str) -> Option<String> {
        self.configs(&[name]).pop().map(|(_, value)| value)
    }

    /// Several settings of the server, in one call. A setting that the server does not know is absent.
    #[must_use]
    pub fn configs(self, names: &[&str]) -> Vec<(String, String)> {
        let words = ["GET"].iter().chain(names).map(|word| OwnedStr::new(word.as_bytes())).collect::<Vec<_>>();
        let reply = CallReply::of(self, c"CONFIG", c"vE", &words);
        let mut fields = reply.strings().into_iter().map(|field| String::from_utf8_lossy(field).into_owned());
        std::iter::from_fn(|| Some((fields.next()?, fields.next()?))).collect()
    }

    /// Whether the server has no user for the running command. The server looks for the user before the command, so this asks with a
    /// command that does not exist: no other text can be mistaken for the answer, and nothing is denied.
    #[must_use]
    pub fn has_no_user(self) -> bool {
        CallReply::of(self, c"atomic.", c"vEC", &[]).says_no_user()
    }

    /// Whether the server refuses every write: a failing disk, too few replicas, a read-only replica. Asks with a command that has no keys
    /// and no effect. Works only if the server can check a command ([`Ctx::tells_refusals`]).
    #[must_use]
    pub fn refuses_writes(self) -> bool {
        const REASONS: [&[u8]; 3] = [b"-MISCONF ", b"-NOREPLICAS ", b"-READONLY "];
        let zero = OwnedStr::new(b"0");
        let refusal = CallReply::refusal(self, c"SWAPDB", b"ES", &[zero.as_str(), zero.as_str()]);
        refusal.is_some_and(|refusal| REASONS.iter().any(|reason| refusal.text().starts_with(reason)))
    }

    /// Whether this node of the cluster serves the key.
    #[must_use]
    pub fn is_local(self, key: Str<'_>) -> bool {
        CallReply::with(self, c"EXISTS", c"vE", &[key]).reader().integer().is_some()
    }

    #[must_use]
    pub fn slot_of(self, key: Str<'_>) -> Option<u16> {
        let reply = CallReply::with(self, c"CLUSTER", c"vE", &[OwnedStr::new(b"KEYSLOT").as_str(), key]);
        reply.reader().integer()?.try_into().ok()
    }

    /// The reply of `CLUSTER NODES`.
    #[must_use]
    pub fn cluster_nodes(self) -> Option<String> {
        CallReply::of(self, c"CLUSTER", c"vE", &[OwnedStr::new(b"NODES")]).bulk()
    }

    /// The ids of the connections in a transaction.
    #[must_use]
    pub fn clients_in_transactions(self) -> Vec<u64> {
        self.connections().into_iter().filter(|connection| connection.queued >= 0).map(|connection| connection.id).collect()
    }

    /// Whether the server has all these commands by these names.
    #[must_use]
    pub fn has_commands(self, names: &[&str]) -> bool {
        let words: Vec<_> =
            std::iter::once("INFO").chain(names.iter().copied()).map(|word| OwnedStr::new(word.as_bytes())).collect();
        let reply = CallReply::of(self, c"COMMAND", c"vE", &words);
        let mut reader = reply.reader();
        let known = |reader: &mut Reader<'_>| {
            let values = reader.values().filter(|values| *values > 0)?;
            reader.skip(values)
        };
        reader.values() == Some(names.len()) && names.iter().all(|_| known(&mut reader).is_some())
    }

    #[must_use]
    pub fn connections(self) -> Vec<Connection> {
        let list = CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"LIST")]).bulk().unwrap_or_default();
        list.lines().filter_map(Connection::parse).collect()
    }

    /// Closes a connection at once, even in the middle of a command.
    pub fn kill_connection(self, id: u64) {
        let Ok(id) = i64::try_from(id) else { return };
        CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"KILL"), OwnedStr::new(b"ID"), OwnedStr::number(id)]);
    }

    /// The output state of a connection, from `CLIENT LIST`.
    #[must_use]
    pub fn client(self, id: u64) -> Option<Client> {
        let id = OwnedStr::number(i64::try_from(id).ok()?);
        let line = CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"LIST"), OwnedStr::new(b"ID"), id]).bulk()?;
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        let length = |name| field(name)?.parse::<usize>().ok();
        let pending = if length("oll=")? == 0 { length("obl=") } else { None };
        Some(Client { pending, closes_after_reply: field("flags=")?.contains('c') })
    }

    /// The keys among the words of a command, as the module API finds them.
    #[must_use]
    pub fn keys_of<'a>(self, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let strings: Vec<_> = argv.iter().map(|arg| OwnedStr::new(arg)).collect();
        let words = OwnedStr::slice_as_str(&strings);
        let mut count: c_int = 0;
        // SAFETY: `Str` is a transparent pointer, and `strings` keeps the words alive; the server does not write to them. It returns null
        // or an array of `count` integers that the caller frees.
        unsafe {
            let words = words.as_ptr().cast_mut().cast::<*mut raw::RedisModuleString>();
            let argc = c_int::try_from(argv.len()).unwrap_or(c_int::MAX);
            let found = api!(RedisModule_GetCommandKeys)(self.raw(), words, argc, &raw mut count);
            if found.is_null() {
                return Vec::new();
            }
            let positions = slice::from_raw_parts(found, usize::try_from(count).unwrap_or(0));
            let keys = positions.iter().filter_map(|&at| argv.get(usize::try_from(at).ok()?).copied()).collect();
            api!(RedisModule_Free)(found.cast());
            keys
        }
    }

    /// Reports the keys of the command `words`, the first of which is word `at` of the running command. Nothing if there is no such
    /// command, or if it has too few words.
    pub fn report_keys_of(self, words: &[Str<'_>], at: usize) {
        let (mut count, mut flags): (c_int, *mut c_int) = (0, std::ptr::null_mut());
        // SAFETY: `Str` is a transparent pointer, and the running command keeps the words alive; the server does not write to them. It
        // returns null, or an array of `count` integers and another one in `flags`, which the caller frees.
        unsafe {
            let argv = words.as_ptr().cast_mut().cast::<*mut raw::RedisModuleString>();
            let argc = c_int::try_from(words.len()).unwrap_or(c_int::MAX);
            let found = api!(RedisModule_GetCommandKeysWithFlags)(self.raw(), argv, argc, &raw mut count, &raw mut flags);
            if found.is_null() || flags.is_null() {
                return;
            }
            let len = usize::try_from(count).unwrap_or(0);
            for (&position, &flags) in slice::from_raw_parts(found, len).iter().zip(slice::from_raw_parts(flags, len)) {
                if let Ok(position) = usize::try_from(position) {
                    self.key_at(position.saturating_add(at), flags.unsigned_abs());
                }
            }
            api!(RedisModule_Free)(found.cast());
            api!(RedisModule_Free)(flags.cast());
        }
    }

    /// The keys among the words of a command, by its key specs. The server returns their texts; any word of the command with the same
    /// text will do.
    #[must_use]
    pub fn specified_keys_of<'a>(self, argv: &[&'a [u8]]) -> Vec<&'a [u8]> {
        let words: Vec<_> = [b"GETKEYS".as_slice()].iter().chain(argv).map(|word| OwnedStr::new(word)).collect();
        let reply = CallReply::of(self, c"COMMAND", c"vE", &words);
        reply.strings().into_iter().filter_map(|key| argv.iter().copied().find(|word| *word == key)).collect()
    }
}

/// Commands of the server that a command of this module replaces, run as the client.
impl Ctx {
    /// Runs a command and sends its reply to the client, in the client's protocol.
    pub fn relay(self, name: &CStr, args: &[Str<'_>]) -> Result<Reply> {
        slots::check_relay(self, name, args)?;
        CallReply::as_caller(self, name, Memory::Limited, args).relay(self).map(|()| Reply::Sent)
    }

    /// Runs a command; an error reply is the error.
    pub fn native(self, name: &CStr, args: &[Str<'_>]) -> Result<()> {
        CallReply::with(self, name, c"v!E", args).done()
    }

    /// The reply of a command that returns an array of ones and zeros.
    #[must_use]
    pub fn native_flags(self, name: &CStr, args: &[Str<'_>]) -> Vec<bool> {
        let reply = CallReply::with(self, name, c"vE", args);
        let mut reader = reply.reader();
        let count = reader.values().unwrap_or(0);
        (0..count).map_while(|_| reader.integer()).map(|flag| flag == 1).collect()
    }

    /// The names of the users of the ACL.
    #[must_use]
    pub fn acl_users(self) -> Vec<OwnedStr> {
        let reply = CallReply::of(self, c"ACL", c"vE", &[OwnedStr::new(b"USERS")]);
        reply.strings().into_iter().map(OwnedStr::new).collect()
    }
}

/// A line of `CLIENT LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The id of the client.
    pub id: u64,
    /// The full name of its last command.
    pub command: String,
    /// The number of commands in its transaction; -1 outside a transaction.
    pub queued: i64,
    /// Whether its command is blocked, paused or about to resume.
    pub is_held: bool,
    /// Whether it is the link to the primary or to a replica.
    pub is_link: bool,
    /// Whether its command has not finished.
    pub runs: bool,
    /// Whether the server remembers the keys that it reads, to tell it when they change.
    pub caches: bool,
    /// Whether it is a MONITOR.
    pub monitors: bool,
}

impl Connection {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        let flags = field("flags=")?;
        Some(Self {
            id: field("id=")?.parse().ok()?,
            command: field("cmd=")?.to_owned(),
            queued: field("multi=")?.parse().unwrap_or(-1),
            is_held: flags.contains(['b', 'u']),
            is_link: flags.contains(['M', 'S']),
            runs: field("argv-mem=")? != "0",
            caches: flags.contains('t') && !flags.contains('B'),
            monitors: flags.contains('O'),
        })
    }
}

/// The output state of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    /// The number of unsent reply bytes; `None` if there are so many that the server does not report a number.
    pub pending: Option<usize>,
    /// Whether the server closes it after the last reply, as opposed to at once.
    pub closes_after_reply: bool,
}

/// Whether a command that may add memory is refused above `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    Limited,
    Exempt,
}

/// Whether the server refused a call for lack of permissions, in the words of Redis 7.0. Later servers have the code NOPERM.
#[must_use]
pub fn is_denial(error: &Error) -> bool {
    matches!(error, Error::Script(text) if text.starts_with(b"ERR acl verification failed"))
}

/// The reply of a command. Freed when dropped.
pub struct CallReply(*mut raw::RedisModuleCallReply);

impl CallReply {
    /// Runs a command with owned strings as arguments; the format has one "v".
    pub fn of(ctx: Ctx, name: &CStr, format: &CStr, args: &[OwnedStr]) -> Self {
        Self::with(ctx, name, format, OwnedStr::slice_as_str(args))
    }

    /// Runs a command; the format has one "v".
    pub fn with(ctx: Ctx, name: &CStr, format: &CStr, argv: &[Str<'_>]) -> Self {
        open_keys::assert_none();
        // SAFETY: the context belongs to the running callback. The format's "v" takes an array of module strings and its length; `Str` is a
        // transparent pointer, and the borrow keeps the strings alive.
        Self(unsafe { api!(RedisModule_Call)(ctx.raw(), name.as_ptr(), format.as_ptr(), argv.as_ptr(), argv.len()) })
    }

    /// Runs a command with the permissions of the client's user. A client without a user may run everything.
    pub fn as_caller(ctx: Ctx, name: &CStr, memory: Memory, argv: &[Str<'_>]) -> Self {
        let (as_user, as_anyone) = match memory {
            Memory::Limited => (c"v!CEM0", c"v!EM0"),
            Memory::Exempt => (c"v!CE0", c"v!E0"),
        };
        let reply = Self::with(ctx, name, as_user, argv);
        if reply.says_no_user() && ctx.has_no_user() { Self::with(ctx, name, as_anyone, argv) } else { reply }
    }

    /// Whether the server found no user to check, or the command itself returned that text.
    pub fn says_no_user(&self) -> bool {
        self.text().starts_with(b"-ERR cannot run as user")
    }

    /// Sends the reply, which must be in the client's protocol, to the client. An error reply is returned instead: all errors take one way.
    pub fn relay(&self, ctx: Ctx) -> Result<()> {
        self.done()?;
        // SAFETY: the context belongs to the running command. A missing reply reads as an error, so this one exists, and `drop` frees it.
        unsafe { api!(RedisModule_ReplyWithCallReply)(ctx.raw(), self.0) };
        Ok(())
    }

    /// Runs a command for a script. The first argument may be an existing string of the server. The server makes the others itself and so
    /// is their only owner, which is its condition for storing a number in the short form. With more than [`SPELLED`] arguments this
    /// module makes them, and a number among them stays text.
    pub fn of_script(ctx: Ctx, name: &CStr, modifiers: &[u8], key: Option<Str<'_>>, args: &[&[u8]]) -> Self {
        open_keys::assert_none();
        let strings = args.len().saturating_add(usize::from(key.is_some()));
        let mut format = [0_u8; SPELLED + 16];
        let letters: &[u8] = if strings > SPELLED { b"v" } else { LETTERS.get(..args.len()).unwrap_or_default() };
        let first: &[u8] = if strings <= SPELLED && key.is_some() { b"s" } else { b"" };
        for (to, from) in format.iter_mut().zip(first.iter().chain(letters).chain(modifiers)) {
            *to = *from;
        }
        // SAFETY: the context belongs to the running command. The format ends with a NUL and has a letter for each argument below, and the
        // strings outlive the call.
        Self(unsafe {
            let (ctx, name, format) = (ctx.raw(), name.as_ptr(), format.as_ptr().cast());
            match key {
                _ if strings > SPELLED => {
                    let made: Vec<_> = args.iter().map(|arg| OwnedStr::new(arg)).collect();
                    let all: Vec<_> = key.into_iter().chain(made.iter().map(OwnedStr::as_str)).collect();
                    api!(RedisModule_Call)(ctx, name, format, all.as_ptr(), all.len())
                }
                Some(key) => spell!(args; ctx, name, format, key.raw()),
                None => spell!(args; ctx, name, format),
            }
        })
    }

    /// The error with which the server would refuse a command, if any: all checks without the run. Works only on servers that know the
    /// modifier `D` ([`Ctx::tells_refusals`]).
    pub fn refusal(ctx: Ctx, name: &CStr, modifiers: &[u8], args: &[Str<'_>]) -> Option<Self> {
        let mut format = [0_u8; 16];
        for (to, from) in format.iter_mut().zip(b"vD".iter().chain(modifiers)) {
            *to = *from;
        }
        let format = CStr::from_bytes_until_nul(&format).unwrap_or(c"vD");
        // If nothing is refused, some servers return no reply and others an empty one.
        Some(Self::with(ctx, name, format, args)).filter(|reply| !reply.0.is_null() && reply.text().starts_with(b"-"))
    }

    /// The reply as protocol text.
    pub fn text(&self) -> &[u8] {
        if self.0.is_null() {
            return b"-ERR the server did not run the command\r\n";
        }
        let mut len = 0;
        // SAFETY: the reply is not null and alive until `drop`, and so is its text; the server returns the start and the length.
        unsafe {
            let start = api!(RedisModule_CallReplyProto)(self.0, &raw mut len);
            if start.is_null() { b"-ERR the server gave no reply\r\n" } else { slice::from_raw_parts(start.cast(), len) }
        }
    }
}

impl CallReply {
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self.text())
    }

    /// The strings of an array; none if the reply is anything else.
    pub fn strings(&self) -> Vec<&[u8]> {
        self.reader().strings().unwrap_or_default()
    }

    /// An error reply as the error.
    pub fn done(&self) -> Result<()> {
        match self.text().strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(Error::Script(text.trim_ascii_end().to_vec())),
        }
    }

    /// The text of a bulk string.
    pub fn bulk(&self) -> Option<String> {
        std::str::from_utf8(self.reader().string()?).ok().map(str::to_owned)
    }
}

impl Drop for CallReply {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `RM_Call` made this reply, and it is freed once.
            unsafe { api!(RedisModule_FreeCallReply)(self.0) };
        }
    }
}
