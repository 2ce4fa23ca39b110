//! The port through which a script reaches the server, and through which its result reaches the client.
//!
//! The engine knows these two traits and nothing of the module API; `scripting` implements them on a real server, the
//! unit tests on a fake one. Neither trait may call back into the engine.

use std::ffi::CStr;

use super::scripts::cache::Digest;
use crate::error::Result;

/// Severity of a `redis.log` line, as the server names it.
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

/// The protocol in which commands reply to a script, and in which the script's own value is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What a run starts with.
    #[default]
    Resp2,
    /// After `redis.setresp(3)`.
    Resp3,
}

/// Where the writes of a script go besides this server's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Into the append-only file.
    pub aof: bool,
    /// To the replicas.
    pub replicas: bool,
}

impl Replication {
    /// What a run starts with.
    pub const ALL: Self = Self { aof: true, replicas: true };
}

/// The flags that the first line of a script declares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `no-writes`: runs where nothing may be written, and writes nothing.
    pub no_writes: bool,
    /// `allow-oom`: runs, and writes, when the server is out of memory.
    pub allow_oom: bool,
    /// `allow-stale`: runs on a replica whose data is stale.
    pub allow_stale: bool,
    /// `no-cluster`: does not run in a cluster.
    pub no_cluster: bool,
    /// `allow-cross-slot-keys`: may access keys of several slots of this node.
    pub allow_cross_slot_keys: bool,
}

impl Flags {
    /// Sets the flag of this name; false if there is none.
    pub(super) fn set(&mut self, name: &[u8]) -> bool {
        let place = match name {
            b"no-writes" => &mut self.no_writes,
            b"allow-oom" => &mut self.allow_oom,
            b"allow-stale" => &mut self.allow_stale,
            b"no-cluster" => &mut self.no_cluster,
            b"allow-cross-slot-keys" => &mut self.allow_cross_slot_keys,
            _ => return false,
        };
        *place = true;
        true
    }
}

/// What a run may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The flags of a script that declares some, if only by an empty list. Without them each command is checked for itself.
    pub flags: Option<Flags>,
    /// The caller wants nothing written.
    pub read_only: bool,
    /// The script; `None` for a function of a library.
    pub digest: Option<Digest>,
}

/// A command that a script runs.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The name and the arguments.
    pub argv: &'a [&'a [u8]],
    /// The first argument is this one of the run's `KEYS`, counted from 0, if the engine knows.
    pub key: Option<usize>,
    /// The protocol of the reply.
    pub protocol: Protocol,
    /// Where its effect goes.
    pub replication: Replication,
}

/// A command that scripts can call as a function of the table `atomic`: `ATOMIC.SEMINFO` as `atomic.seminfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NativeCommand {
    /// Its name.
    pub name: &'static CStr,
    /// The words by which its options begin, in upper case and in an order in which they may stand.
    pub options: Vec<&'static [u8]>,
}

/// What became of [`Port::pause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// The run goes on.
    Done,
    /// Somebody asked to end the run, which has written nothing, with this command.
    Killed(&'static str),
    /// Nobody can be let in during this run.
    Unreachable,
}

/// Strings by their number, whoever holds them.
pub trait Strings {
    /// How many there are.
    fn count(&self) -> usize;
    /// One of them; empty beyond the last.
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

/// What a running script may ask of the server. Only `begin` may fail; replies are protocol text: always one complete, well-formed
/// reply, an error reply included, that stays valid until the next call.
pub trait Port {
    /// Refuses the run, or starts it.
    fn begin(&mut self, rules: Rules) -> Result<()>;

    /// Runs one command as the calling user, in script mode, and replicates its effect.
    fn call(&mut self, call: Call<'_>) -> &[u8];

    /// Does what one of the native commands does, by its number; `call` is the command itself. The answer is that of [`Port::call`].
    fn run(&mut self, native: usize, call: Call<'_>) -> &[u8];

    /// Whether the calling user may run a command. The error is the server's refusal to say, of a command that does not exist.
    fn may_call(&mut self, argv: &[&[u8]]) -> std::result::Result<bool, &[u8]>;

    /// A refusal of the engine, given in the words of Redis, in those of the server. Valid until the next call.
    fn refusal(&mut self, text: &'static [u8]) -> &[u8];

    /// How many commands that may write have been applied by this run so far.
    fn writes(&self) -> u64;

    /// Lets the server see to its other clients, one of which may ask to end this run.
    fn pause(&mut self) -> Pause;

    /// Writes one line into the server's log.
    fn log(&mut self, level: LogLevel, message: &[u8]);
}

/// Where the value that a script returns is written, in the order of the RESP protocol: an aggregate's header, then its
/// elements. A RESP2 client gets the server's own down-conversion of the RESP3 types.
pub trait ReplySink {
    /// An integer.
    fn integer(&mut self, value: i64);
    /// A bulk string.
    fn bulk(&mut self, value: &[u8]);
    /// A status reply. The text is rendered to printable ASCII.
    fn status(&mut self, value: &[u8]);
    /// An error reply. The text starts with its code and is rendered to printable ASCII.
    fn error(&mut self, value: &[u8]);
    /// A boolean, an integer in RESP2.
    fn boolean(&mut self, value: bool);
    /// The null of the client's protocol.
    fn null(&mut self);
    /// The head of an array; `len` replies follow.
    fn array(&mut self, len: usize);
    /// The head of a map; `len` pairs of replies follow.
    fn map(&mut self, len: usize);
    /// The head of a set; `len` replies follow.
    fn set(&mut self, len: usize);
    /// A double.
    fn double(&mut self, value: f64);
    /// A big number, as its digits.
    fn big_number(&mut self, digits: &[u8]);
    /// A verbatim string with its three-letter format.
    fn verbatim(&mut self, format: &[u8], value: &[u8]);
}
