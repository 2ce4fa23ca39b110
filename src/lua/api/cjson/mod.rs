//! `cjson.*`, which is lua-cjson 2.1.0 as Redis has it: the same results, settings and errors.
//!
//! What a script sets holds for its run only; in Redis it holds for all that run afterwards. Tables are read and written
//! raw. A level of nesting costs C stack, so that there is a bound behind the settings. Nothing here has a destructor, and
//! what is read or written lies in the memory of the VM, whose limit bounds it.

mod decode;
mod encode;

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use crate::lua::convert::truncated;
use crate::lua::numbers::json::Settings;
use crate::lua::vm::stack::{Kind, Native, Stack, native};

const FUNCTIONS: &[(&CStr, Native)] = &[
    (c"encode", native(encode::encode)),
    (c"decode", native(decode::decode)),
    (c"encode_sparse_array", native(encode_sparse_array)),
    (c"encode_max_depth", native(encode_max_depth)),
    (c"decode_max_depth", native(decode_max_depth)),
    (c"encode_number_precision", native(encode_number_precision)),
    (c"encode_keep_buffer", native(encode_keep_buffer)),
    (c"encode_invalid_numbers", native(encode_invalid_numbers)),
    (c"decode_invalid_numbers", native(decode_invalid_numbers)),
    (c"decode_array_with_array_mt", native(decode_array_with_array_mt)),
    (c"new", native(new)),
];

/// What a level of nesting takes of the Lua stack, and some.
const SLOTS_PER_LEVEL: c_int = 8;

/// Pushes the table whose settings are those of the run.
pub(in crate::lua) fn open(s: Stack) {
    s.push_table(0, 0);
    s.set_readonly(-1, true);
    s.context().json_array.set(s.pin());
    push_namespace(s, |function, name| s.push_native(function, name));
}

/// Another table, with settings of its own.
fn new(s: Stack) -> c_int {
    s.push_settings(Settings::default());
    let settings = s.top();
    push_namespace(s, |function, name| {
        s.push_copy(settings);
        s.push_native_with_value(function, name);
    });
    1
}

fn push_namespace(s: Stack, push: impl Fn(Native, &'static CStr)) {
    s.push_table(0, FUNCTIONS.len() + 3);
    for &(name, function) in FUNCTIONS {
        push(function, name);
        s.raw_set_field(-2, name);
    }
    s.push_null();
    s.raw_set_field(-2, c"null");
    s.push_bytes(b"cjson");
    s.raw_set_field(-2, c"_NAME");
    s.push_bytes(b"2.1.0");
    s.raw_set_field(-2, c"_VERSION");
}

/// The settings that the current function works with.
fn settings<'a>(s: Stack) -> &'a Cell<Settings> {
    s.own_settings().unwrap_or(&s.context().json)
}

/// Makes sure that there are no more than `count` arguments, and adds those that are missing as nil.
fn pad(s: Stack, count: c_int) {
    if s.top() > count {
        s.raise_bad_argument(count + 1, format_args!("found too many arguments"));
    }
    s.set_top(count);
}

/// The setting that the argument `n` is, or `now` if it is nil; pushes the setting.
fn integer(s: Stack, n: c_int, now: i32, min: i32, max: i32) -> i32 {
    let mut value = now;
    if s.kind(n) != Kind::Nil {
        if !s.is_number(n) {
            s.raise_bad_type(n, "number");
        }
        // As C does it.
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

/// As `integer`, for the place in a list of options, of which the first two are also booleans.
fn option(s: Stack, n: c_int, now: i32, options: &[&str]) -> i32 {
    let value = match s.kind(n) {
        Kind::Nil => now,
        Kind::Boolean => i32::from(s.truth(n)),
        Kind::String | Kind::Number => {
            let given = s.coerced_bytes(n).unwrap_or_default();
            match options.iter().zip(0..).find(|(option, _)| option.as_bytes() == given) {
                Some((_, place)) => place,
                None => s.raise_bad_argument(n, format_args!("invalid option '{}'", given.escape_ascii())),
            }
        }
        _ => s.raise_bad_type(n, "string"),
    };
    match usize::try_from(value).ok().and_then(|place| options.get(place)) {
        Some(name) if value > 1 => s.push_bytes(name.as_bytes()),
        _ => s.push_bool(value == 1),
    }
    value
}

const SWITCH: &[&str] = &["off", "on"];

fn encode_sparse_array(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 3);
    let sparse_convert = option(s, 1, settings.get().sparse_convert, SWITCH);
    settings.set(Settings { sparse_convert, ..settings.get() });
    let sparse_ratio = integer(s, 2, settings.get().sparse_ratio, 0, i32::MAX);
    settings.set(Settings { sparse_ratio, ..settings.get() });
    let sparse_safe = integer(s, 3, settings.get().sparse_safe, 0, i32::MAX);
    settings.set(Settings { sparse_safe, ..settings.get() });
    3
}

fn encode_max_depth(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let encode_depth = integer(s, 1, settings.get().encode_depth, 1, i32::MAX);
    settings.set(Settings { encode_depth, ..settings.get() });
    1
}

fn decode_max_depth(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let decode_depth = integer(s, 1, settings.get().decode_depth, 1, i32::MAX);
    settings.set(Settings { decode_depth, ..settings.get() });
    1
}

fn encode_number_precision(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let precision = integer(s, 1, settings.get().precision, 1, 14);
    settings.set(Settings { precision, ..settings.get() });
    1
}

fn encode_keep_buffer(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let keep_buffer = option(s, 1, settings.get().keep_buffer, SWITCH);
    settings.set(Settings { keep_buffer, ..settings.get() });
    1
}

fn encode_invalid_numbers(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let encode_invalid = option(s, 1, settings.get().encode_invalid, &["off", "on", "null"]);
    settings.set(Settings { encode_invalid, ..settings.get() });
    1
}

fn decode_invalid_numbers(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let decode_invalid = option(s, 1, settings.get().decode_invalid, SWITCH);
    settings.set(Settings { decode_invalid, ..settings.get() });
    1
}

/// Redis has it since 8.4: an empty array that was read is written as `[]` and not as `{}`.
fn decode_array_with_array_mt(s: Stack) -> c_int {
    let settings = settings(s);
    pad(s, 1);
    let array_mt = option(s, 1, settings.get().array_mt, SWITCH);
    settings.set(Settings { array_mt, ..settings.get() });
    1
}
