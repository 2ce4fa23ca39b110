//! What the libraries written in C for Redis have in common: how they check arguments, and in which words they refuse them.
//!
//! The words are those of Lua 5.1, which scripts and their tests look for, and not Luau's. Nothing here has a destructor:
//! whoever holds one of these values may raise.

use std::ffi::c_int;
use std::fmt;

use crate::lua::convert::truncated;
use crate::lua::vm::stack::{Kind, Stack};

/// The call of a library function: its stack, and the name by which errors call it.
#[derive(Clone, Copy)]
pub(super) struct Call {
    s: Stack,
    name: &'static str,
}

impl Call {
    /// The call under way.
    pub fn new(s: Stack, name: &'static str) -> Self {
        Self { s, name }
    }

    /// The argument `n` as bytes, a number being turned into a string in place; raises if it is neither.
    pub fn bytes<'a>(self, n: c_int) -> &'a [u8] {
        match self.s.coerced_bytes(n) {
            Some(bytes) => bytes,
            None => self.refuse_type(n, "string"),
        }
    }

    /// The argument `n` as a number, a numeric string being read as one; raises if it is neither.
    pub fn number(self, n: c_int) -> f64 {
        if !self.s.is_number(n) {
            self.refuse_type(n, "number");
        }
        self.s.number(n)
    }

    /// The argument `n` as an integer, towards zero; raises if it is no number.
    pub fn integer(self, n: c_int) -> i64 {
        truncated(self.number(n))
    }

    /// The argument `n` as an integer, or `default` if it is missing or nil; raises if it is anything else.
    pub fn integer_or(self, n: c_int, default: i64) -> i64 {
        if self.s.kind(n) == Kind::Nil { default } else { self.integer(n) }
    }

    fn refuse_type(self, n: c_int, expected: &str) -> ! {
        self.refuse(n, format_args!("{expected} expected, got {}", self.s.type_text(n)))
    }

    /// Raises an error about the argument `n`. A function that another C function called has no name, as in Lua 5.1.
    pub fn refuse(self, n: c_int, reason: fmt::Arguments<'_>) -> ! {
        let named = self.s.frame(1).is_some_and(|caller| !caller.native);
        let name = if named { self.name } else { "?" };
        self.s.raise_line(format_args!("bad argument #{n} to '{name}' ({reason})"))
    }
}

/// Values that a C function of Lua 5.1 may have on its stack. Luau allows more.
const MAX_VALUES: c_int = 8000;

/// Makes room for `n` more values, arguments or results; false beyond what Lua 5.1 allows.
pub(super) fn reserve(s: Stack, n: c_int) -> bool {
    s.top() <= MAX_VALUES.saturating_sub(n) && s.reserve(n)
}

/// Lets the limits of the run end a loop that calls no Lua: counts its steps and asks them each 256.
#[derive(Default)]
pub(super) struct Pace(u8);

impl Pace {
    /// A step of the loop.
    pub fn step(&mut self, s: Stack) {
        self.0 = self.0.wrapping_add(1);
        if self.0 == 0 {
            obey_limits(s);
        }
    }
}

/// Ends the run if it is over, and lets the server see to its other clients if it takes long.
pub(super) fn obey_limits(s: Stack) {
    s.context().pause_if_long();
    if s.context().verdict().is_some() {
        s.push_nil();
        s.raise();
    }
}
