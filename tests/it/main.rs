//! The integration tests: one binary, real servers. `make test` runs them on every server it finds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod apps; // real applications with their real packages, with and without drop-in mode
mod benchmarks; // the results of `make bench` and the page that is made from them; needs no server
mod build; // version and build in INFO and the log, and the build script that finds them out
mod cluster; // scripts and libraries in a cluster: ATOMIC.EVALSHA pulls from other nodes
mod command_table; // docs/commands.json: COMMAND DOCS and COMMAND INFO, for client packages
mod commands; // each family of native commands: grammar, replies, state, times, replication
mod count; // the results of `make count`, the page that is made from them, and when it fails; needs no server
mod differential; // native commands and the scripts they replace run the same random program
mod docs; // the transcripts of all pages, executed
mod dropin; // drop-in mode: the server's own script commands on this engine
mod events; // keyspace events, WATCH and client caches after each change; times in transactions; refusals
mod functions; // ATOMIC.FUNCTION, ATOMIC.FCALL: function libraries in the server's store, run by the module
mod growth; // what a command replicates does not grow with its key
mod harness; // the harness itself, on servers without the module
mod hostile; // hostile keys, stored bytes and arguments against every command, driven by COMMAND DOCS
mod in_place; // the setting `replicate-in-place`: the stream word by word in both ways
mod install; // scripts/install.sh: what counts as installed; needs no server
mod introspection; // what the server says about the commands: flags, keys, docs, ACL
mod memory; // above `maxmemory`: which forms of each command are refused, and which run
mod module; // load, unload, bad arguments, a panic in a handler
mod persistence; // AOF and RDB after kill -9 and restart, with and without the module
mod readme; // the generated parts of README.md
mod replication; // the exact stream, and real replicas without the module
mod script; // ATOMIC.EVAL, ATOMIC.EVALSHA and ATOMIC.SCRIPT
mod scripted; // commands from files: `commands-dir` and ATOMIC.COMMANDS
mod slots; // keys in a cluster: each is in the slot where the server looks for it
#[allow(dead_code, unused_imports)] // a helper may exist before the first test that uses it
mod support; // real servers, a raw client, replicas as witnesses, transcripts as tests
mod tidy; // the architecture rules, read from the sources; needs no server
mod unload; // MODULE UNLOAD: what the server keeps of an unloaded module, and ATOMIC.DRAIN
mod waiting; // locks and semaphores that wait on the server
