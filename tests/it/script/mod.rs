//! ATOMIC.EVAL, ATOMIC.EVALSHA and ATOMIC.SCRIPT on real servers.

mod acl; // each call runs as the calling user
mod busy; // BUSY for others, SCRIPT KILL, and what happens meanwhile
mod cache; // what is cached, for how long, and that runs share nothing else
pub(crate) mod conformance; // beside the server's own EVAL
mod corpus; // sources of applications, and one of every construct
mod destinations; // redis.set_repl: to the replicas, into the file, or nowhere
mod errors; // any bytes in every error; scripts that run scripts
mod flags; // what the state of the server refuses, with and without flags
mod hostile; // scripts from strangers, by what they try
mod limits; // time, memory and the cache end what would not end
mod lua_page; // the generated parts of docs/lua.md
mod natives; // `atomic.*` beside the commands
mod replication; // the exact stream, replicas, the append-only file, maxmemory
mod stats; // LIST, SHOW, STATS, RESETSTAT, HELP
mod store; // what LOAD stored outlives restarts and failovers

use crate::support::{Connection, FakeReplica, Server, Value, argv};

/// Other servers' words for what the latest Redis says, and for what differs by the name of a product or a command only.
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
    ("No matching script. Please use ATOMIC.EVAL.", "No matching script."),
    ("No matching script. Please use EVAL.", "No matching script."),
];

/// A reply without the place that an error names, in Redis' words.
pub(crate) fn in_common_words(reply: &Value) -> Value {
    match reply {
        Value::Error(text) => Value::Error(in_words_of_redis(text.rfind(" script: ").map_or(text, |at| &text[..at]))),
        Value::Bulk(bytes) if bytes.starts_with(b"ERR ") => Value::bulk(in_words_of_redis(&String::from_utf8_lossy(bytes))),
        Value::Array(items) => Value::Array(items.iter().map(in_common_words).collect()),
        _ => reply.clone(),
    }
}

pub(super) fn in_words_of_redis(text: &str) -> String {
    WORDS.iter().fold(text.to_owned(), |text, (valkey, redis)| text.replace(valkey, redis))
}

/// A call of ATOMIC.EVAL; `rest` is what follows the script, as typed into redis-cli.
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

/// What every error of a script ends with.
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

/// The reply of a script that takes no time, where time limits are short: a busy machine may take the core from it for so long.
fn within_its_limits(connection: &mut Connection, call: &[Vec<u8>]) -> Value {
    let late = |reply: &Value| matches!(reply, Value::Error(text) if text.starts_with("ERR script exceeded the time limit"));
    let mut attempts = (0..20).map(|_| connection.call(call));
    attempts.find(|reply| !late(reply)).unwrap_or_else(|| panic!("the time limit always ends {call:?}"))
}

/// What stands before a script, the script, its keys and arguments, and what it replicates.
type Stream = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Runs each script on data of its own and asserts what reaches the replica.
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
