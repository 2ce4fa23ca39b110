//! Applications on Node.js.

use std::path::Path;

use super::each_way;
use super::program::{program, succeeds};
use crate::support::Server;
use crate::support::installed::root;

/// Runs a program with the packages of `target/apps/node`, and returns what it printed. `path` starts at the links there, because
/// Node.js looks for packages beside the program.
#[track_caller]
fn node(path: impl AsRef<Path>, server: &Server) -> String {
    let path = root().join("target/apps/node").join(path);
    assert!(path.exists(), "the Node.js packages are not installed: run `make test`");
    let options = ["--preserve-symlinks", "--preserve-symlinks-main"];
    succeeds(program("node").args(options).arg(path).arg(server.port().to_string()))
}

/// Runs a program of `tests/apps/node`, which exits with 0 if the application worked.
#[track_caller]
fn works(name: &str, server: &Server) {
    let printed = node(Path::new("programs").join(name), server);
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
