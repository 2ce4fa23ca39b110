//! Real applications with their real packages, unmodified: each runs on a plain server and on one whose scripts the module runs.
//!
//! What both ways have in common is what drop-in mode promises. The packages are installed by `scripts/apps.sh`, at the versions that
//! `tests/apps` pins; one that is missing fails its test.

mod examples;
mod node;
mod program;
mod python;
mod rust;

use crate::support::{Server, Setup, each_installed};

/// Runs an application on every server, without the module and then in drop-in mode.
pub fn each_way(body: impl Fn(&Server)) {
    each_installed(|binary| {
        body(&Server::start(binary, &Setup::without_module()));
        let server = Server::start(binary, &Setup::with_module().module_args(&["intercept", "yes"]));
        body(&server);
        expect_the_module_ran_all_scripts(&server);
    });
}

/// The application must have run scripts, all of them in the module. The server itself is only asked for scripts and functions
/// that the module does not know, and must not have known them either.
#[track_caller]
fn expect_the_module_ran_all_scripts(server: &Server) {
    assert_ne!(server.info("atomic_runs"), "0", "no script was run");
    let stats = server.run("INFO commandstats").text();
    for native in ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"] {
        let Some(line) = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{native}:"))) else { continue };
        // `cmdstat_evalsha:calls=5,...,failed_calls=5`
        let all_failed = line.split([':', ',']).nth(1).is_some_and(|calls| line.ends_with(&format!(",failed_{calls}")));
        assert!(!["eval", "eval_ro"].contains(&native) && all_failed, "not run in the module: {line}");
    }
}
