//! Applications on Node.js.

use std::path::Path;

use super::each_way;
use super::examples::each_example;
use super::program::{program, succeeds};
use crate::support::Server;
use crate::support::installed::root;

/// Runs a program with the packages of `target/apps/node`, and returns its output. `path` starts at the links there, because
/// Node.js looks for packages beside the program.
#[track_caller]
fn node(path: impl AsRef<Path>, argument: &str) -> String {
    let path = root().join("target/apps/node").join(path);
    assert!(path.exists(), "the Node.js packages are not installed: run `make test`");
    let options = ["--preserve-symlinks", "--preserve-symlinks-main"];
    succeeds(program("node").args(options).arg(path).arg(argument))
}

/// Runs a program of `tests/apps/node`, which exits with 0 if the application worked.
#[track_caller]
fn works(name: &str, server: &Server) {
    let printed = node(Path::new("programs").join(name), &server.port().to_string());
    assert!(printed.contains(" checks passed"), "{name} checked nothing: {printed}");
}

#[test]
fn queues_workers_and_flows_of_bullmq_work() {
    each_way(|server| works("bullmq.mjs", server));
}

#[test]
fn locks_of_redlock_work() {
    each_way(|server| works("redlock.mjs", server));
}

#[test]
fn scripts_and_functions_of_ioredis_and_node_redis_work() {
    each_way(|server| works("clients.mjs", server));
}

#[test]
fn the_example_for_ioredis_works() {
    each_example(|server| drop(node("examples/ioredis/example.js", &server.url())));
}

#[test]
fn the_example_for_node_redis_works() {
    each_example(|server| drop(node("examples/node-redis/example.js", &server.url())));
}
