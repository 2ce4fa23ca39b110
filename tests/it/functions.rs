//! ATOMIC.FUNCTION, ATOMIC.FCALL and ATOMIC.FCALL_RO: libraries written for the server, in the server's own store, run by the module.

mod busy; // BUSY for others, FUNCTION KILL, FUNCTION STATS
mod family; // the same commands beside the server's own, in the same order
mod loading; // what the code of a library may do while it is loaded, and what a failed load leaves behind
mod running; // what functions share, and what they do not
mod store; // adopted, replicated, saved, restored

use crate::support::{Connection, Server, Value, argv};

/// Loads a library.
#[track_caller]
fn load(server: &Server, name: &str, code: &str) {
    let code = library(name, code);
    assert_eq!(server.call(&["ATOMIC.FUNCTION", "LOAD", "REPLACE", &code]), Value::bulk(name), "{code}");
}

fn library(name: &str, code: &str) -> String {
    format!("#!lua name={name}\n{code}")
}

/// The code that registers one function.
fn function(name: &str, body: &str) -> String {
    format!("redis.register_function('{name}', function(keys, args) {body} end)")
}

/// How many functions the module runs itself.
fn ours(server: &Server) -> String {
    server.info("atomic_scripts_functions")
}

#[track_caller]
fn expect(connection: &mut Connection, command: &str, expected: &Value) {
    assert_eq!(connection.call(&argv(command)), *expected, "{command}");
}
