//! The port through which a script reaches the server, and through which its result reaches the client.
//!
//! The engine knows these traits and nothing of the module API. `scripting` implements them on a real server, the unit tests on a
//! fake one. No implementation may call back into the engine.

use std::ffi::CStr;

use super::source::digest::Digest;
use crate::error::Result;

/// The level of a line of `redis.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// The protocol of the replies that a script gets, and of the value that it returns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The protocol at the start of a run.
    #[default]
    Resp2,
    /// After `redis.setresp(3)`.
    Resp3,
}

/// Where the writes of a script are replicated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// To the append-only file.
    pub aof: bool,
    pub replicas: bool,
}

impl Replication {
    /// The replication at the start of a run.
    pub const ALL: Self = Self { aof: true, replicas: true };
}

/// The flags that a script declares in its first line, or a function when it is registered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScriptFlags {
    /// `no-writes`: runs where writes are refused, and writes nothing.
    pub no_writes: bool,
    /// `allow-oom`: runs and writes when the server is out of memory.
    pub allow_oom: bool,
    /// `allow-stale`: runs on a replica whose data is stale.
    pub allow_stale: bool,
    /// `no-cluster`: does not run in a cluster.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: may access keys of several slots of this node.
    pub allow_cross_slot_keys: bool,
    /// `rollback`: an error undoes the writes of the run.
    pub rollback: bool,
}

impl ScriptFlags {
    /// Sets the flag with this name; false if there is none.
    pub(super) fn set(&mut self, name: &[u8]) -> bool {
        let place = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            b"rollback" => &mut self.rollback,
            _ => return false,
        };
        *place = true;
        true
    }
}

/// The rules of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The flags, if the script declares any, if only by an empty list. Otherwise each command is checked when the script calls
    /// it.
    pub flags: Option<ScriptFlags>,
    /// The client asked for a run without writes.
    pub read_only: bool,
    /// The script; `None` for a registered function.
    pub digest: Option<Digest>,
}

/// A command that a script calls.
#[derive(Debug, Clone, Copy)]
pub struct CommandCall<'a> {
    /// The name and the arguments.
    pub argv: &'a [&'a [u8]],
    /// The index in the run's `KEYS` of the first argument, counted from 0, if the engine knows it.
    pub key: Option<usize>,
    /// The protocol of the reply.
    pub protocol: Protocol,
    /// Where its effect is replicated.
    pub replication: Replication,
    /// The line of the call, if the port [wants](Port::wants_lines) it; 0 if it is unknown.
    pub line: u32,
}

/// A command that scripts can call as a function of the table `atomic`: `ATOMIC.SEMINFO` as `atomic.seminfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeCommand {
    pub name: &'static CStr,
    /// The first words of its options, in upper case and in an order that the command accepts.
    pub options: Vec<&'static [u8]>,
}

/// The result of [`Port::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The run goes on.
    Done,
    /// A client killed the run, which has not written, with this command.
    Killed(&'static str),
    /// No other client can be served during this run.
    Unreachable,
}

/// Strings by their index, in whatever memory.
pub trait Strings {
    fn count(&self) -> usize;
    /// The string at an index; empty beyond the last.
    fn string(&self, index: usize) -> &[u8];
}

impl Strings for &[&[u8]] {
    fn count(&self) -> usize {
        self.len()
    }

    fn string(&self, index: usize) -> &[u8] {
        self.get(index).copied().unwrap_or_default()
    }
}

/// The requests of a running script to the server. Only `begin` may fail. A reply is protocol text: one complete, well-formed
/// reply, an error reply included, that stays valid until the next call.
pub trait Port {
    /// Admits the run or refuses it.
    fn begin(&mut self, rules: Rules) -> Result<()>;

    /// Runs one command as the user of the client, in script mode, and replicates its effect.
    fn call(&mut self, call: CommandCall<'_>) -> &[u8];

    /// Runs one of the native commands, by its number; `call` is the command itself. The reply is that of [`Port::call`].
    fn run(&mut self, native: usize, call: CommandCall<'_>) -> &[u8];

    /// Whether the user of the client may run a command. The error is the server's, for a command that does not exist.
    fn may_call(&mut self, argv: &[&[u8]]) -> std::result::Result<bool, &[u8]>;

    /// Translates a refusal of the engine from the words of Redis into those of this server. Valid until the next call.
    fn refusal(&mut self, text: &'static [u8]) -> &[u8];

    /// The number of commands that may write that this run has applied so far and that stay. 0 if an error undoes them.
    fn writes(&self) -> u64;

    /// Whether calls must carry their lines, which costs a look at the call stack.
    fn wants_lines(&self) -> bool {
        false
    }

    /// The number of keys that the run has used without having declared them, if they are counted.
    fn undeclared(&self) -> u64 {
        0
    }

    /// Lets the server serve other clients. One of them may kill this run.
    fn pause(&mut self) -> Pause;

    /// Writes one line to the server's log.
    fn log(&mut self, level: LogLevel, message: &[u8]);
}

/// The reply to the client. The value of a script is written in the order of the RESP protocol: the header of an aggregate, then
/// its elements. A RESP2 client gets the server's own down-conversion of the RESP3 types.
pub trait ReplySink {
    fn integer(&mut self, value: i64);
    fn bulk(&mut self, value: &[u8]);
    /// A status reply. The text is rendered to printable ASCII.
    fn status(&mut self, value: &[u8]);
    /// An error reply. The text starts with its code and is rendered to printable ASCII.
    fn error(&mut self, value: &[u8]);
    /// A boolean, an integer in RESP2.
    fn boolean(&mut self, value: bool);
    /// The null of the client's protocol.
    fn null(&mut self);
    /// The header of an array; `len` replies follow.
    fn array(&mut self, len: usize);
    /// The header of a map; `len` pairs of replies follow.
    fn map(&mut self, len: usize);
    /// The header of a set; `len` replies follow.
    fn set(&mut self, len: usize);
    fn double(&mut self, value: f64);
    fn big_number(&mut self, digits: &[u8]);
    /// A verbatim string with its three-letter format.
    fn verbatim(&mut self, format: &[u8], value: &[u8]);
}
