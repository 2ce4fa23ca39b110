//! The script engine on a real server: its port, its sink, and the one engine that all script commands share.
//!
//! This is the only place where the engine and the module API meet. The engine lives from load to unload; a command borrows it for one
//! run, so that a script that reaches a script command again is refused and cannot recurse.

use std::cell::RefMut;
use std::ffi::CStr;

use super::script::store::{self, Store};
use crate::error::{Error, MESSAGE_BYTES, Result, printable};
use crate::keyspace::Keyspace;
use crate::keyspace::args::Args;
use crate::keyspace::call::{Calls, KnownCommands};
use crate::keyspace::clock::Frozen;
use crate::keyspace::module_api::{Ctx, Str};
use crate::keyspace::reply::Reply;
use crate::keyspace::server_thread::ServerThread;
use crate::script::port::{LogLevel, Port, ReplySink};
use crate::script::{Engine, Limits, ServerVersion};
use crate::settings;

static SCRIPTING: ServerThread<Option<Scripting>> = ServerThread::new(None);

/// The engine and what belongs to it.
pub struct Scripting {
    /// The engine.
    pub engine: Engine,
    /// What was not stored.
    pub store: Store,
    known_commands: KnownCommands,
    runs: u64,
    failures: u64,
}

/// Starts the engine, at load.
pub fn start(ctx: Ctx) -> Result<()> {
    let engine = Engine::new(limits(), version(ctx.info_field(c"server", c"redis_version").unwrap_or_default()))?;
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        let (store, known_commands) = (Store::default(), KnownCommands::default());
        *slot = Some(Scripting { engine, store, known_commands, runs: 0, failures: 0 });
    }
    Ok(())
}

/// Stops the engine and its thread, at unload.
pub fn stop() {
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        *slot = None;
    }
}

/// `redis.REDIS_VERSION` and its number form, 0x00MMmmpp, as the server's own scripts see them.
fn version(text: String) -> ServerVersion {
    let part = |part: &str| part.parse::<u8>().unwrap_or(u8::MAX);
    let number = text.split('.').take(3).fold(0, |number, digits| (number << 8) | u32::from(part(digits)));
    ServerVersion { text, number }
}

fn limits() -> Limits {
    Limits {
        memory_bytes: usize::try_from(settings::SCRIPT_MEMORY_LIMIT.get()).unwrap_or(usize::MAX),
        timeout_ms: settings::SCRIPT_TIMEOUT_MS.get(),
        budget_ms: settings::SCRIPT_BUDGET_MS.get(),
        ..Limits::default()
    }
}

/// The engine, for one command.
pub fn engine() -> Result<RefMut<'static, Scripting>> {
    let slot = SCRIPTING.try_borrow_mut().ok_or(Error::Recursion)?;
    let mut scripting = RefMut::filter_map(slot, Option::as_mut).map_err(|_| Error::Internal("no engine".to_owned()))?;
    if settings::take_changed() {
        scripting.engine.set_limits(limits())?;
    }
    Ok(scripting)
}

/// The figures of INFO; `None` while a script runs.
#[must_use]
pub fn figures() -> Option<[(&'static CStr, u64); 8]> {
    let scripting = engine().ok()?;
    let stats = scripting.engine.stats();
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    Some([
        (c"cached", count(stats.cache.scripts)),
        (c"cached_bytes", count(stats.cache.bytes)),
        (c"stored", count(stats.cache.stored)),
        (c"stored_bytes", count(stats.cache.stored_bytes)),
        (c"store_refused", scripting.store.refused()),
        (c"vm_memory", count(stats.vm_bytes)),
        (c"runs", scripting.runs),
        (c"failures", scripting.failures),
    ])
}

impl Scripting {
    /// How many scripts were run, and how many of the runs failed.
    #[must_use]
    pub fn runs(&self) -> (u64, u64) {
        (self.runs, self.failures)
    }

    /// Starts to count anew.
    pub fn reset_stats(&mut self) {
        (self.runs, self.failures) = (0, 0);
        self.store.reset_stats();
        self.engine.reset_stats();
    }
}

/// `script|sha1 numkeys key [key ...] arg [arg ...]`
pub struct Request<'a> {
    /// The script or its SHA1.
    pub script: &'a [u8],
    keys: Vec<&'a [u8]>,
    args: Vec<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Reads the arguments, with the server's own refusals.
    pub fn parse(mut args: Args<'a>) -> Result<Self> {
        let script = args.bytes()?;
        let count =
            crate::keyspace::args::parse_i64(args.bytes()?).ok_or(Error::Text("ERR value is not an integer or out of range"))?;
        let count = usize::try_from(count).map_err(|_| Error::Text("ERR Number of keys can't be negative"))?;
        let (keys, args) =
            args.rest().split_at_checked(count).ok_or(Error::Text("ERR Number of keys can't be greater than number of args"))?;
        let bytes = |strings: &[Str<'a>]| strings.iter().map(|string| string.bytes()).collect();
        Ok(Self { script, keys: bytes(keys), args: bytes(args) })
    }
}

/// Runs a script and sends what it returns.
pub fn run(keyspace: &Keyspace, request: &Request<'_>, by_sha: bool) -> Result<Reply> {
    let mut scripting = engine()?;
    let Scripting { engine, known_commands, runs, failures, .. } = &mut *scripting;
    *runs = runs.saturating_add(1);
    let _frozen = Frozen::new();
    let mut port = ServerPort { calls: Calls::new(keyspace.ctx(), known_commands), ctx: keyspace.ctx() };
    let mut sink = ClientReply(keyspace.ctx());
    let run = if by_sha { Engine::eval_sha } else { Engine::eval };
    let mut run = |engine: &mut Engine| run(engine, request.script, &request.keys, &request.args, &mut port, &mut sink);
    let mut outcome = run(engine);
    if outcome == Err(Error::NoScript) && store::find(keyspace.ctx(), engine, request.script).is_some() {
        outcome = run(engine);
    }
    if outcome.is_err() {
        *failures = failures.saturating_add(1);
    }
    outcome.map(|()| Reply::Sent)
}

struct ServerPort<'a> {
    calls: Calls<'a>,
    ctx: Ctx,
}

impl Port for ServerPort<'_> {
    fn call(&mut self, argv: &[&[u8]]) -> &[u8] {
        self.calls.call(argv)
    }

    fn writes(&self) -> u64 {
        self.calls.writes()
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        let level = match level {
            LogLevel::Debug => c"debug",
            LogLevel::Verbose => c"verbose",
            LogLevel::Notice => c"notice",
            LogLevel::Warning => c"warning",
        };
        self.ctx.log(level, &printable(message, MESSAGE_BYTES));
    }
}

struct ClientReply(Ctx);

impl ReplySink for ClientReply {
    fn integer(&mut self, value: i64) {
        self.0.reply_integer(value);
    }

    fn bulk(&mut self, value: &[u8]) {
        self.0.reply_bulk(value);
    }

    fn status(&mut self, value: &[u8]) {
        self.0.reply_status(&printable(value, MESSAGE_BYTES));
    }

    fn error(&mut self, value: &[u8]) {
        self.0.reply_error(&Error::Script(value.to_vec()));
    }

    fn null(&mut self) {
        self.0.reply_null();
    }

    fn array(&mut self, len: usize) {
        self.0.reply_array(len);
    }

    fn map(&mut self, len: usize) {
        self.0.reply_map(len);
    }

    fn set(&mut self, len: usize) {
        self.0.reply_set(len);
    }

    fn double(&mut self, value: f64) {
        self.0.reply_double(value);
    }

    fn big_number(&mut self, digits: &[u8]) {
        // Written as it is in RESP3: a line break in it would begin another reply.
        let line: Vec<u8> = digits.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }).collect();
        self.0.reply_big_number(&line);
    }

    fn verbatim(&mut self, format: &[u8], value: &[u8]) {
        let mut name = *b"txt";
        for (to, from) in name.iter_mut().zip(format) {
            *to = *from;
        }
        self.0.reply_verbatim(name, value);
    }
}
