//! A source before it runs: its digest, its first line, and its meaning in Lua 5.1.

pub mod digest;
pub mod lua51;
pub mod shebang;

/// The longest source, in bytes: the compiler cannot be interrupted, and takes about fifty times the memory of the source.
pub const SOURCE_BYTES: usize = 1 << 20;

/// Why a source does not go to the compiler, if it does not. Luau takes a NUL for the end of the source and would drop the rest.
pub fn refusal(source: &[u8]) -> Option<&'static [u8]> {
    if source.len() > SOURCE_BYTES {
        Some(b"the source is longer than 1048576 bytes")
    } else if source.contains(&0) {
        Some(b"a NUL byte in the source")
    } else {
        None
    }
}
