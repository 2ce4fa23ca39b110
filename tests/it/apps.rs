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

/// The application must have run scripts, all of them in the module. What the module does not know it looks for in the server, and must
/// not find it there.
#[track_caller]
fn expect_the_module_ran_all_scripts(server: &Server) {
    assert_ne!(server.info("atomic_scripts_runs"), "0", "no script was run");
    let stats = server.run("INFO commandstats").text();
    let figure = |line: &str, name: &str| line.split([':', ',']).find_map(|pair| pair.strip_prefix(name).map(str::to_owned));
    for name in ["eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"] {
        let native = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:"))).unwrap_or_default();
        assert_eq!(figure(native, "calls="), figure(native, "failed_calls="), "not run in the module: {native}");
    }
}
