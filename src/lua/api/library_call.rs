//! Shared code of the libraries that Redis has in C: it checks arguments, and words the errors about them.
//!
//! The words are those of Lua 5.1, which scripts and their tests look for, and not Luau's. Nothing here has a destructor.

use std::ffi::c_int;
use std::fmt;

use crate::lua::numbers::truncated;
use crate::lua::vm::stack::{Kind, Stack};

/// The current call of a library function: its stack, and its name in errors.
#[derive(Clone, Copy)]
pub(super) struct LibraryCall<'r> {
    s: Stack<'r>,
    name: &'static str,
}

impl<'r> LibraryCall<'r> {
    pub fn new(s: Stack<'r>, name: &'static str) -> Self {
        Self { s, name }
    }

    /// The argument `n` as bytes; raises if it is neither a string nor a number. A number is turned into a string in place.
    pub fn bytes(self, n: c_int) -> &'r [u8] {
        match self.s.coerced_bytes(n) {
            Some(bytes) => bytes,
            None => self.refuse_type(n, "string"),
        }
    }

    /// The argument `n` as a number; raises if it is neither a number nor a string that reads as one.
    pub fn number(self, n: c_int) -> f64 {
        if !self.s.is_number(n) {
            self.refuse_type(n, "number");
        }
        self.s.number(n)
    }

    /// The argument `n` as an integer, rounded towards zero; raises if it is not a number.
    pub fn integer(self, n: c_int) -> i64 {
        truncated(self.number(n))
    }

    /// The argument `n` as an integer, or `default` if it is missing or nil; raises if it is anything else.
    pub fn integer_or(self, n: c_int, default: i64) -> i64 {
        if self.s.kind(n) == Kind::Nil { default } else { self.integer(n) }
    }

    fn refuse_type(self, n: c_int, expected: &str) -> ! {
        self.refuse(n, format_args!("{expected} expected, got {}", self.s.type_name(n)))
    }

    /// Raises an error about the argument `n`. A function that another C function called has no name, as in Lua 5.1.
    pub fn refuse(self, n: c_int, reason: fmt::Arguments<'_>) -> ! {
        let named = self.s.frame(1).is_some_and(|caller| !caller.native);
        let name = if named { self.name } else { "?" };
        self.s.raise_line(format_args!("bad argument #{n} to '{name}' ({reason})"))
    }
}

/// The most values that a C function of Lua 5.1 may have on its stack. Luau allows more.
const MAX_VALUES: c_int = 8000;

/// Makes room for `n` more values, arguments or results; false beyond what Lua 5.1 allows.
pub(super) fn reserve(s: Stack<'_>, n: c_int) -> bool {
    s.top() <= MAX_VALUES.saturating_sub(n) && s.reserve(n)
}

/// Lets the limits of the run end a loop that calls no Lua: counts its steps and checks the limits every 256 steps.
#[derive(Default)]
pub(super) struct Pace(u8);

impl Pace {
    /// A step of the loop.
    pub fn step(&mut self, s: Stack<'_>) {
        self.0 = self.0.wrapping_add(1);
        if self.0 == 0 {
            obey_limits(s);
        }
    }
}

/// Raises if the run must end. Lets the server serve other clients if the run is long.
pub(super) fn obey_limits(s: Stack<'_>) {
    s.context().pause_if_long();
    if s.context().termination().is_some() {
        s.push_nil();
        s.raise();
    }
}
