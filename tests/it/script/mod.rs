//! ATOMIC.EVAL, ATOMIC.EVALSHA and ATOMIC.SCRIPT on real servers.

mod acl; // calls have the rights of the user
mod busy; // BUSY for other clients, SCRIPT KILL, locks meanwhile
mod cache; // what is cached, for how long; runs share nothing else
mod check; // SCRIPT CHECK: what a source shows before it runs
pub(crate) mod conformance; // beside the server's own EVAL
mod corpus; // sources of applications, and one of every construct
mod destinations; // redis.set_repl: to the replicas, into the file, or nowhere
mod direct; // reads without a dispatch
mod dry_run; // each write command of each server, and its stream
mod errors; // any bytes in every error; scripts that run scripts
mod flags; // refusals by the state of the server, with and without flags
mod hostile; // scripts from strangers, grouped by trick
mod inspect; // traces and dry runs
mod limits; // limits of time, memory and cache
mod lua_page; // the generated parts of docs/lua.md
mod natives; // `atomic.*` beside the commands
mod replication; // the exact stream, replicas, the append-only file, maxmemory
mod rollback; // all or nothing
mod stats; // LIST, SHOW, STATS, RESETSTAT, HELP
mod store; // loaded scripts survive restarts and failovers
mod undeclared; // keys that KEYS does not have, and memory at every write

use crate::support::{Connection, FakeReplica, Server, Value, argv};

/// Other servers' wording of Redis' errors, for tests that state the error.
const WORDS: &[(&str, &str)] = &[
    ("Unknown command called from script", "Unknown Redis command called from script"),
    ("Wrong number of args calling command from script", "Wrong number of args calling Redis command from script"),
    ("This Valkey command is not allowed from script", "This Redis command is not allowed from script"),
    ("ERR Command arguments must be strings or integers", "ERR Lua redis lib command arguments must be strings or integers"),
    ("specify at least one argument for this call", "specify at least one argument for this redis lib call"),
    ("server.log() requires", "redis.log() requires"),
    ("server.setresp() requires", "redis.setresp() requires"),
    ("server.set_repl() requires", "redis.set_repl() requires"),
    ("redis.set_repl() requires two arguments", "redis.set_repl() requires one argument"),
    ("passed to server.acl_check_cmd()", "passed to redis.acl_check_cmd()"),
    ("Invalid log level.", "Invalid debug level."),
    ("BUSY Valkey is busy", "BUSY Redis is busy"),
];

/// A reply without the position in an error, and without the command that NOSCRIPT recommends.
pub(crate) fn in_common_words(reply: &Value) -> Value {
    match reply {
        Value::Error(text) => {
            let text = text.rfind(" script: ").map_or(text.as_str(), |at| &text[..at]);
            Value::Error(text.replace(" Please use ATOMIC.EVAL.", "").replace(" Please use EVAL.", ""))
        }
        Value::Array(items) => Value::Array(items.iter().map(in_common_words).collect()),
        _ => reply.clone(),
    }
}

/// An error in Redis' wording, whichever server reports it.
pub(crate) fn in_words_of_redis(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, (valkey, redis)| text.replace(valkey, redis))
}

/// Whether this is the error of a script's call that the ACL forbids: Redis 7.0's wording, and the others'. `dropin::transparent`
/// compares it with the server's own EVAL.
pub(crate) fn is_denied(reply: &Value) -> bool {
    const DENIED: [&str; 2] = ["ERR The user executing the script can't ", "ERR ACL failure in script: "];
    DENIED.iter().any(|text| reply.error().starts_with(text))
}

/// A call of ATOMIC.EVAL; `rest` follows the script, as typed into redis-cli.
fn eval(script: impl AsRef<[u8]>, rest: &str) -> Vec<Vec<u8>> {
    [vec![b"ATOMIC.EVAL".to_vec(), script.as_ref().to_vec()], argv(rest)].concat()
}

/// A call of ATOMIC.EVALSHA for the script.
fn evalsha(script: &str, rest: &str) -> Vec<Vec<u8>> {
    [vec![b"ATOMIC.EVALSHA".to_vec(), sha1(script).into_bytes()], argv(rest)].concat()
}

fn sha1(script: impl AsRef<[u8]>) -> String {
    use sha1::Digest as _;
    sha1::Sha1::digest(script.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The end of every error of a script: its position.
fn place(script: &str, line: usize) -> String {
    format!(" script: {}, on @user_script:{line}.", sha1(script))
}

/// Asserts that the connection is in sync and the engine works, commands included.
#[track_caller]
fn expect_working(connection: &mut Connection, after: &str) {
    assert_eq!(connection.run("PING"), Value::Status("PONG".to_owned()), "after {after}");
    assert_eq!(within_its_limits(connection, &eval("return 1", "0")), Value::Integer(1), "after {after}");
    let script = "redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])";
    assert_eq!(within_its_limits(connection, &eval(script, "1 works yes")), Value::bulk("yes"), "after {after}");
}

/// The reply of a fast script where time limits are short: repeats it, since a busy machine may take the core away for that long.
fn within_its_limits(connection: &mut Connection, call: &[Vec<u8>]) -> Value {
    let late = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with("ERR script exceeded the time limit"));
    let mut attempts = (0..20).map(|_| connection.call(call));
    attempts.find(|reply| !late(reply)).unwrap_or_else(|| panic!("the time limit always ends {call:?}"))
}

/// Setup, script, keys and arguments, and the stream of the script.
type Stream = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Runs each script on fresh data and asserts its replication stream.
fn expect_streams(server: &Server, replica: &mut FakeReplica, rows: &[Stream]) {
    for &(before, script, rest, expected) in rows {
        server.run("FLUSHALL");
        if !before.is_empty() {
            server.run(before);
        }
        replica.stream();
        server.call(&eval(script, rest));
        replica.expect_stream(expected);
    }
}
