//! Applications on Python.

use super::each_way;
use super::examples::each_example;
use super::program::{program, succeeds};
use crate::support::cluster::Cluster;
use crate::support::installed::root;
use crate::support::{Loss, Lossy, Server, each_installed, each_server};

/// Runs a program of `tests/apps/python`, which exits with 0 if the application worked.
#[track_caller]
fn works(name: &str, server: &Server) {
    python(&format!("tests/apps/python/{name}"), &[&server.port().to_string()]);
}

#[track_caller]
fn python(file: &str, arguments: &[&str]) {
    let interpreter = root().join("target/apps/python/bin/python");
    assert!(interpreter.exists(), "the Python packages are not installed: run `make test`");
    // Without -B it would write cache files beside the sources.
    succeeds(program(interpreter).arg("-B").arg(root().join(file)).args(arguments));
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
fn redis_py_sends_again_what_got_no_reply_and_the_module_answers_as_before() {
    each_server(|server| {
        // With its default timeout redis-py would wait for 5 s each time that no reply comes.
        for (loss, timeout) in [(Loss::Closed, "5"), (Loss::Abandoned, "0.4")] {
            server.run("FLUSHALL");
            let proxy = Lossy::start(server);
            proxy.lose_first_replies(loss);
            let port = proxy.port().to_string();
            python("tests/apps/python/with_lost_replies.py", &[&port, timeout, &server.port().to_string()]);
        }
    });
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
    each_example(|server| python("examples/redis-py/example.py", &[&server.url()]));
}
