//! The integration tests: one binary, real servers. `make test` runs them on every server it finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod apps; // real applications with their real packages, with and without drop-in mode
mod benchmarks; // the results of `make bench` and the page that is made from them; needs no server
mod build; // version and build in INFO and the log, and the build script that finds them out
mod command_table; // docs/commands.json: what COMMAND DOCS and COMMAND INFO say, for client packages
mod commands; // each native command: what it accepts, refuses, answers and leaves behind
mod compat; // other modules' names, with the module argument `compat yes`
mod conditions; // compare-and-set and the conditional commands
mod counters; // bounded counters, in strings and hashes, and transfers between them
mod differential; // native commands against the scripts they replace, the same random program on both
mod docs; // the transcripts of all pages, executed
mod dropin; // drop-in mode: the server's own script commands on this engine
mod events; // what a change tells subscribers, WATCH and client caches, and where it is refused
mod functions; // ATOMIC.FUNCTION, ATOMIC.FCALL: libraries in the server's store, run by the module
mod harness; // the harness itself, on servers without the module
mod hostile; // hostile keys, stored bytes and arguments against every command, driven by COMMAND DOCS
mod install; // scripts/install.sh: what counts as there; needs no server
mod introspection; // what the server says about the commands: flags, keys, docs, ACL
mod limits; // rate limits: grammar, every option, the exact replicated stream
mod memory; // above `maxmemory`: which form of each command is refused, and which works
mod module; // load, unload, bad arguments, a panic in a handler
mod persistence; // AOF and RDB, over kill -9 and restart, with and without the module
mod readme; // the generated parts of README.md
mod replication; // the exact stream, and real replicas without the module
mod script; // ATOMIC.EVAL, ATOMIC.EVALSHA and ATOMIC.SCRIPT
mod scripted; // commands from files: `commands-dir` and ATOMIC.COMMANDS
mod slots; // keys in a cluster: whatever a script does, each is where the server looks for it
#[allow(dead_code, unused_imports)] // a helper may be here before the first test that needs it
mod support; // real servers, a raw client, replicas as witnesses, transcripts as tests
mod tidy; // the architecture rules, read from the sources; needs no server
mod unload; // MODULE UNLOAD: what the server keeps of a module that it frees, and ATOMIC.DRAIN
mod values; // get or set, defaults, bounded lists, once, idempotency
mod waiting; // locks and semaphores that wait on the server
