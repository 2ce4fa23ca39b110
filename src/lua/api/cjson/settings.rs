//! The settings of `cjson`, and the functions with which a script reads and changes them.
//!
//! Changes hold for the run only; in Redis they hold for all later runs.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use crate::lua::numbers::truncated;
use crate::lua::vm::stack::{Kind, Native, Stack, native};

/// The settings of one `cjson` table. The defaults are those of lua-cjson 2.1.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lua) struct Settings {
    /// An excessively sparse array becomes an object (1), or is an error (0).
    pub sparse_convert: i32,
    /// An array is sparse if its last index is more than this many times the number of its elements; 0: no array is.
    pub sparse_ratio: i32,
    /// Up to this last index an array is never sparse.
    pub sparse_safe: i32,
    /// Levels of nesting to write.
    pub encode_depth: i32,
    /// Levels of nesting to read.
    pub decode_depth: i32,
    /// Digits of a number.
    pub precision: i32,
    /// Without effect: the buffer belongs to the VM.
    pub keep_buffer: i32,
    /// How NaN and infinities are written: 0 an error, 1 as C does it, 2 as `null`.
    pub encode_invalid: i32,
    /// Numbers that JSON does not have (hexadecimal, NaN, ...) are read.
    pub decode_invalid: i32,
    /// An empty array that was read is written as `[]` and not as `{}`. Redis has it since 8.4.
    pub array_mt: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: 0,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth: 1000,
            decode_depth: 1000,
            precision: 14,
            keep_buffer: 1,
            encode_invalid: 0,
            decode_invalid: 1,
            array_mt: 0,
        }
    }
}

/// Where a setting is.
type Field = fn(&mut Settings) -> &mut i32;

/// A setting, and the values that it can have.
enum Setting {
    /// An integer from the first number to the second.
    Integer(Field, i32, i32),
    /// The place in a list of names. The first two are also false and true.
    Choice(Field, &'static [&'static str]),
}
use Setting::{Choice, Integer};

const SWITCH: &[&str] = &["off", "on"];

/// The functions. Each takes new values for its settings, or nil to leave one as it is, and returns the current values.
pub(super) const FUNCTIONS: &[(&CStr, Native)] = &[
    (
        c"encode_sparse_array",
        native(|s| {
            change(
                s,
                &[
                    Choice(|all| &mut all.sparse_convert, SWITCH),
                    Integer(|all| &mut all.sparse_ratio, 0, i32::MAX),
                    Integer(|all| &mut all.sparse_safe, 0, i32::MAX),
                ],
            )
        }),
    ),
    (c"encode_max_depth", native(|s| change(s, &[Integer(|all| &mut all.encode_depth, 1, i32::MAX)]))),
    (c"decode_max_depth", native(|s| change(s, &[Integer(|all| &mut all.decode_depth, 1, i32::MAX)]))),
    (c"encode_number_precision", native(|s| change(s, &[Integer(|all| &mut all.precision, 1, 14)]))),
    (c"encode_keep_buffer", native(|s| change(s, &[Choice(|all| &mut all.keep_buffer, SWITCH)]))),
    (c"encode_invalid_numbers", native(|s| change(s, &[Choice(|all| &mut all.encode_invalid, &["off", "on", "null"])]))),
    (c"decode_invalid_numbers", native(|s| change(s, &[Choice(|all| &mut all.decode_invalid, SWITCH)]))),
    (c"decode_array_with_array_mt", native(|s| change(s, &[Choice(|all| &mut all.array_mt, SWITCH)]))),
];

/// The settings that the current function works with: its own, or those of the run.
pub(super) fn current(s: Stack<'_>) -> &Cell<Settings> {
    s.own_settings().unwrap_or(&s.context().run.json)
}

/// Changes the settings to the arguments and pushes the new values. An error leaves the settings before the wrong argument
/// changed.
fn change(s: Stack<'_>, changed: &[Setting]) -> c_int {
    let settings = current(s);
    let count = c_int::try_from(changed.len()).unwrap_or_default();
    if s.top() > count {
        s.raise_bad_argument(count + 1, format_args!("found too many arguments"));
    }
    s.set_top(count);
    for (setting, n) in changed.iter().zip(1..) {
        let (Integer(field, ..) | Choice(field, _)) = setting;
        let mut all = settings.get();
        let value = field(&mut all);
        *value = match *setting {
            Integer(_, min, max) => integer(s, n, *value, min, max),
            Choice(_, names) => choice(s, n, *value, names),
        };
        settings.set(all);
    }
    count
}

/// The argument `n` as a new value, or `now` if it is nil. Pushes the value.
fn integer(s: Stack<'_>, n: c_int, now: i32, min: i32, max: i32) -> i32 {
    let mut value = now;
    if s.kind(n) != Kind::Nil {
        if !s.is_number(n) {
            s.raise_bad_type(n, "number");
        }
        // The cast of C.
        #[allow(clippy::cast_possible_truncation)]
        let given = truncated(s.number(n)) as i32;
        if !(min..=max).contains(&given) {
            s.raise_bad_argument(1, format_args!("expected integer between {min} and {max}"));
        }
        value = given;
    }
    s.push_number(f64::from(value));
    value
}

/// The argument `n` as a new value, or `now` if it is nil. Pushes the value by its name.
fn choice(s: Stack<'_>, n: c_int, now: i32, names: &[&str]) -> i32 {
    let value = match s.kind(n) {
        Kind::Nil => now,
        Kind::Boolean => i32::from(s.truth(n)),
        Kind::String | Kind::Number => {
            let given = s.coerced_bytes(n).unwrap_or_default();
            match names.iter().zip(0..).find(|(name, _)| name.as_bytes() == given) {
                Some((_, place)) => place,
                None => s.raise_bad_argument(n, format_args!("invalid option '{}'", given.escape_ascii())),
            }
        }
        _ => s.raise_bad_type(n, "string"),
    };
    match usize::try_from(value).ok().and_then(|place| names.get(place)) {
        Some(name) if value > 1 => s.push_bytes(name.as_bytes()),
        _ => s.push_bool(value == 1),
    }
    value
}
