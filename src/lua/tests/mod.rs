//! The engine with a fake server: conversions, errors, sandbox, limits and cache.
//!
//! `Rig` is an engine with a port whose replies a test sets, and a sink that records the reply as one line of text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::time::Duration;

use super::port::{CommandCall, LogLevel, NativeCommand, Pause, Port, ReplySink, Rules};
use super::{Digest, Engine, Limits, NumberText, Run, ServerVersion, Version};
use crate::error::Error;

mod atomic;
mod bit;
mod cache;
mod cjson;
mod cmsgpack;
mod convert;
mod errors;
mod functions;
mod hostile;
mod libraries;
mod limits;
mod oracle;
mod sandbox;
mod structs;
mod timing;

/// Gives the replies in turn, then `OK`. The reply `PANIC` panics. The command ECHO returns its argument.
#[derive(Default)]
pub(super) struct FakePort {
    pub replies: VecDeque<Vec<u8>>,
    pub calls: Vec<Vec<Vec<u8>>>,
    pub logs: Vec<(LogLevel, Vec<u8>)>,
    pub writes: u64,
    pub natives: usize,
    pub keys: Vec<Option<usize>>,
    pub begun: Vec<Rules>,
    pub pauses: VecDeque<Pause>,
    reply: Vec<u8>,
}

/// The native commands. The module has no such commands or options.
pub(super) fn natives() -> Vec<NativeCommand> {
    vec![
        NativeCommand { name: c"atomic.buy", options: vec![b"ZONE", b"AT", b"GIFT", b"ALL"] },
        NativeCommand { name: c"atomic.cart", options: vec![] },
    ]
}

impl Port for FakePort {
    fn begin(&mut self, rules: Rules) -> Result<(), Error> {
        self.begun.push(rules);
        Ok(())
    }

    fn call(&mut self, call: CommandCall<'_>) -> &[u8] {
        let argv = call.argv;
        self.calls.push(argv.iter().map(|arg| arg.to_vec()).collect());
        if argv[0] == b"SET" {
            self.writes += 1;
        }
        self.reply = match self.replies.pop_front() {
            Some(reply) => reply,
            None if argv[0] == b"ECHO" => [format!("${}\r\n", argv[1].len()).as_bytes(), argv[1], b"\r\n"].concat(),
            None => b"+OK\r\n".to_vec(),
        };
        assert_ne!(self.reply, b"PANIC", "the port panics");
        &self.reply
    }

    fn run(&mut self, native: usize, call: CommandCall<'_>) -> &[u8] {
        assert_eq!(natives()[native].name.to_bytes(), call.argv[0]);
        self.natives += 1;
        self.keys.push(call.key);
        self.call(call)
    }

    fn writes(&self) -> u64 {
        self.writes
    }

    fn may_call(&mut self, argv: &[&[u8]]) -> Result<bool, &[u8]> {
        if argv[0] == b"NOSUCH" { Err(b"ERR Invalid command") } else { Ok(argv[0] != b"DENIED") }
    }

    fn refusal(&mut self, text: &'static [u8]) -> &[u8] {
        text
    }

    fn pause(&mut self) -> Pause {
        self.pauses.pop_front().unwrap_or(Pause::Done)
    }

    fn log(&mut self, level: LogLevel, message: &[u8]) {
        self.logs.push((level, message.to_vec()));
    }
}

/// The written values as text.
#[derive(Default)]
pub(super) struct Record(Vec<String>);

impl Record {
    fn bytes(&mut self, kind: &str, value: &[u8]) {
        self.0.push(format!("{kind}{}", value.escape_ascii()));
    }
}

impl ReplySink for Record {
    fn integer(&mut self, value: i64) {
        self.0.push(format!(":{value}"));
    }
    fn bulk(&mut self, value: &[u8]) {
        assert_ne!(value, b"PANIC", "the sink panics");
        self.bytes("$", value);
    }
    fn status(&mut self, value: &[u8]) {
        self.bytes("+", value);
    }
    fn error(&mut self, value: &[u8]) {
        self.bytes("-", value);
    }
    fn boolean(&mut self, value: bool) {
        self.0.push(format!("#{value}"));
    }
    fn null(&mut self) {
        self.0.push("_".to_owned());
    }
    fn array(&mut self, len: usize) {
        self.0.push(format!("*{len}"));
    }
    fn map(&mut self, len: usize) {
        self.0.push(format!("%{len}"));
    }
    fn set(&mut self, len: usize) {
        self.0.push(format!("~{len}"));
    }
    fn double(&mut self, value: f64) {
        self.0.push(format!(",{value}"));
    }
    fn big_number(&mut self, digits: &[u8]) {
        self.bytes("(", digits);
    }
    fn verbatim(&mut self, format: &[u8], value: &[u8]) {
        self.bytes("=", &[format, b":", value].concat());
    }
}

pub(super) struct Rig {
    pub engine: Engine,
    pub port: FakePort,
}

/// A run without arguments.
pub(super) const NOTHING: Run<'static> =
    Run { keys: &EMPTY, args: &EMPTY, read_only: false, numbers: NumberText::Lua51, leaves: false };
const EMPTY: &[&[u8]] = &[];

/// Small limits, so that tests are quick. The time limits are high: on a busy machine anything may take long, so a test sets a
/// short one only for the run that it must terminate ([`Rig::check_ended`]).
pub(super) const LIMITS: Limits = Limits {
    memory_bytes: 16 << 20,
    run_memory_bytes: 0,
    timeout_ms: 0,
    budget_ms: 600_000,
    unreachable_budget_ms: 0,
    argument_bytes: 1 << 20,
    reply_bytes: 1 << 20,
    native_code: true,
    deprecated_api: true,
    reply_depth: 1000,
};

impl Rig {
    pub fn new() -> Self {
        Self::with(LIMITS)
    }

    pub fn with(limits: Limits) -> Self {
        let redis = Version { text: "7.0.15".to_owned(), number: 0x0007_000f };
        let version = ServerVersion { redis, valkey: None };
        Self { engine: Engine::new(limits, version, natives()).unwrap(), port: FakePort::default() }
    }

    pub fn eval_bytes(&mut self, source: &[u8], keys: &[&[u8]], args: &[&[u8]]) -> Result<String, Error> {
        let mut record = Record::default();
        let run = Run { keys: &keys, args: &args, read_only: false, numbers: NumberText::Lua51, leaves: false };
        let result = self.engine.eval(source, &run, &mut self.port, &mut record);
        if result.is_err() {
            assert!(record.0.is_empty(), "an error writes nothing: {:?}", record.0);
        }
        result.map(|()| record.0.join(" "))
    }

    /// The reply as text, or the error as it goes over the wire.
    pub fn eval(&mut self, source: &str) -> Result<String, String> {
        self.eval_bytes(source.as_bytes(), &[], &[]).map_err(|e| e.wire())
    }

    #[track_caller]
    pub fn check(&mut self, source: &str, expected: &str) {
        assert_eq!(self.eval(source).as_deref(), Ok(expected), "{source}");
    }

    /// Checks the text of an error. `@` in `expected` stands for the position that Redis adds, in line 1.
    #[track_caller]
    pub fn check_error(&mut self, source: &str, expected: &str) {
        let sha = String::from_utf8(Digest::of(source.as_bytes()).hex().to_vec()).unwrap();
        let expected = expected.replace(" @", &format!(" script: {sha}, on @user_script:1."));
        assert_eq!(self.eval(source), Err(expected), "{source}");
    }

    /// Checks that these limits terminate the script with an error that contains `part`, and that the engine works afterwards.
    #[track_caller]
    pub fn check_ended(&mut self, limits: Limits, source: &str, part: &str) {
        self.engine.set_limits(limits).unwrap();
        let ended = self.eval(source);
        self.engine.set_limits(LIMITS).unwrap();
        assert!(ended.as_ref().is_err_and(|text| text.contains(part)), "{source}\n{ended:?}");
        self.check_works();
    }

    /// Checks that the script fails with an error that contains `part`, and that the engine works afterwards.
    #[track_caller]
    pub fn check_fails(&mut self, source: &str, part: &str) {
        match self.eval(source) {
            Err(text) => assert!(text.contains(part), "{source}\n{text}"),
            Ok(reply) => panic!("{source}\n{reply}"),
        }
        self.check_works();
    }

    #[track_caller]
    pub fn check_works(&mut self) {
        self.check("local t = {} for i = 1, 100 do t[i] = ('x'):rep(i) end return #table.concat(t)", ":5050");
    }
}

/// The processor time of this thread. Load on the machine does not stretch it, so a bound on it holds.
pub(super) fn cpu_time() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(figures.split(' ').next().unwrap().parse().unwrap())
}
