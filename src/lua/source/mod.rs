//! A source before it runs: its digest, its first line, and its meaning in Lua 5.1.

pub mod digest;
pub mod lua51;
pub mod shebang;
