//! Drop-in mode: the server's own EVAL, EVALSHA, FCALL, their _RO forms, SCRIPT and FUNCTION on this engine.

mod acl; // no privilege changes hands
mod busy; // BUSY, SCRIPT KILL, CLIENT PAUSE
mod cluster; // what runs here in a cluster, and what stays with the server's own engine
mod conformance; // rows of the script tests, through EVAL itself
mod debugger; // SCRIPT DEBUG is the server's
mod functions; // FUNCTION and FCALL, here or in the server's engine
mod queued; // what the server refuses when it is queued
mod script_cache; // both caches: what is loaded where, and who finds it
mod sources; // what compiles there and not here, or means something else
mod state; // MULTI, WATCH, replicas, OOM, AOF, RDB, cluster
mod store_watch; // functions follow the store, whoever changes it
mod switch; // on, off, unload, and whose commands stay whose
mod transparent; // what an application could notice, beside the server without it

use crate::support::{Binary, Connection, Server, Setup, Value, argv};

/// Only the server's own Lua has it.
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

/// Whether this server tells a filter whose command it sees.
fn tells_clients(binary: &Binary) -> bool {
    binary.is_valkey || binary.is_redis_from(7, 2)
}

/// A connection of a user with exactly these rules.
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
