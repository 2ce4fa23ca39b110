//! Numbers as text, in each of the ways in which Redis writes them.

pub mod json;
pub mod shortest;
#[expect(unsafe_code, reason = "Luau calls these functions by their symbols")]
pub mod text;
