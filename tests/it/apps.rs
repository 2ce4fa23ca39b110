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
        body(&Server::start(binary, &Setup::with_module().module_args(&["intercept", "yes"])));
    });
}
