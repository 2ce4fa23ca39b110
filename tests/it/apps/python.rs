//! Applications on Python.

use super::each_way;
use super::program::{program, succeeds};
use crate::support::Server;
use crate::support::installed::root;

/// Runs a program of `tests/apps/python`, which exits with 0 if the application worked.
#[track_caller]
fn works(name: &str, server: &Server) {
    let python = root().join("target/apps/python/bin/python");
    assert!(python.exists(), "the Python packages are not installed: run `make test`");
    succeeds(program(python).arg("-B").arg(root().join("tests/apps/python").join(name)).arg(server.port().to_string()));
}

#[test]
fn locks_and_registered_scripts_of_redis_py_work() {
    each_way(|server| works("with_redis.py", server));
}

#[test]
fn libraries_of_functions_through_redis_py_work() {
    each_way(|server| works("with_functions.py", server));
}

#[test]
fn the_strategies_of_limits_work() {
    each_way(|server| works("with_limits.py", server));
}

#[test]
fn actors_of_dramatiq_work() {
    each_way(|server| works("with_dramatiq.py", server));
}

#[test]
fn jobs_of_rq_work() {
    each_way(|server| works("with_rq.py", server));
}
