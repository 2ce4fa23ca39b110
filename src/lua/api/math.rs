//! `math.random` and `math.randomseed` on the generator of Redis.
//!
//! The generator belongs to the run. Luau's own would carry its state from one script to the next, so a script could steer or
//! foresee the numbers of another. The generator is seeded when a run first draws from it, so other runs pay nothing.

use std::ffi::c_int;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::lua::numbers::truncated;
use crate::lua::vm::random::Lrand48;
use crate::lua::vm::stack::Stack;

/// Draws a number: from 0 to 1, from 1 to the argument, or between two arguments.
pub(in crate::lua) fn random(s: Stack<'_>) -> c_int {
    let context = s.context();
    let mut generator = context.run.random.get().unwrap_or_else(fresh);
    let drawn = generator.next();
    context.run.random.set(Some(generator));
    let value = match s.top() {
        0 => drawn,
        1 => between(s, drawn, 1, bound(s, 1), 1),
        2 => between(s, drawn, bound(s, 1), bound(s, 2), 2),
        _ => s.raise_text(c"wrong number of arguments"),
    };
    s.push_number(value);
    1
}

/// The bounds of Redis are C's `int`: a number that does not fit loses its high bits.
#[allow(clippy::cast_possible_truncation)]
fn bound(s: Stack<'_>, argument: c_int) -> i32 {
    truncated(s.check_number(argument)) as i32
}

fn between(s: Stack<'_>, drawn: f64, low: i32, high: i32, argument: c_int) -> f64 {
    if high < low {
        s.raise_argument(argument, c"interval is empty");
    }
    (drawn * (f64::from(high) - f64::from(low) + 1.0)).floor() + f64::from(low)
}

/// Restarts the sequence.
pub(in crate::lua) fn randomseed(s: Stack<'_>) -> c_int {
    let [a, b, c, d, ..] = truncated(s.check_number(1)).to_le_bytes();
    s.context().run.random.set(Some(Lrand48::seeded(u32::from_le_bytes([a, b, c, d]))));
    0
}

/// A seed from the standard library's source of hash keys: the operating system's randomness, read once, with a counter.
fn fresh() -> Lrand48 {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    Lrand48::seeded(u32::from_le_bytes([a, b, c, d]))
}
