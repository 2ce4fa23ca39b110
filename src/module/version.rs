//! The version and the build of the module, for the server, the log and INFO.

/// The version in the server's form: 1.2.3 is 10203.
pub const VERSION: i32 = number(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
    + number(env!("CARGO_PKG_VERSION_MINOR")) * 100
    + number(env!("CARGO_PKG_VERSION_PATCH"));

/// The version as text.
pub const PACKAGE: &str = env!("CARGO_PKG_VERSION");

/// The build: the commit that `build.rs` found in the checkout, or else the version.
pub const BUILD: &str = match option_env!("ATOMIC_COMMIT") {
    Some(commit) => commit,
    None => PACKAGE,
};

#[allow(clippy::indexing_slicing, clippy::as_conversions)]
const fn number(text: &str) -> i32 {
    let bytes = text.as_bytes();
    let mut value = 0;
    let mut at = 0;
    while at < bytes.len() {
        value = value * 10 + (bytes[at] - b'0') as i32;
        at += 1;
    }
    value
}
