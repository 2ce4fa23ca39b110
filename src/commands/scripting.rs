//! The script engine on a real server: its port, its sink, and the one engine that all script commands share.
//!
//! This is the only place where the engine and the module API meet. The engine lives from load to unload; a command borrows it for one
//! run, so that a script that reaches a script command again is refused and cannot recurse.

mod admission;
pub mod busy;
mod client_reply;
pub mod command;
pub mod filter;
pub mod functions;
mod intercept;
mod natives;
mod server_port;
mod serving;
pub mod stand_in;
pub mod store_watch;
mod transactions;
mod unrestricted;

use std::cell::RefMut;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redis_module::raw;

use self::busy::Subject;
use self::client_reply::ClientReply;
use self::server_port::ServerPort;
use super::function::store::Refused;
use super::script::store::{self, Store};
use crate::error::{Error, Result};
use crate::keyspace::Keyspace;
use crate::keyspace::args::{Args, parse_i64};
use crate::keyspace::clock::Frozen;
use crate::keyspace::module_api::{Ctx, Str};
use crate::keyspace::reply::Reply;
use crate::keyspace::script_calls::{KnownCommands, Natives};
use crate::keyspace::script_words::Words;
use crate::keyspace::server_events;
use crate::keyspace::server_thread::ServerThread;
use crate::keyspace::slots;
use crate::script::port::Strings;
use crate::script::{Engine, Limits, NumberText, Run, ServerVersion, Version};
use crate::settings;

/// Commands came or went, or settings changed, since scripts last ran: what is known of the server is old.
static MODULES_CHANGED: AtomicBool = AtomicBool::new(false);

static SCRIPTING: ServerThread<Option<Scripting>> = ServerThread::new(None);

/// The engine and what belongs to it.
pub struct Scripting {
    /// The engine.
    pub engine: Engine,
    /// What was not stored.
    pub store: Store,
    /// Libraries that are not ours.
    pub refused: Refused,
    known_commands: Known,
    natives: Natives,
    runs: u64,
    failures: u64,
}

/// What the server has said about its commands and its refusals. It may change.
#[derive(Default)]
struct Known {
    commands: KnownCommands,
    words: Words,
}

/// Starts the engine, at load.
pub fn start(ctx: Ctx) -> Result<()> {
    slots::look(ctx);
    let (functions, natives) = natives::all(ctx);
    follow_server(ctx);
    let field = |name| ctx.info_field(c"server", name);
    let redis = version(field(c"redis_version").unwrap_or_default());
    let version = ServerVersion { redis, valkey: field(c"valkey_version").map(version) };
    let engine = Engine::new(limits(), version, functions)?;
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        let (store, known_commands) = (Store::default(), Known::default());
        let refused = Refused::default();
        *slot = Some(Scripting { engine, store, refused, known_commands, natives, runs: 0, failures: 0 });
    }
    Ok(())
}

/// What `script-memory-limit auto` comes to.
static AUTO_MEMORY: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whether the server lets scripts have what it calls its deprecated, or insecure, API.
static DEPRECATED_API: AtomicBool = AtomicBool::new(true);

/// Reads the settings of the server that stand behind ours.
fn follow_server(ctx: Ctx) {
    /// More than applications need in a script, and little enough for a server that has no limit of its own.
    const LEAST: u64 = 512 << 20;
    let settings = ctx.configs(&["maxmemory", "lua-enable-deprecated-api", "lua-enable-insecure-api"]);
    let value = |name| settings.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str());
    let maxmemory = value("maxmemory").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_default();
    AUTO_MEMORY.store(LEAST.max(maxmemory / 4), Ordering::Relaxed);
    // Valkey gave the setting another name. A server that has neither gives scripts all of it.
    let mut api = ["lua-enable-deprecated-api", "lua-enable-insecure-api"].into_iter().filter_map(value).peekable();
    DEPRECATED_API.store(api.peek().is_none() || api.any(|value| value == "yes"), Ordering::Relaxed);
    settings::note_change();
}

/// Follows what decides whether scripts may run, from the end of the load on.
pub fn watch(ctx: Ctx) {
    // Every server since 6.0 has these events.
    let _ = admission::watch(ctx);
    let _ = server_events::subscribe(ctx, raw::REDISMODULE_EVENT_MODULE_CHANGE, |_, _, _| {
        MODULES_CHANGED.store(true, Ordering::Relaxed);
        Ok(())
    });
    // Redis 7.0.0 has no such event.
    let _ = server_events::subscribe(ctx, raw::REDISMODULE_EVENT_CONFIG, |ctx, _, _| {
        // The server's words depend on its settings, too.
        MODULES_CHANGED.store(true, Ordering::Relaxed);
        follow_server(ctx);
        Ok(())
    });
}

/// Stops the engine and its thread, at unload.
pub fn stop() {
    if let Some(mut slot) = SCRIPTING.try_borrow_mut() {
        *slot = None;
    }
}

/// A version and its number form, 0x00MMmmpp, as the server's own scripts see them.
fn version(text: String) -> Version {
    let part = |part: &str| part.parse::<u8>().unwrap_or(u8::MAX);
    let number = text.split('.').take(3).fold(0, |number, digits| (number << 8) | u32::from(part(digits)));
    Version { text, number }
}

fn limits() -> Limits {
    let bytes = |setting: &settings::Setting| usize::try_from(setting.get()).unwrap_or(usize::MAX);
    let memory = match settings::SCRIPT_MEMORY_LIMIT.get() {
        0 => AUTO_MEMORY.load(Ordering::Relaxed),
        bytes => bytes,
    };
    Limits {
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        run_memory_bytes: bytes(&settings::SCRIPT_RUN_MEMORY_LIMIT),
        timeout_ms: settings::SCRIPT_TIMEOUT_MS.get(),
        budget_ms: settings::SCRIPT_BUDGET_MS.get(),
        unreachable_budget_ms: settings::SCRIPT_UNREACHABLE_BUDGET_MS.get(),
        argument_bytes: bytes(&settings::SCRIPT_ARGUMENT_LIMIT),
        reply_bytes: bytes(&settings::SCRIPT_REPLY_LIMIT),
        reply_depth: bytes(&settings::SCRIPT_REPLY_DEPTH),
        native_code: settings::SCRIPT_NATIVE_CODE.get() == 1,
        deprecated_api: DEPRECATED_API.load(Ordering::Relaxed),
    }
}

/// The engine, for one command.
pub fn engine() -> Result<RefMut<'static, Scripting>> {
    let slot = SCRIPTING.try_borrow_mut().ok_or(Error::Recursion)?;
    let mut scripting = RefMut::filter_map(slot, Option::as_mut).map_err(|_| Error::Text("ERR the module is being unloaded"))?;
    if settings::take_changed() {
        scripting.engine.set_limits(limits())?;
        // What a limit kept out may run now.
        store_watch::note_change();
    }
    Ok(scripting)
}

/// The figures of INFO; `None` while a script runs.
#[must_use]
pub fn figures() -> Option<[(&'static str, u64); 13]> {
    let scripting = engine().ok()?;
    let stats = scripting.engine.stats();
    let (libraries, functions) = scripting.engine.functions().count();
    let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
    Some([
        ("cached", count(stats.cache.scripts)),
        ("cached_bytes", count(stats.cache.bytes)),
        ("stored", count(stats.cache.stored)),
        ("stored_bytes", count(stats.cache.stored_bytes)),
        ("stored_memory", count(stats.cache.stored_memory)),
        ("evicted", stats.cache.evicted),
        ("store_refused", scripting.store.refused()),
        ("libraries", count(libraries)),
        ("functions", count(functions)),
        ("vm_memory", count(stats.vm_bytes)),
        ("vm_memory_limit", count(limits().memory_bytes)),
        ("runs", scripting.runs),
        ("failures", scripting.failures),
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
    keys: Arguments<'a>,
    args: Arguments<'a>,
}

/// Arguments of the command, which a script sees as strings.
#[derive(Clone, Copy)]
struct Arguments<'a>(&'a [Str<'a>]);

impl Strings for Arguments<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn string(&self, index: usize) -> &[u8] {
        self.0.get(index).map_or(&[], |string| string.bytes())
    }
}

impl<'a> Request<'a> {
    /// Reads the arguments, with the server's own refusals.
    pub fn parse(args: Args<'a>) -> Result<Self> {
        Self::read(args, Error::Text("ERR value is not an integer or out of range"))
    }

    fn read(mut args: Args<'a>, bad_count: Error) -> Result<Self> {
        let script = args.bytes()?;
        let count = parse_i64(args.bytes()?).ok_or(bad_count)?;
        let count = usize::try_from(count).map_err(|_| Error::Text("ERR Number of keys can't be negative"))?;
        let (keys, args) =
            args.rest().split_at_checked(count).ok_or(Error::Text("ERR Number of keys can't be greater than number of args"))?;
        Ok(Self { script, keys: Arguments(keys), args: Arguments(args) })
    }
}

impl Request<'_> {
    /// The words of the command that makes this request.
    fn command(&self, name: &str) -> Vec<Vec<u8>> {
        let count = self.keys.count().to_string();
        let strings = |list: &Arguments<'_>| list.0.iter().map(|string| string.bytes().to_vec()).collect::<Vec<_>>();
        let mut words = vec![name.as_bytes().to_vec(), self.script.to_vec(), count.into_bytes()];
        words.extend(strings(&self.keys));
        words.extend(strings(&self.args));
        words
    }
}

/// How numbers become text in a run: as on the server where we stand in for it.
fn numbers() -> NumberText {
    let exact = settings::SCRIPT_EXACT_NUMBERS.get() == 1 && !stand_in::is_standing_in();
    if exact { NumberText::Exact } else { NumberText::Lua51 }
}

fn forget_old_commands(known: &mut Known) {
    if MODULES_CHANGED.load(Ordering::Relaxed) && MODULES_CHANGED.swap(false, Ordering::Relaxed) {
        *known = Known::default();
    }
}

/// How a script is named.
#[derive(Clone, Copy)]
pub enum Form {
    /// By its source.
    Source,
    /// By its SHA1.
    Sha,
}

/// Runs a script and sends what it returns.
pub fn run(keyspace: &Keyspace, request: &Request<'_>, form: Form, read_only: bool) -> Result<Reply> {
    let ctx = keyspace.ctx();
    let mut scripting = engine()?;
    let Scripting { engine, known_commands, natives, runs, failures, .. } = &mut *scripting;
    *runs = runs.saturating_add(1);
    forget_old_commands(known_commands);
    let _frozen = Frozen::new();
    let mut port = ServerPort::new(ctx, known_commands, natives, request.keys.0, Subject::Script);
    let mut reply = ClientReply(ctx);
    let leaves = stand_in::is_standing_in();
    let run = Run { keys: &request.keys, args: &request.args, read_only, numbers: numbers(), leaves };
    let mut outcome = match form {
        Form::Source => engine.eval(request.script, &run, &mut port, &mut reply),
        Form::Sha => engine.eval_sha(request.script, &run, &mut port, &mut reply),
    };
    if outcome == Err(Error::NoScript) && store::find(ctx, engine, request.script).is_some() {
        outcome = engine.eval_sha(request.script, &run, &mut port, &mut reply);
    }
    if outcome.is_err() {
        *failures = failures.saturating_add(1);
    }
    outcome.map(|()| Reply::Sent)
}
