//! The harness: real servers, a raw protocol client, replicas as witnesses, and transcripts as tests.
//!
//! A test is one call of [`each_server`]; its body runs once per installed server, each time on a fresh process. Nothing here sleeps to
//! synchronise: [`eventually`] polls with a deadline.

pub mod bus;
pub mod calls;
pub mod clock;
pub mod cluster;
pub mod docs;
pub mod installed;
pub mod line;
pub mod locks;
pub mod lossy;
pub mod random;
pub mod real_replica;
pub mod replica;
pub mod resp;
pub mod server;
pub mod transcript;

pub use installed::{Binary, each_installed, module_path};
pub use line::argv;
pub use lossy::{Loss, Lossy, Resender};
pub use real_replica::RealReplica;
pub use replica::FakeReplica;
pub use resp::{Connection, Value};
pub use server::{Server, Setup};

use std::time::{Duration, Instant};

/// How long a test waits for anything. Long, because it only matters when something is broken, and a busy machine is slow: no test
/// may rely on anything sooner.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Whether `UPDATE=1` asks for the generated files and parts to be written instead of compared.
pub fn updates() -> bool {
    std::env::var("UPDATE").is_ok_and(|update| update == "1")
}

/// Runs `body` on a fresh server of every installed version, with the module loaded. Fails with the names of all that failed.
pub fn each_server(body: impl Fn(&Server)) {
    each_server_with(&Setup::with_module(), body);
}

/// [`each_server`] for tests that unload the module.
pub fn each_server_that_unloads(body: impl Fn(&Server)) {
    each_server(|server| {
        if server.unloads() {
            body(server);
        }
    });
}

/// [`each_server`] with this configuration.
pub fn each_server_with(setup: &Setup, body: impl Fn(&Server)) {
    each_installed(|binary| body(&Server::start(binary, setup)));
}

/// Polls `check` until it returns `Some`. Panics with `what` after [`DEADLINE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "after {DEADLINE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
