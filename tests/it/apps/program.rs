//! A program in another language: it runs with a deadline, and its output is shown when it fails.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// Longer than the programs' own deadline, so that a program that hangs can report where.
const DEADLINE: &str = "330";

/// A program that ends by the deadline, with every process it started: `timeout` gives it its own process group.
pub fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", DEADLINE]).arg(path).stdin(Stdio::null());
    command
}

/// Runs the program, which must succeed, and returns its output.
#[track_caller]
pub fn succeeds(program: &mut Command) -> String {
    let output = program.output().unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {}\n{printed}{complaints}", output.status);
    printed
}
