//! What a source is before it runs: its digest, its first line, and what it means in Lua 5.1.

pub mod digest;
pub mod lua51;
pub mod shebang;
