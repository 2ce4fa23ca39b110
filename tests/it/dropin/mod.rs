//! Drop-in mode: the server's own EVAL, EVALSHA, FCALL, their _RO forms, SCRIPT and FUNCTION on this engine.

mod acl; // no client gains or loses a right
mod busy; // BUSY, SCRIPT KILL, CLIENT PAUSE
mod cluster; // which scripts of a cluster run here, and which in the server's engine
mod conformance; // a sample of the conformance rows, through EVAL itself
mod debugger; // SCRIPT DEBUG belongs to the server
mod functions; // FUNCTION and FCALL, in this engine or the server's
mod queued; // refusals at queueing time in MULTI
mod script_cache; // both script caches: which one holds and finds what
mod sources; // sources that only the server compiles, or that mean something else here
mod state; // MULTI, WATCH, replicas, OOM, AOF, RDB, cluster
mod store_watch; // functions follow every change of the store
mod switch; // on, off, unload, and which commands are renamed
mod transparent; // every reply beside that of the server without the module

use crate::support::{Binary, Connection, Server, Setup, Value, argv};

/// Only the server's own Lua returns this.
const WHO: &str = "return type(string.dump)";

fn intercepting() -> Setup {
    Setup::with_module().module_args(&["intercept", "yes"])
}

fn ours() -> Value {
    Value::bulk("nil")
}

fn natives() -> Value {
    Value::bulk("function")
}

/// Whether a command filter sees the client on this server.
fn tells_clients(binary: &Binary) -> bool {
    binary.is_valkey || binary.is_redis_from(7, 2)
}

/// A connection of a user with exactly these ACL rules.
#[track_caller]
fn user(server: &Server, name: &str, rules: &str) -> Connection {
    assert_eq!(
        server.run(&format!("ACL SETUSER {name} reset on >pw -@all +auth +ping +multi +exec {rules}")),
        Value::ok(),
        "{rules}"
    );
    let mut connection = server.connect();
    assert_eq!(connection.run(&format!("AUTH {name} pw")), Value::ok());
    connection
}

/// A call as typed into redis-cli, with the script as its first argument.
fn call(command: &str, script: &str, rest: &str) -> Vec<Vec<u8>> {
    [vec![command.as_bytes().to_vec(), script.as_bytes().to_vec()], argv(rest)].concat()
}

fn sha1(script: &str) -> String {
    use sha1::Digest as _;
    sha1::Sha1::digest(script).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A library with one function.
fn library(name: &str, function: &str, body: &str) -> String {
    format!("#!lua name={name}\nredis.register_function('{function}', function(keys, args) {body} end)")
}
