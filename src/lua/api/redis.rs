//! `redis.*`, which is also `server.*`: the way from a script to the server.
//!
//! `call` is the hottest function of the engine. It hands Lua's own strings to the port without a copy, and reads the reply from
//! the port's buffer; numbers are formatted into a buffer that is kept. Errors are tables with a field `err` that starts with the
//! error's code. The functions that hold those buffers take a `Quiet`, so no error can skip their destructors.

use std::ffi::{CStr, c_int};

use crate::error::MESSAGE_BYTES;
use crate::lua::convert::{self, Pushed};
use crate::lua::limits::Termination;
use crate::lua::numbers::{shortest, truncated};
use crate::lua::port::{CommandCall, LogLevel, Protocol, Replication};
use crate::lua::sandbox;
use crate::lua::source::digest::Digest;
use crate::lua::version::Version;
use crate::lua::vm::arguments::Arguments;
use crate::lua::vm::context::Context;
use crate::lua::vm::stack::{Buffer, Kind, Native, Quiet, Stack, native};

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

/// Functions that scripts have and registered functions do not.
const OF_SCRIPTS: &[(&CStr, Native)] =
    &[(c"replicate_commands", native(replicate_commands)), (c"breakpoint", native(breakpoint)), (c"debug", native(debug))];

/// Where writes are replicated, as the bits that `set_repl` takes.
const REPLICATIONS: &[(&CStr, u8)] = &[
    (c"REPL_NONE", 0),
    (c"REPL_AOF", AOF),
    (c"REPL_SLAVE", REPLICAS),
    (c"REPL_REPLICA", REPLICAS),
    (c"REPL_ALL", AOF | REPLICAS),
];
const AOF: u8 = 1;
const REPLICAS: u8 = 2;

/// The levels of `redis.log`. The number of a level is its place here.
const LEVELS: &[(&CStr, LogLevel)] = &[
    (c"LOG_DEBUG", LogLevel::Debug),
    (c"LOG_VERBOSE", LogLevel::Verbose),
    (c"LOG_NOTICE", LogLevel::Notice),
    (c"LOG_WARNING", LogLevel::Warning),
];

/// Pushes the table that scripts have.
pub(in crate::lua) fn open(s: Stack<'_>) {
    open_for_functions(s);
    s.set_functions(OF_SCRIPTS);
}

/// Pushes the table that registered functions have.
pub(in crate::lua) fn open_for_functions(s: Stack<'_>) {
    s.push_table(0, FUNCTIONS.len() + OF_SCRIPTS.len() + LEVELS.len() + REPLICATIONS.len() + 6);
    s.set_functions(FUNCTIONS);
    for &(name, bits) in REPLICATIONS {
        s.push_number(f64::from(bits));
        s.raw_set_field(-2, name);
    }
    set_always(s);
}

/// Sets the fields that exist at any time in the table on the top: the log, and the server's version.
pub(super) fn set_always(s: Stack<'_>) {
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

fn set_version(s: Stack<'_>, version: &Version, text: &CStr, number: &CStr) {
    s.push_bytes(version.text.as_bytes());
    s.raw_set_field(-2, text);
    s.push_number(f64::from(version.number));
    s.raw_set_field(-2, number);
}

/// Runs a command; an error is raised.
fn call(s: Stack<'_>) -> c_int {
    call_target(s, Target::Command)
}

/// Runs a command, or a function of `atomic`; an error is raised.
pub(super) fn call_target(s: Stack<'_>, target: Target) -> c_int {
    if dispatch(s, target) == Pushed::Error {
        s.raise();
    }
    1
}

/// Runs a command; an error is returned.
fn pcall(s: Stack<'_>) -> c_int {
    dispatch(s, Target::Command);
    1
}

/// The result of a command, as plain data without a destructor.
enum CallOutcome<'r> {
    Reply(*const [u8]),
    Refused(Refusal<'r>),
    /// The run must end: a limit was hit, or the port panicked.
    Ended,
}

/// The command of a call.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The command that the first argument names.
    Command,
    /// A native command, by its number.
    Native(usize),
}

/// Runs the command and pushes its reply.
fn dispatch(s: Stack<'_>, target: Target) -> Pushed {
    let context = s.context();
    if context.termination().is_some() {
        end(s);
    }
    if s.top() == 0 && matches!(target, Target::Command) {
        return push_refusal(s, NO_ARGUMENTS);
    }
    match run(s.quiet(), context, target) {
        CallOutcome::Refused(refusal) => push_own_refusal(s, refusal),
        CallOutcome::Ended => end(s),
        CallOutcome::Reply(reply) => {
            // SAFETY: the port keeps the text until its next call, and `push_reply` makes none.
            let reply = unsafe { &*reply };
            match convert::push_reply(s, &context.names.get(), reply) {
                Ok(pushed) => pushed,
                Err(convert::Malformed) => push_refusal(s, BAD_REPLY),
            }
        }
    }
}

/// Ends the run. `Vm` reports why.
#[cold]
fn end(s: Stack<'_>) -> ! {
    s.push_nil();
    s.raise()
}

#[cold]
fn push_own_refusal(s: Stack<'_>, refusal: Refusal<'_>) -> Pushed {
    match refusal {
        Refusal::BadArgument => push_refusal(s, BAD_ARGUMENT),
        Refusal::TooMany => push_refusal(s, TOO_MANY),
        Refusal::Unknown(name) => push_error(s, atomic::unknown(name).bytes()),
    }
}

fn run<'r>(s: Quiet<'r>, context: &Context, target: Target) -> CallOutcome<'r> {
    let mut arguments = context.arguments.take();
    let collected = match target {
        Target::Command => collect(s, &mut arguments).then_some(()).ok_or(Refusal::BadArgument),
        Target::Native(index) => atomic::collect(s, index, &mut arguments),
    };
    let too_large = arguments.bytes() > context.limits.get().argument_bytes;
    let argv = arguments.finish();
    let outcome = match collected {
        Err(refusal) => CallOutcome::Refused(refusal),
        Ok(()) if too_large => {
            context.end_with(Termination::Arguments);
            CallOutcome::Ended
        }
        Ok(()) => {
            let call = CommandCall {
                argv: argv.values(),
                key: known_key(context, argv.values()),
                protocol: context.run.protocol.get(),
                replication: context.run.replication.get(),
                line: if context.run.lines.get() { line(s) } else { 0 },
            };
            let reply = context.with_port(|port| -> *const [u8] {
                match target {
                    Target::Command => port.call(call),
                    Target::Native(index) => port.run(index, call),
                }
            });
            reply.map_or(CallOutcome::Ended, CallOutcome::Reply)
        }
    };
    context.arguments.set(argv.recycle());
    outcome
}

/// The line of the script that makes the call; 0 if no function of the script is near.
fn line(s: Quiet<'_>) -> u32 {
    let caller = (1..=3).filter_map(|level| s.frame(level)).find(|frame| !frame.native && frame.source != sandbox::PRELUDE_NAME);
    caller.and_then(|frame| u32::try_from(frame.line).ok()).unwrap_or_default()
}

/// The index of the first argument among the run's keys. Strings are interned, so an address identifies one.
fn known_key(context: &Context, argv: &[&[u8]]) -> Option<usize> {
    let place = argv.get(1)?.as_ptr();
    context.run.keys.get().iter().position(|&key| key == place)
}

/// Collects the arguments; false if one is neither a string nor a number.
fn collect<'r>(s: Quiet<'r>, arguments: &mut Arguments<'r>) -> bool {
    (1..=s.top()).all(|index| take(s, index, arguments))
}

/// Takes the string or number at `index` as an argument; false if it is neither. A string must stay alive.
pub(super) fn take<'r>(s: Quiet<'r>, index: c_int, arguments: &mut Arguments<'r>) -> bool {
    match s.kind(index) {
        Kind::String => arguments.push(s.bytes(index).unwrap_or_default()),
        Kind::Number => arguments.push_written(|digits| shortest::write(s.number(index), digits)),
        _ => return false,
    }
    true
}

/// Pushes an error of the engine in the words of the server.
#[cold]
fn push_refusal(s: Stack<'_>, text: &'static [u8]) -> Pushed {
    let words = s.context().with_port(|port| -> *const [u8] { port.refusal(text) });
    // SAFETY: the port keeps the text until its next call, and nothing below makes one.
    push_error(s, words.map_or(text, |words| unsafe { &*words }))
}

/// Pushes an error.
#[cold]
fn push_error(s: Stack<'_>, text: &[u8]) -> Pushed {
    s.push_table(0, 1);
    s.push_ref(s.context().names.get().err);
    s.push_bytes(text);
    s.raw_set(-3);
    Pushed::Error
}

/// Raises an error of the engine in the words of the server.
pub(super) fn refuse(s: Stack<'_>, text: &'static [u8]) -> ! {
    push_refusal(s, text);
    s.raise()
}

/// `{err = text}`. A leading `-` is dropped. A text of one word gets the general code.
fn error_reply(s: Stack<'_>) -> c_int {
    if s.top() != 1 || s.kind(1) != Kind::String {
        push_refusal(s, WRONG_ARGUMENTS);
        return 1;
    }
    let text = s.bytes(1).unwrap_or_default();
    let text = without_line_end(text.strip_prefix(b"-").unwrap_or(text));
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

fn without_line_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    text.get(..end).unwrap_or_default()
}

/// `{ok = text}`.
fn status_reply(s: Stack<'_>) -> c_int {
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
fn sha1hex(s: Stack<'_>) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR wrong number of arguments");
    }
    let hex = Digest::of(s.coerced_bytes(1).unwrap_or_default()).hex();
    s.push_bytes(&hex);
    1
}

/// Writes its arguments, joined by spaces, to the server's log.
fn log(s: Stack<'_>) -> c_int {
    if s.top() < 2 {
        refuse(s, b"ERR redis.log() requires two arguments or more.");
    }
    if !s.is_number(1) {
        refuse(s, b"ERR First argument must be a number (log level).");
    }
    let level = usize::try_from(truncated(s.number(1))).ok().and_then(|n| LEVELS.get(n));
    let Some(&(_, level)) = level else {
        refuse(s, b"ERR Invalid debug level.");
    };
    let last = s.top();
    let mut line = Buffer::new(s);
    join(s, last, &mut line);
    let line = line.bytes();
    if s.context().with_port(|port| port.log(level, line)).is_none() {
        s.push_nil();
        s.raise();
    }
    0
}

/// Sets the protocol of the following replies, and of the value that the script returns: 2 or 3.
fn setresp(s: Stack<'_>) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR redis.setresp() requires one argument.");
    }
    s.context().run.protocol.set(match truncated(s.number(1)) {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => refuse(s, b"ERR RESP version must be 2 or 3."),
    });
    0
}

/// Sets where the following writes are replicated.
fn set_repl(s: Stack<'_>) -> c_int {
    if s.top() != 1 {
        refuse(s, b"ERR redis.set_repl() requires one argument.");
    }
    let bits = u8::try_from(truncated(s.number(1))).ok().filter(|bits| bits & !(AOF | REPLICAS) == 0);
    let Some(bits) = bits else {
        refuse(s, b"ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.");
    };
    s.context().run.replication.set(Replication { aof: bits & AOF != 0, replicas: bits & REPLICAS != 0 });
    0
}

/// Whether the user of the client may run the command in the arguments.
fn acl_check_cmd(s: Stack<'_>) -> c_int {
    if s.top() == 0 {
        refuse(s, NO_ARGUMENTS);
    }
    match may_call(s.quiet()) {
        Permission::BadArgument => refuse(s, BAD_ARGUMENT),
        Permission::Known(allowed) => s.push_bool(allowed),
        Permission::Refused(refusal) => {
            // SAFETY: the port keeps the text until its next call, and nothing below makes one.
            push_error(s, unsafe { &*refusal });
            s.raise();
        }
        Permission::Ended => {
            s.push_nil();
            s.raise();
        }
    }
    1
}

/// The answer to `acl_check_cmd`, as plain data without a destructor.
enum Permission {
    Known(bool),
    /// The server refuses to answer, with this text.
    Refused(*const [u8]),
    BadArgument,
    /// The port panicked.
    Ended,
}

fn may_call(s: Quiet<'_>) -> Permission {
    let context = s.context();
    let mut arguments = context.arguments.take();
    let collected = collect(s, &mut arguments);
    let argv = arguments.finish();
    let permission = if collected {
        let answer = context.with_port(|port| match port.may_call(argv.values()) {
            Ok(allowed) => Permission::Known(allowed),
            Err(refusal) => Permission::Refused(refusal),
        });
        answer.unwrap_or(Permission::Ended)
    } else {
        Permission::BadArgument
    };
    context.arguments.set(argv.recycle());
    permission
}

/// Since Redis 7 only commands are replicated, never scripts.
fn replicate_commands(s: Stack<'_>) -> c_int {
    s.push_bool(true);
    1
}

/// Debug sessions are not supported.
fn breakpoint(s: Stack<'_>) -> c_int {
    s.push_bool(false);
    1
}

/// Debug sessions are not supported.
fn debug(_: Stack<'_>) -> c_int {
    0
}

/// Appends the strings and numbers among the arguments from the second to the `last` one, joined by spaces, up to the length of a
/// line of the log. Other arguments are skipped.
fn join(s: Stack<'_>, last: c_int, line: &mut Buffer<'_>) {
    for index in 2..=last {
        if line.bytes().len() > MESSAGE_BYTES {
            return;
        }
        if let Some(text) = s.coerced_bytes(index) {
            line.extend(if index == 2 { b"" } else { b" " });
            line.extend(text.get(..MESSAGE_BYTES).unwrap_or(text));
        }
    }
}
