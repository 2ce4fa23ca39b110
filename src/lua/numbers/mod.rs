//! Numbers as text and text as numbers, in each of the ways in which Redis and Luau do it.

pub mod printf;
pub mod shortest;
pub mod strtod;
#[expect(unsafe_code, reason = "Luau calls these functions by their symbols")]
pub mod text;
mod truncate;

pub(in crate::lua) use self::truncate::truncated;
