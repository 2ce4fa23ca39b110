//! `redis.*`, which is also `server.*`: the way from a script to the server.
//!
//! `call` is the hottest function of the engine. It hands Lua's own strings to the port, without a copy, and reads the reply
//! from the port's buffer; numbers are formatted into a buffer that is kept. Errors are tables with a field `err` that starts
//! with the error's code. Here, as everywhere, a Lua error is raised only when no Rust value with a destructor is alive.

use std::ffi::{CStr, c_int};

use crate::error::MESSAGE_BYTES;
use crate::lua::convert::{self, Pushed};
use crate::lua::limits::Verdict;
use crate::lua::numbers::shortest;
use crate::lua::port::{Call, LogLevel, Protocol, Replication};
use crate::lua::scripts::cache::Digest;
use crate::lua::vm::context::{Arguments, Context, Version};
use crate::lua::vm::stack::{Kind, Native, Stack, Text, native};

use super::atomic::{self, Refusal};

const NO_ARGUMENTS: &[u8] = b"ERR Please specify at least one argument for this redis lib call";
const BAD_ARGUMENT: &[u8] = b"ERR Lua redis lib command arguments must be strings or integers";
const TOO_MANY: &[u8] = b"ERR too many arguments";
const BAD_REPLY: &[u8] = b"ERR the command reply could not be read";
const WRONG_ARGUMENTS: &[u8] = b"ERR wrong number or type of arguments";

const FUNCTIONS: &[(&CStr, Native)] = &[
    (c"call", native(call)),
    (c"pcall", native(pcall)),
    (c"error_reply", native(error_reply)),
    (c"status_reply", native(status_reply)),
    (c"sha1hex", native(sha1hex)),
    (c"setresp", native(setresp)),
    (c"set_repl", native(set_repl)),
    (c"acl_check_cmd", native(acl_check_cmd)),
];

/// What functions of libraries do not have.
const OF_SCRIPTS: &[(&CStr, Native)] =
    &[(c"replicate_commands", native(replicate_commands)), (c"breakpoint", native(breakpoint)), (c"debug", native(debug))];

/// Where writes go, as the bits that `set_repl` takes.
const REPLICATIONS: &[(&CStr, u8)] = &[
    (c"REPL_NONE", 0),
    (c"REPL_AOF", AOF),
    (c"REPL_SLAVE", REPLICAS),
    (c"REPL_REPLICA", REPLICAS),
    (c"REPL_ALL", AOF | REPLICAS),
];
const AOF: u8 = 1;
const REPLICAS: u8 = 2;

/// The levels of `redis.log`; a level's number is its place here.
const LEVELS: &[(&CStr, LogLevel)] = &[
    (c"LOG_DEBUG", LogLevel::Debug),
    (c"LOG_VERBOSE", LogLevel::Verbose),
    (c"LOG_NOTICE", LogLevel::Notice),
    (c"LOG_WARNING", LogLevel::Warning),
];

/// Pushes the table that scripts have.
pub(in crate::lua) fn open(s: Stack) {
    open_for_functions(s);
    for &(name, function) in OF_SCRIPTS {
        s.push_native(function, name);
        s.raw_set_field(-2, name);
    }
}

/// Pushes the table that functions of libraries have.
pub(in crate::lua) fn open_for_functions(s: Stack) {
    s.push_table(0, FUNCTIONS.len() + OF_SCRIPTS.len() + LEVELS.len() + REPLICATIONS.len() + 6);
    for &(name, function) in FUNCTIONS {
        s.push_native(function, name);
        s.raw_set_field(-2, name);
    }
    for &(name, bits) in REPLICATIONS {
        s.push_number(f64::from(bits));
        s.raw_set_field(-2, name);
    }
    set_always(s);
}

/// Sets in the table on the top what is there at any time: the log, and what server this is.
pub(super) fn set_always(s: Stack) {
    let version = &s.context().version;
    s.push_native(native(log), c"log");
    s.raw_set_field(-2, c"log");
    for ((name, _), number) in LEVELS.iter().zip(0_u8..) {
        s.push_number(f64::from(number));
        s.raw_set_field(-2, name);
    }
    set_version(s, &version.redis, c"REDIS_VERSION", c"REDIS_VERSION_NUM");
    if let Some(valkey) = &version.valkey {
        set_version(s, valkey, c"VALKEY_VERSION", c"VALKEY_VERSION_NUM");
        s.push_bytes(b"valkey");
        s.raw_set_field(-2, c"SERVER_NAME");
    }
}

fn set_version(s: Stack, version: &Version, text: &CStr, number: &CStr) {
    s.push_bytes(version.text.as_bytes());
    s.raw_set_field(-2, text);
    s.push_number(f64::from(version.number));
    s.raw_set_field(-2, number);
}

/// Runs a command; an error is raised.
fn call(s: Stack) -> c_int {
    call_target(s, Target::Command)
}

/// Runs a command, or a function of `atomic`; an error is raised.
pub(super) fn call_target(s: Stack, target: Target) -> c_int {
    if dispatch(s, target) == Pushed::Error {
        s.raise();
    }
    1
}

/// Runs a command; an error is returned.
fn pcall(s: Stack) -> c_int {
    dispatch(s, Target::Command);
    1
}

/// What became of a command, as plain data: whoever holds it may raise.
enum Outcome {
    Reply(*const [u8]),
    Refused(Refusal),
    /// The run is over: a limit was hit, or the port panicked.
    Ended,
}

/// What a call is about.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The command that the first argument names.
    Command,
    /// A native command, by its number.
    Native(usize),
}

/// Runs the command that the arguments are about and pushes what it replied.
fn dispatch(s: Stack, target: Target) -> Pushed {
    let context = s.context();
    if context.verdict().is_some() {
        s.push_nil();
        s.raise();
    }
    if s.top() == 0 && matches!(target, Target::Command) {
        return push_refusal(s, NO_ARGUMENTS);
    }
    match run(s, context, target) {
        Outcome::Refused(Refusal::BadArgument) => push_refusal(s, BAD_ARGUMENT),
        Outcome::Refused(Refusal::TooMany) => push_refusal(s, TOO_MANY),
        Outcome::Refused(Refusal::Unknown(name)) => push_error(s, atomic::unknown(name).bytes()),
        Outcome::Ended => {
            // The engine reports why; this only ends the run.
            s.push_nil();
            s.raise()
        }
        Outcome::Reply(reply) => {
            // SAFETY: the port keeps the text until its next call, which only `run` makes.
            let reply = unsafe { &*reply };
            match convert::push_reply(s, &context.names.get(), reply) {
                Ok(pushed) => pushed,
                Err(convert::Malformed) => push_refusal(s, BAD_REPLY),
            }
        }
    }
}

/// Never raises.
fn run(s: Stack, context: &'static Context, target: Target) -> Outcome {
    let mut arguments = context.arguments.take();
    let collected = match target {
        Target::Command => collect(s, &mut arguments).then_some(()).ok_or(Refusal::BadArgument),
        Target::Native(index) => atomic::collect(s, context, index, &mut arguments),
    };
    let outcome = match collected {
        Err(refusal) => Outcome::Refused(refusal),
        Ok(()) if arguments.bytes() > context.limits.get().argument_bytes => {
            context.end_with(Verdict::Arguments);
            Outcome::Ended
        }
        Ok(()) => {
            let argv = arguments.values();
            let call = Call {
                argv,
                key: known_key(context, argv),
                protocol: context.protocol.get(),
                replication: context.replication.get(),
            };
            let reply = context.with_port(|port| -> *const [u8] {
                match target {
                    Target::Command => port.call(call),
                    Target::Native(index) => port.run(index, call),
                }
            });
            reply.map_or(Outcome::Ended, Outcome::Reply)
        }
    };
    arguments.clear();
    context.arguments.set(arguments);
    outcome
}

/// Which of the run's keys the first argument is. Strings are interned, so one is known by its place.
fn known_key(context: &Context, argv: &[&[u8]]) -> Option<usize> {
    let place = argv.get(1)?.as_ptr();
    context.keys.get().iter().position(|&key| key == place)
}

/// False if an argument is neither string nor number. Never raises.
fn collect(s: Stack, arguments: &mut Arguments) -> bool {
    (1..=s.top()).all(|index| take(s, index, arguments))
}

/// Takes the string or number at `index`, which must stay alive, as an argument; false if it is neither. Never raises.
pub(super) fn take(s: Stack, index: c_int, arguments: &mut Arguments) -> bool {
    match s.kind(index) {
        Kind::String => arguments.push(s.bytes(index).unwrap_or_default()),
        Kind::Number => arguments.push_written(|digits| shortest::write(s.number(index), digits)),
        _ => return false,
    }
    true
}

/// Pushes an error that no command gave, in the words of the server.
fn push_refusal(s: Stack, text: &'static [u8]) -> Pushed {
    let words = s.context().with_port(|port| -> *const [u8] { port.refusal(text) });
    // SAFETY: the port keeps the text until its next call, and nothing below makes one.
    push_error(s, words.map_or(text, |words| unsafe { &*words }))
}

/// Pushes an error.
fn push_error(s: Stack, text: &[u8]) -> Pushed {
    s.push_table(0, 1);
    s.push_ref(s.context().names.get().err);
    s.push_bytes(text);
    s.raw_set(-3);
    Pushed::Error
}

/// Raises an error that no command gave.
pub(super) fn refuse(s: Stack, text: &'static [u8]) -> ! {
    push_refusal(s, text);
    s.raise()
}

/// `{err = text}`. A leading `-` is dropped; a text of one word gets the general code.
fn error_reply(s: Stack) -> c_int {
    if s.top() != 1 || s.kind(1) != Kind::String {
        push_refusal(s, WRONG_ARGUMENTS);
        return 1;
    }
    let text = s.bytes(1).unwrap_or_default();
    let text = text.strip_prefix(b"-").unwrap_or(text).trim_suffix_of_line();
    s.push_table(0, 1);
    s.push_ref(s.context().names.get().err);
    if text.contains(&b' ') {
        s.push_bytes(text);
    } else {
        convert::push_with_code(s, text);
    }
    s.raw_set(-3);
    1
}

/// Bytes as a line.
trait Line {
    fn trim_suffix_of_line(&self) -> &Self;
}

impl Line for [u8] {
    fn trim_suffix_of_line(&self) -> &Self {
        let end = self.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |last| last + 1);
        self.get(..end).unwrap_or_default()
    }
}

/// `{ok = text}`.
fn status_reply(s: Stack) -> c_int {
    if s.top() != 1 || s.kind(1) != Kind::String {
        push_refusal(s, WRONG_ARGUMENTS);
        return 1;
    }
    s.push_table(0, 1);
    s.push_copy(1);
    s.raw_set_field(-2, c"ok");
    1
}

/// The SHA1 of a string in hexadecimal.
fn sha1hex(s: Stack) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR wrong number of arguments");
    }
    let hex = Digest::of(s.coerced_bytes(1).unwrap_or_default()).hex();
    s.push_bytes(&hex);
    1
}

/// Writes its arguments, joined by spaces, into the server's log.
fn log(s: Stack) -> c_int {
    if s.top() < 2 {
        refuse(s, b"ERR redis.log() requires two arguments or more.");
    }
    if !s.is_number(1) {
        refuse(s, b"ERR First argument must be a number (log level).");
    }
    let level = usize::try_from(convert::truncated(s.number(1))).ok().and_then(|n| LEVELS.get(n));
    let Some(&(_, level)) = level else {
        refuse(s, b"ERR Invalid debug level.");
    };
    let mut line = Text::new(s);
    join(s, &mut line);
    let line = line.bytes();
    if s.context().with_port(|port| port.log(level, line)).is_none() {
        s.push_nil();
        s.raise();
    }
    0
}

/// The protocol of the replies from here on, and of the script's own: 2 or 3.
fn setresp(s: Stack) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR redis.setresp() requires one argument.");
    }
    s.context().protocol.set(match convert::truncated(s.number(1)) {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => refuse(s, b"ERR RESP version must be 2 or 3."),
    });
    0
}

/// Where the writes from here on go.
fn set_repl(s: Stack) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR redis.set_repl() requires one argument.");
    }
    let bits = u8::try_from(convert::truncated(s.number(1))).ok().filter(|bits| bits & !(AOF | REPLICAS) == 0);
    let Some(bits) = bits else {
        refuse(s, b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    };
    s.context().replication.set(Replication { aof: bits & AOF != 0, replicas: bits & REPLICAS != 0 });
    0
}

/// Whether the calling user may run the command that the arguments are.
fn acl_check_cmd(s: Stack) -> c_int {
    let context = s.context();
    if s.top() == 0 {
        refuse(s, NO_ARGUMENTS);
    }
    let mut arguments = context.arguments.take();
    let collected = collect(s, &mut arguments);
    let answer = context.with_port(|port| -> std::result::Result<bool, *const [u8]> {
        if collected { port.may_call(arguments.values()).map_err(std::ptr::from_ref) } else { Ok(false) }
    });
    arguments.clear();
    context.arguments.set(arguments);
    match answer {
        _ if !collected => refuse(s, BAD_ARGUMENT),
        Some(Ok(allowed)) => s.push_bool(allowed),
        Some(Err(refusal)) => {
            // SAFETY: the port keeps the text until its next call, and nothing below makes one.
            push_error(s, unsafe { &*refusal });
            s.raise();
        }
        None => {
            s.push_nil();
            s.raise();
        }
    }
    1
}

/// Since Redis 7 commands are all that is ever replicated.
fn replicate_commands(s: Stack) -> c_int {
    s.push_bool(true);
    1
}

/// Nobody debugs.
fn breakpoint(s: Stack) -> c_int {
    s.push_bool(false);
    1
}

/// Nobody debugs.
fn debug(_: Stack) -> c_int {
    0
}

/// Appends the strings and numbers from the second argument on, joined by spaces, as far as a line of the log goes; other arguments count
/// as nothing.
fn join(s: Stack, line: &mut Text) {
    for index in 2..s.top() {
        if line.bytes().len() > MESSAGE_BYTES {
            return;
        }
        if let Some(text) = s.coerced_bytes(index) {
            line.extend(if index == 2 { b"" } else { b" " });
            line.extend(text.get(..MESSAGE_BYTES).unwrap_or(text));
        }
    }
}
