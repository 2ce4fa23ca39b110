//! A server whose wall clock the test sets: a library that the server loads before the C library adds an offset to its clock. Its
//! monotonic clock, and the clocks of this process, stay right.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The file with the offset in microseconds, in a server's directory.
const FILE: &str = "clock";

/// Gives the server of this directory a clock of its own, with an offset of 0.
pub fn prepare(dir: &Path) {
    fs::write(dir.join(FILE), 0_i64.to_ne_bytes()).unwrap();
}

/// The library and the file for the server of this directory, if it has a clock of its own.
pub fn of(dir: &Path) -> Option<(&'static Path, PathBuf)> {
    let file = dir.join(FILE);
    file.exists().then(|| (library(), file))
}

/// Sets the offset in microseconds.
pub fn set(dir: &Path, offset: i64) {
    // In place, since the server has mapped the file.
    File::options().write(true).open(dir.join(FILE)).unwrap().write_all(&offset.to_ne_bytes()).unwrap();
}

/// Compiles the library, once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (own, path) = (dir.join(format!("clock-{}.so", std::process::id())), dir.join("clock.so"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/clock/shim.c");
        let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).args([&own, &source]).status().unwrap();
        assert!(status.success(), "cc does not compile {}", source.display());
        // Another process of the tests may load the old one now.
        fs::rename(own, &path).unwrap();
        path
    })
}
