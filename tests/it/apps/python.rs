//! Applications on Python.

use super::each_way;
use super::examples::each_example;
use super::program::{program, succeeds};
use crate::support::cluster::Cluster;
use crate::support::installed::root;
use crate::support::{Server, each_installed};

/// Runs a program of `tests/apps/python`, which exits with 0 if the application worked.
#[track_caller]
fn works(name: &str, server: &Server) {
    python(&format!("tests/apps/python/{name}"), &server.port().to_string());
}

#[track_caller]
fn python(file: &str, argument: &str) {
    let interpreter = root().join("target/apps/python/bin/python");
    assert!(interpreter.exists(), "the Python packages are not installed: run `make test`");
    // Without -B it would write beside the sources.
    succeeds(program(interpreter).arg("-B").arg(root().join(file)).arg(argument));
}

#[test]
fn locks_and_registered_scripts_of_redis_py_work() {
    each_way(|server| works("with_redis.py", server));
}

#[test]
fn the_cluster_client_of_redis_py_finds_the_node_of_every_command() {
    each_installed(|binary| works("with_cluster.py", &Cluster::start(binary, 2).nodes[0]));
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

#[test]
fn the_example_for_redis_py_works() {
    each_example(|server| python("examples/redis-py/example.py", &server.url()));
}
