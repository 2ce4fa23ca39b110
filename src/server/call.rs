//! Commands of the server that we run, through `RM_Call`. Replies are read as protocol text: the reply tree of the module API cannot
//! tell a status from a bulk string.

use std::ffi::CStr;
use std::slice;

use redis_module::raw;

use super::key;
use super::module_api::{Ctx, OwnedStr, Str, api};
use super::reply::Reply;
use super::slots;
use crate::error::{Error, Result};

/// As many arguments of a script's command are spelled out.
const SPELLED: usize = 12;

/// A pointer and a length for each argument of a script's command.
const LETTERS: &[u8; SPELLED] = b"bbbbbbbbbbbb";

/// Calls `RM_Call` with a pointer and a length for each of up to [`SPELLED`] arguments behind what is given.
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
    /// Runs one of the server's own commands as a change of ours: with its replication and its events, without the caller's ACL, which
    /// the server has checked for our command. An error reply is the error.
    pub fn run(self, name: &CStr, args: &[Str<'_>]) -> Result<()> {
        CallReply::with(self, name, c"v!E", args).done()
    }
}

/// What only the server's own commands tell.
impl Ctx {
    /// Whether the server can check a command without running it. Redis 7.0 cannot, and takes every such question for nonsense.
    #[must_use]
    pub fn tells_refusals(self) -> bool {
        CallReply::refusal(self, c"atomic.", b"E", &[]).is_some()
    }

    /// Whether there is a command of this name.
    #[must_use]
    pub fn has_command(self, name: &[u8]) -> bool {
        let reply = CallReply::of(self, c"COMMAND", c"vE", &[OwnedStr::new(b"INFO"), OwnedStr::new(name)]);
        // An array of one: what is known of the command, or a null.
        reply.text().strip_prefix(b"*1\r\n*").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
    }

    /// A setting of the server.
    #[must_use]
    pub fn config(self, name: &[u8]) -> Option<String> {
        let reply = CallReply::of(self, c"CONFIG", c"vE", &[OwnedStr::new(b"GET"), OwnedStr::new(name)]);
        let text = std::str::from_utf8(reply.text()).ok()?;
        // *2 $len name $len value
        text.split("\r\n").nth(4).map(str::to_owned)
    }

    /// Several settings of the server, in one call. Those that it does not know are left out.
    #[must_use]
    pub fn configs(self, names: &[&str]) -> Vec<(String, String)> {
        let words = ["GET"].iter().chain(names).map(|word| OwnedStr::new(word.as_bytes())).collect::<Vec<_>>();
        let reply = CallReply::of(self, c"CONFIG", c"vE", &words);
        let text = String::from_utf8_lossy(reply.text());
        // *4 $len name $len value $len name $len value
        let mut fields = text.split("\r\n").skip(2).step_by(2).map(str::to_owned);
        std::iter::from_fn(|| Some((fields.next()?, fields.next()?))).collect()
    }

    /// Whether the server really cannot tell whose rights apply. Asked with a command of the server's own, since another module's command
    /// may answer any text, and must not lift the caller's limits by it.
    #[must_use]
    pub fn has_no_user(self) -> bool {
        CallReply::of(self, c"PING", c"vEC", &[]).says_no_user()
    }

    /// Whether the server refuses every command that writes, with the reason: a failing disk, too few replicas, a replica that is read-only.
    /// Asked with a command that has no keys and does nothing. Only for servers that tell ([`Ctx::tells_refusals`]).
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

    /// The connections that are in a transaction.
    #[must_use]
    pub fn clients_in_transactions(self) -> Vec<u64> {
        self.connections().into_iter().filter(|connection| connection.queued >= 0).map(|connection| connection.id).collect()
    }

    /// All connections.
    #[must_use]
    pub fn connections(self) -> Vec<Connection> {
        let list = CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"LIST")]).bulk().unwrap_or_default();
        list.lines().filter_map(Connection::parse).collect()
    }

    /// Closes a connection at once, whatever it is in the middle of.
    pub fn kill_connection(self, id: u64) {
        let Ok(id) = i64::try_from(id) else { return };
        CallReply::of(self, c"CLIENT", c"vE", &[OwnedStr::new(b"KILL"), OwnedStr::new(b"ID"), OwnedStr::number(id)]);
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

/// Commands of the server that ours stand in for, as the caller.
impl Ctx {
    /// Runs one and sends its reply to the caller, in the caller's protocol.
    pub fn relay(self, name: &CStr, args: &[Str<'_>]) -> Result<Reply> {
        slots::check_relay(self, name, args)?;
        CallReply::as_caller(self, name, args).relay(self).map(|()| Reply::Sent)
    }

    /// Runs one; an error reply is the error.
    pub fn native(self, name: &CStr, args: &[Str<'_>]) -> Result<()> {
        CallReply::with(self, name, c"v!E", args).done()
    }

    /// The ones and zeros that one answers.
    #[must_use]
    pub fn native_flags(self, name: &CStr, args: &[Str<'_>]) -> Vec<bool> {
        let reply = CallReply::with(self, name, c"vE", args);
        reply.text().split(|&byte| byte == b'\n').skip(1).map(|line| line.starts_with(b":1")).collect()
    }

    /// The names of the users of the ACL.
    #[must_use]
    pub fn acl_users(self) -> Vec<OwnedStr> {
        let reply = CallReply::of(self, c"ACL", c"vE", &[OwnedStr::new(b"USERS")]);
        // *2 $len name $len name; there is no white space in a name.
        let lines = reply.text().split(|&byte| byte == b'\n').skip(2).step_by(2);
        lines.map(|line| OwnedStr::new(line.trim_ascii_end())).collect()
    }
}

/// A line of `CLIENT LIST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The id of the client.
    pub id: u64,
    /// The full name of the last command that it sent.
    pub command: String,
    /// How many commands its transaction has queued; -1 outside of one.
    pub queued: i64,
    /// Whether a command of it is blocked or held, or about to go on.
    pub is_held: bool,
    /// Whether it is the link to the master or to a replica.
    pub is_link: bool,
    /// Whether it has a command that is not over.
    pub runs: bool,
}

impl Connection {
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name));
        Some(Self {
            id: field("id=")?.parse().ok()?,
            command: field("cmd=")?.to_owned(),
            queued: field("multi=")?.parse().unwrap_or(-1),
            is_held: field("flags=")?.contains(['b', 'u']),
            is_link: field("flags=")?.contains(['M', 'S']),
            runs: field("argv-mem=")? != "0",
        })
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
pub struct CallReply(*mut raw::RedisModuleCallReply);

impl CallReply {
    /// Runs a command with our own strings as arguments; the format stands for one "v".
    pub fn of(ctx: Ctx, name: &CStr, format: &CStr, args: &[OwnedStr]) -> Self {
        Self::with(ctx, name, format, OwnedStr::slice_as_str(args))
    }

    /// Runs a command; the format stands for one "v".
    pub fn with(ctx: Ctx, name: &CStr, format: &CStr, argv: &[Str<'_>]) -> Self {
        key::assert_none_is_open();
        // SAFETY: "v" takes an array of module strings and its length; the context belongs to the running command.
        Self(unsafe { api!(RedisModule_Call)(ctx.raw(), name.as_ptr(), format.as_ptr(), argv.as_ptr(), argv.len()) })
    }

    /// Runs a command as the calling user. A caller without a user has every right.
    pub fn as_caller(ctx: Ctx, name: &CStr, argv: &[Str<'_>]) -> Self {
        let reply = Self::with(ctx, name, c"v!CEM0", argv);
        if reply.says_no_user() && ctx.has_no_user() { Self::with(ctx, name, c"v!EM0", argv) } else { reply }
    }

    /// Whether the server could not tell whose rights apply, or a command answers just that text.
    pub fn says_no_user(&self) -> bool {
        self.text().starts_with(b"-ERR cannot run as user")
    }

    /// Hands the reply, which must be in the client's protocol, to the client, unless it is an error: all of ours go one way.
    pub fn relay(&self, ctx: Ctx) -> Result<()> {
        self.done()?;
        // SAFETY: what is no error is there, and alive; the context belongs to the running command.
        unsafe { api!(RedisModule_ReplyWithCallReply)(ctx.raw(), self.0) };
        Ok(())
    }

    /// Runs a command for a script. Its first argument may be a string that the server has already. The server makes the others itself,
    /// so that nobody else holds them: it stores a number in its short form only then. Beyond [`SPELLED`] arguments they have to be made
    /// here, and a number among them stays text.
    pub fn of_script(ctx: Ctx, name: &CStr, modifiers: &[u8], key: Option<Str<'_>>, args: &[&[u8]]) -> Self {
        key::assert_none_is_open();
        let strings = args.len().saturating_add(usize::from(key.is_some()));
        let mut format = [0_u8; SPELLED + 16];
        let letters: &[u8] = if strings > SPELLED { b"v" } else { LETTERS.get(..args.len()).unwrap_or_default() };
        let first: &[u8] = if strings <= SPELLED && key.is_some() { b"s" } else { b"" };
        for (to, from) in format.iter_mut().zip(first.iter().chain(letters).chain(modifiers)) {
            *to = *from;
        }
        // SAFETY: the format, which a NUL ends, has a letter for each argument below; the context belongs to the running command, and the
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

    /// What the server has against a command, if anything: all its checks without the command. Only for servers that know `D`
    /// ([`Ctx::tells_refusals`]).
    pub fn refusal(ctx: Ctx, name: &CStr, modifiers: &[u8], args: &[Str<'_>]) -> Option<Self> {
        let mut format = [0_u8; 16];
        for (to, from) in format.iter_mut().zip(b"vD".iter().chain(modifiers)) {
            *to = *from;
        }
        let format = CStr::from_bytes_until_nul(&format).unwrap_or(c"vD");
        // Without a refusal some servers answer nothing, others an empty reply.
        Some(Self::with(ctx, name, format, args)).filter(|reply| !reply.0.is_null() && reply.text().starts_with(b"-"))
    }

    /// The reply as protocol text.
    pub fn text(&self) -> &[u8] {
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
    pub fn done(&self) -> Result<()> {
        match self.text().strip_prefix(b"-") {
            None => Ok(()),
            Some(text) => Err(Error::Script(text.trim_ascii_end().to_vec())),
        }
    }

    /// The text of a bulk string.
    pub fn bulk(&self) -> Option<String> {
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
