//! Numbers as text, in each of the ways in which Redis writes them.

pub mod json;
pub mod shortest;
pub mod text;
